import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { startTimeOf } from "./processTable.ts";

/** The orchestrator's end of the warden (see ../warden.ts). */
export interface WardenHandle {
  /** From now on the process dies with us. */
  add(pid: number): void;
  remove(pid: number): void;
  /** Resolves when the warden is gone; what is still listed is killed by it. */
  close(): Promise<void>;
}

/** Starts the warden in a session of its own, so that a terminal's Ctrl-C or hang-up does not reach it. */
export function startWarden(env: Record<string, string>, onLost: () => void): WardenHandle {
  const entry = fileURLToPath(new URL("../warden.ts", import.meta.url));
  const child = execa(process.execPath, [entry], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
    cleanup: false,
    buffer: false,
    reject: false,
    env,
  });
  let closing = false;
  let lost = false;
  child.stdin.on("error", () => undefined); // EPIPE when the warden is gone; its exit is what we act upon
  const watch = async (): Promise<void> => {
    await child;
    lost = true;
    if (!closing) onLost();
  };
  const exited = watch();
  const say = (line: string): void => {
    if (!lost) child.stdin.write(`${line}\n`);
  };
  return {
    // The pipe keeps what the warden, still starting, has not read: a listed agent is safe from the write on.
    add: (pid) => say(`add ${pid} ${startTimeOf(pid) ?? "-"}`),
    remove: (pid) => say(`remove ${pid}`),
    close: async () => {
      closing = true;
      child.stdin.end();
      await exited;
    },
  };
}
