import { InputError, LLM_KEY_VARIABLE } from "@failstorm/core";
import type { Entry } from "../config/entry.ts";
import { readAssignments } from "../config/layers.ts";
import { llmSchema, resolveLlm } from "../config/llm.ts";
import { loadConfig, type LoadedConfig } from "../config/load.ts";
import { passOnLlmKey } from "../commands/config.ts";
import { projectRoot, userFolder } from "../project.ts";
import type { QueueRunFile } from "./folder.ts";
import { DEFAULT_SEED, type QueueSettings, readQueueFile, resolveSettings, splitEntries } from "./settings.ts";

export interface QueueConfigRequest {
  readonly flags: readonly Entry[];
  readonly assignments: readonly string[];
  /** `--config`; null = configs/queue.yaml of the project. */
  readonly file: string | null;
  /** `paper`: the published setting, over the file and under the command line. */
  readonly preset?: string | null;
}

/** 1 000 questions, 1 coordinator, 4 workers, one question at a time. */
const PAPER: Readonly<Record<string, unknown>> = {
  workers: 4,
  external: [],
  topology: "star",
  questions: "generated",
  count: 1000,
  batch: 1,
  concurrency: 1,
  rate: null,
};

export interface LoadedQueue {
  readonly loaded: LoadedConfig;
  readonly settings: QueueSettings;
}

/**
 * The configuration of a queue: the section `queue`, over the file and the command line, and every run's other sections as for a storm.
 * Throws InputError.
 */
export async function loadQueue({ flags, assignments, file, preset = null }: QueueConfigRequest): Promise<LoadedQueue> {
  const folders = { cwd: userFolder(), root: projectRoot };
  const fromFile = splitEntries(readQueueFile(file, folders));
  const said = splitEntries([...flags, ...readQueueAssignments(assignments)]);
  const overridden = new Set(said.others.map(({ path }) => path));
  const paper = Object.entries(preset === "paper" ? PAPER : {}).map(
    ([key, value]): Entry => ({ path: `queue.${key}`, value, origin: { kind: "flag", name: "--preset paper" } }),
  );
  const settings = resolveSettings([fromFile.queue, paper, said.queue]);
  const loaded = await loadConfig({
    flags: [...fromFile.others.filter(({ path }) => !overridden.has(path)), ...said.others],
    assignments: assignments.filter((assignment) => !isQueueAssignment(assignment)),
    file: null,
    env: process.env,
    ...folders,
    drawSeed: () => DEFAULT_SEED,
    dealtTo: Math.max(1, settings.workers),
  });
  passOnLlmKey(loaded.llmKey);
  return { loaded, settings };
}

/**
 * The key of a run that goes on, from the environment: it is recorded nowhere, and without it every question left would come to nothing, for
 * good. Throws InputError when there was one and is none.
 */
export function findKeyAgain({ config: { llm, queue }, hasKey }: QueueRunFile, dir: string): void {
  if (llm === null || queue.engine !== "llm") return;
  const { type, model, baseUrl: base_url } = llm;
  const given = llmSchema.parse({ type, model, base_url, api_key: process.env[LLM_KEY_VARIABLE] ?? null });
  const { key } = resolveLlm(given, new Map(), process.env);
  if (key === null && hasKey === true)
    throw new InputError(
      `--resume ${dir}: its model was given a key, which is not recorded; set the environment variable ${LLM_KEY_VARIABLE}, or repeat the call that began it`,
    );
  passOnLlmKey(key);
}

/** Whether a file is one of a queue: it has the section `queue`. Throws InputError when it cannot be read. */
export const isQueueFile = (file: string | null): boolean =>
  file !== null && readQueueFile(file, { cwd: userFolder(), root: projectRoot }).some(({ path }) => path.startsWith("queue."));

const isQueueAssignment = (assignment: string): boolean => assignment.startsWith("queue.");
const readQueueAssignments = (assignments: readonly string[]): Entry[] => readAssignments(assignments.filter(isQueueAssignment));
