import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { InputError, type QueueSpec } from "@failstorm/core";
import { asQueueConfig, externalName } from "@failstorm/scenarios";
import { agentEntry } from "../project.ts";
import { loadQueue, type QueueConfigRequest } from "../queue/load.ts";
import { corpusOf } from "../queue/prepare.ts";
import { toQueueConfig } from "../queue/settings.ts";
import { log } from "../view/log.ts";

export interface AgentRequest extends QueueConfigRequest {
  readonly port: string;
  readonly host: string;
  /** null: by its port. */
  readonly name: string | null;
}

const FAILED = 1;

/** The command `failstorm agent`: one worker by itself, in the foreground, until Ctrl-C. Throws InputError before it starts. */
export async function agent(request: AgentRequest): Promise<number> {
  const queue = await loadQueue(request);
  const { loaded, settings } = queue;
  const { hosts, protocol } = loaded.config.scenario;
  if (hosts !== undefined)
    throw new InputError(
      `--protocol ${protocol}: an agent by itself hosts one protocol; choose from ${[...new Set(hosts.flat())].join(", ")}`,
    );
  const port = await freePort(request.host, request.port);
  const name = request.name ?? externalName(port);
  const { timeScale } = loaded.config.scenario;
  const alone = { ...settings, workers: 1, external: [] };
  const { queue: config, faults } = toQueueConfig(alone, { timeScale, hasModel: loaded.config.llm !== null });
  if (config.engine === "llm" && loaded.config.llm === null)
    throw new InputError(
      "--engine llm: no model is configured; set llm.type and llm.model (configs/failstorm.yaml explains them)",
    );
  const workspaceDir = mkdtempSync(path.join(tmpdir(), "failstorm-agent-"));
  try {
    const runConfig = asQueueConfig(loaded.config, config, faults);
    const documentPath = config.engine === "echo" ? null : path.join(workspaceDir, "document.jsonl");
    if (documentPath !== null) writeFileSync(documentPath, (await corpusOf(runConfig, 1)).document);
    const spec: QueueSpec = {
      agentId: name,
      index: 0,
      host: request.host,
      port,
      workspaceDir,
      logFile: path.join(workspaceDir, "agent.log"),
      config: runConfig,
      fullRecording: [],
      role: "worker",
      documentPath,
      questionsPath: null,
      resultsDir: null,
    };
    const specFile = path.join(workspaceDir, "spec.json");
    writeFileSync(specFile, JSON.stringify(spec), { mode: 0o600 });
    return await runChild(specFile, { name, protocol: loaded.protocol.getProtocolInfo().name, engine: config.engine });
  } finally {
    rmSync(workspaceDir, { recursive: true, force: true });
  }
}

/** Throws InputError when nobody can listen there. */
async function freePort(host: string, given: string): Promise<number> {
  const port = Number(given);
  if (!/^\d+$/.test(given) || port > 65_535)
    throw new InputError(`--port ${given}: must be a whole number from 0 to 65535, for example 9101 (0 = any free port)`);
  const probe = createServer();
  try {
    probe.listen({ host, port, exclusive: true });
    await once(probe, "listening");
    return (probe.address() as AddressInfo).port;
  } catch (error) {
    const { code = "EIO" } = error as NodeJS.ErrnoException;
    const what = code === "EADDRINUSE" ? "is taken; end who has it, or choose another port" : `cannot be listened on (${code})`;
    throw new InputError(`--port ${given}: ${what}`, { cause: error });
  } finally {
    if (probe.listening) probe.close();
  }
}

/** The agent as a process that ends with this one, whatever ends this one. */
async function runChild(specFile: string, about: { name: string; protocol: string; engine: string }): Promise<number> {
  const child = spawn(process.execPath, [agentEntry, specFile], { stdio: ["pipe", "pipe", "inherit"] });
  let isEnding = false;
  const end = (): void => {
    isEnding = true;
    child.stdin.end();
  };
  child.stdin.on("error", () => undefined); // it is gone; its exit says so
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, end);
  createInterface({ input: child.stdout }).on("line", (line) => {
    const { host, port } = JSON.parse(line) as { host: string; port: number };
    log("SUCCESS", `${about.name} (${about.engine}) listens at http://${host}:${port}; Ctrl-C ends it`, about.protocol);
  });
  const [code] = (await once(child, "exit")) as [number | null];
  if (isEnding) return 0;
  log("ERROR", `${about.name} ended by itself${code === null ? "" : ` with code ${code}`}`);
  return FAILED;
}
