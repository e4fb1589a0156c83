import type { Entry } from "../config/entry.ts";
import { readAssignments } from "../config/layers.ts";
import { loadConfig, type LoadedConfig } from "../config/load.ts";
import { passOnLlmKey } from "../commands/config.ts";
import { projectRoot, userFolder } from "../project.ts";
import { DEFAULT_SEED, type QueueSettings, readQueueFile, resolveSettings, splitEntries } from "./settings.ts";

export interface QueueConfigRequest {
  readonly flags: readonly Entry[];
  readonly assignments: readonly string[];
  /** `--config`; null = configs/queue.yaml of the project. */
  readonly file: string | null;
}

export interface LoadedQueue {
  readonly loaded: LoadedConfig;
  readonly settings: QueueSettings;
}

/**
 * The configuration of a queue: the section `queue`, over the file and the command line, and every run's other sections as for a storm.
 * Throws InputError.
 */
export async function loadQueue({ flags, assignments, file }: QueueConfigRequest): Promise<LoadedQueue> {
  const folders = { cwd: userFolder(), root: projectRoot };
  const fromFile = splitEntries(readQueueFile(file, folders));
  const said = splitEntries([...flags, ...readQueueAssignments(assignments)]);
  const overridden = new Set(said.others.map(({ path }) => path));
  const loaded = await loadConfig({
    flags: [...fromFile.others.filter(({ path }) => !overridden.has(path)), ...said.others],
    assignments: assignments.filter((assignment) => !isQueueAssignment(assignment)),
    file: null,
    env: process.env,
    ...folders,
    drawSeed: () => DEFAULT_SEED,
  });
  passOnLlmKey(loaded.llmKey);
  return { loaded, settings: resolveSettings([fromFile.queue, said.queue]) };
}

const isQueueAssignment = (assignment: string): boolean => assignment.startsWith("queue.");
const readQueueAssignments = (assignments: readonly string[]): Entry[] => readAssignments(assignments.filter(isQueueAssignment));
