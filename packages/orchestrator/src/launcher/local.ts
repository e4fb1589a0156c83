import { closeSync, openSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setFlagsFromString } from "node:v8";
import { type ProcessSpec, RunError } from "@failstorm/core";
import { execa } from "execa";
import { killTree } from "./killTree.ts";
import type { Exit, LaunchedAgent, Launcher } from "./launcher.ts";
import { startWarden, type WardenHandle } from "./wardenHandle.ts";

/**
 * MB of young generation: many agents share a machine, and the kernel frees a victim's memory before it closes its sockets, so the less of it the
 * better. Bytecode is kept: code for a loss, rehearsed before the run, would else be dropped as unused, and compiled again by all survivors at once. And
 * what such code has looked up is remembered from its first call on, not from its eighth, which it reaches in the middle of the storm.
 */
const NODE_OPTIONS = ["--max-semi-space-size=2", "--no-flush-bytecode", "--no-lazy-feedback-allocation"];
const WARM_UP_TIMEOUT_MS = 30_000;

/**
 * Runs agents as child processes on this machine: `node <agentEntry> <workspace>/spec.json`, output straight into the agent's
 * log file (no pipe through this process). A warden process sees to it that none outlives this one.
 *
 * `compileCacheDir`: where node keeps compiled code between starts (NODE_COMPILE_CACHE); node ignores it when unwritable.
 */
export function localLauncher(options: {
  readonly agentEntry: string;
  readonly compileCacheDir: string;
  /** Told when the warden is gone although agents are left: from then on nothing but themselves ends them with us. */
  readonly onWardenLost?: () => void;
}): Launcher {
  const env = { NODE_COMPILE_CACHE: options.compileCacheDir, NODE_ENV: "production" };
  const warden = startWarden(env, options.onWardenLost ?? (() => undefined));
  return {
    start: async (spec) => spawnAgent(spec, options.agentEntry, env, warden),
    async warmUp(entry, protocols, signal) {
      await rehearseDeath(env);
      const child = execa(process.execPath, [...NODE_OPTIONS, entry, ...protocols], {
        stdio: "ignore",
        reject: false,
        cleanup: false,
        env,
        cancelSignal: signal,
        timeout: WARM_UP_TIMEOUT_MS,
        killSignal: "SIGKILL",
      });
      if (child.pid === undefined) return;
      warden.add(child.pid);
      await child;
      warden.remove(child.pid);
    },
    close: () => warden.close(),
  };
}

/**
 * Loses a child, so that the code for that has been compiled when all victims of a storm are lost at once: this process shares the survivors' cores,
 * and was a twentieth of what they spent until 8 agents had found two dead. What is compiled stays so from then on, as in the agents.
 */
async function rehearseDeath(env: Record<string, string>): Promise<void> {
  setFlagsFromString("--no-flush-bytecode");
  const child = execa(process.execPath, ["--version"], { stdio: "ignore", buffer: false, reject: false, cleanup: false, env });
  child.kill("SIGKILL");
  await child;
}

function spawnAgent(spec: ProcessSpec, agentEntry: string, env: Record<string, string>, warden: WardenHandle): LaunchedAgent {
  const specFile = path.join(spec.workspaceDir, "spec.json");
  // The token of the control link is in it: for nobody else to read.
  writeFileSync(specFile, JSON.stringify(spec), { mode: 0o600 });
  // execa takes any descriptor; its types stop at 9.
  const log = openSync(spec.logFile, "a") as 3;
  const child = execa(process.execPath, [...NODE_OPTIONS, ...(spec.nodeOptions ?? []), agentEntry, specFile], {
    stdio: ["ignore", log, log],
    buffer: false,
    reject: false,
    // The warden ends the children of a process that is gone. execa's own clean-up would besides put handlers on our signals
    // and end us by the first Ctrl-C, when the caller's own handler is a `once`.
    cleanup: false,
    env,
  });
  closeSync(log);
  const { pid } = child;
  if (pid === undefined) {
    throw new RunError(
      "SPAWN_FAILED",
      `${spec.agentId}: ${process.execPath} cannot be started; check the limits on processes and memory (ulimit -u, free)`,
    );
  }
  let gone = false;
  warden.add(pid);
  const watch = async (): Promise<Exit> => {
    const { exitCode, signal } = await child;
    gone = true;
    warden.remove(pid);
    return { code: exitCode ?? null, signal: signal ?? null };
  };
  return {
    id: spec.agentId,
    pid,
    address: { host: spec.host, port: spec.port },
    // A pid that was reaped may belong to somebody else: it is never signalled.
    signal: (name) => !gone && sendSignal(pid, name),
    destroy: async () => {
      if (!gone) await killTree(pid);
    },
    exited: watch(),
  };
}

function sendSignal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}
