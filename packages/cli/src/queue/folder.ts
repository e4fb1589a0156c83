import { createHash } from "node:crypto";
import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, statSync } from "node:fs";
import path from "node:path";
import { InputError, makeFolder, type QueueNode, type QueuePlan } from "@failstorm/core";
import type { QueueFaults, QueueRunConfig } from "@failstorm/scenarios";
import { isRunning } from "../experiment/processes.ts";
import { writeAtomically } from "../run/folder.ts";

const RUN_FILE = "queue_run.json";
export const QUESTIONS_FILE = "questions.jsonl";
export const DOCUMENT_FILE = "document.jsonl";

/** `queue_run.json`: what a queue needs to go on where it was broken off. */
export interface QueueRunFile {
  readonly format: "failstorm-queue";
  readonly version: 1;
  /** Equal for equal calls: what is asked, of whom, how. */
  readonly key: string;
  /** Whether every question has its result. */
  readonly complete: boolean;
  readonly questions: number | null;
  readonly config: QueueRunConfig;
  readonly faults: QueueFaults;
  readonly processes: QueuePlan["processes"];
  readonly external: readonly QueueNode[];
  /** How often it was started. */
  readonly sessions: number;
  /** Whether its model was given a key, which is recorded nowhere. */
  readonly hasKey?: boolean;
}

/** Two calls with one key ask the same questions of the same network. `questions`: the fingerprint of the source; null = a stream. */
export function keyOf(config: QueueRunConfig, questions: string | null): string {
  const { scenario, queue, qa, llm, protocolConfig } = config;
  const { protocol, seed, timeScale, protocolModule = protocol, killFraction, killCount, faultTimeMs } = scenario;
  const model = llm === null ? null : [llm.type, llm.model, llm.baseUrl];
  // Who asks for a storm does not go on with a run without one, in which nobody would be killed.
  const faults = killCount === 0 ? null : [killFraction, killCount, faultTimeMs];
  const work = [queue, qa.passages, qa.hops, model, protocolConfig, questions, faults];
  const text = JSON.stringify([protocolModule, seed, timeScale, ...work]);
  return createHash("sha256").update(text).digest("hex");
}

export function writeRunFile(dir: string, run: QueueRunFile): void {
  const file = path.join(dir, RUN_FILE);
  writeAtomically(file, `${JSON.stringify(run, null, 1)}\n`);
  // The section of a protocol may hold a password, which a resumed run needs.
  chmodSync(file, 0o600);
}

/** null: there is none, or it is none. */
export function readRunFile(dir: string): QueueRunFile | null {
  try {
    const run = JSON.parse(readFileSync(path.join(dir, RUN_FILE), "utf8")) as QueueRunFile;
    return run.format === "failstorm-queue" && run.version === 1 ? run : null;
  } catch {
    return null;
  }
}

/** The newest run folder of an equal call that was not brought to its end; null = there is none. */
export function findUnfinished(results: string, protocol: string, key: string): string | null {
  const parent = path.join(results, "queue", protocol.replaceAll(/[^A-Za-z0-9_.@-]+/g, "_"));
  if (!existsSync(parent)) return null;
  const fits = (dir: string): boolean => {
    const run = readRunFile(dir);
    return run !== null && !run.complete && run.key === key && !isHeld(dir);
  };
  return (
    readdirSync(parent)
      .map((name) => path.join(parent, name))
      .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)
      .find(fits) ?? null
  );
}

/** Whether its orchestrator still lives, as far as its manifest tells: from before its first event until its events are merged. */
function isHeld(dir: string): boolean {
  const isThere = (name: string): boolean => existsSync(path.join(dir, name));
  if (isThere("events.ndjson") && !isThere("orchestrator.ndjson")) return false;
  try {
    const { pid } = JSON.parse(readFileSync(path.join(dir, "manifest.json"), "utf8")) as { pid?: unknown };
    return typeof pid === "number" && isRunning(pid);
  } catch {
    return false;
  }
}

/** The folder of `--resume`. Throws InputError. */
export function openForResume(dir: string): QueueRunFile {
  const run = readRunFile(dir);
  if (run === null)
    throw new InputError(`--resume ${dir}: is no folder of a queue (it has no ${RUN_FILE}); give one of results/queue`);
  if (isHeld(dir)) throw new InputError(`--resume ${dir}: this run still goes on; end it first`);
  if (!existsSync(path.join(dir, QUESTIONS_FILE)))
    throw new InputError(`--resume ${dir}: its ${QUESTIONS_FILE} is gone; without the questions there is nothing to go on with`);
  return run;
}

/** Sets the events of the session before aside: times of another session, perhaps of another boot, are not to be mixed with the next one's. */
export function keepEarlierEvents(dir: string, session: number): void {
  const merged = path.join(dir, "events.ndjson");
  if (!existsSync(merged)) return;
  const aside = path.join(dir, "sessions");
  makeFolder(aside);
  renameSync(merged, path.join(aside, `events-${session}.ndjson`));
}
