import { existsSync } from "node:fs";
import path from "node:path";
import { InputError, QUEUE_ENGINES, type QueueConfig } from "@failstorm/core";
import type { QueueFaults } from "@failstorm/scenarios";
import { z } from "zod";
import { type Entry, nameEntry } from "../config/entry.ts";
import { nearest } from "../config/nearest.ts";
import { readYamlFile } from "../config/yamlFile.ts";

/** Every default of the section `queue`, times in seconds. configs/queue.yaml explains them. */
export const QUEUE_SETTINGS = {
  workers: 4,
  external: [] as string[],
  topology: "star",
  sub_coordinators: 2,
  questions: "generated",
  count: 1000,
  skip_bad_lines: false,
  batch: "auto" as number | "auto",
  concurrency: 1,
  rate: null as number | null,
  deadline: 10,
  max_attempts: 5,
  backoff: 0.05,
  quarantine_after: 3,
  probe_interval: 0.2,
  engine: "auto",
  think_time: 0.1,
  kill_fraction: 0,
  kill_coordinator: false,
  fault_time: 10,
  restart_after: 2,
} as const;

/** Questions of a queue without a seed of its own are the same at each call, so that the same call can go on with what is missing. */
export const DEFAULT_SEED = 7;

const whole = (min: number, max: number, example: number) => {
  const error = `must be a whole number from ${min} to ${max}, for example ${example}`;
  return z.number({ error }).int({ error }).min(min, { error }).max(max, { error });
};
const number = (min: number, max: number, example: number, what = "a number") => {
  const error = `must be ${what} from ${min} to ${max}, for example ${example}`;
  return z.number({ error }).min(min, { error }).max(max, { error });
};
const seconds = (min: number, max: number, example: number) => number(min, max, example, "a number of seconds");
const choice = <W extends string>(words: readonly [W, ...W[]]) => z.enum(words, { error: `must be one of ${words.join(", ")}` });
const flag = z.boolean({ error: "must be true or false" });
const D = QUEUE_SETTINGS;

const queueSchema = z.strictObject({
  workers: whole(0, 1000, 4).default(D.workers),
  external: z.array(z.string(), { error: "must be a list of URLs" }).default([]),
  topology: choice(["star", "mesh", "layered"]).default(D.topology),
  sub_coordinators: whole(1, 100, 2).default(D.sub_coordinators),
  questions: z.string({ error: 'must be a file, "generated", or "-" for the standard input' }).min(1).default(D.questions),
  count: whole(1, 10_000_000, 1000).default(D.count),
  skip_bad_lines: flag.default(D.skip_bad_lines),
  batch: z
    .union([z.literal("auto"), whole(1, 1000, 8)], { error: 'must be a whole number from 1 to 1000, for example 8, or "auto"' })
    .default(D.batch),
  concurrency: whole(1, 1000, 2).default(D.concurrency),
  rate: z
    .union([number(0.001, 1_000_000, 50), z.null()], { error: "must be questions per second, for example 50" })
    .default(D.rate),
  deadline: seconds(0.01, 3600, 10).default(D.deadline),
  max_attempts: whole(1, 1000, 5).default(D.max_attempts),
  backoff: seconds(0, 600, 0.05).default(D.backoff),
  quarantine_after: whole(1, 1000, 3).default(D.quarantine_after),
  probe_interval: seconds(0.01, 600, 0.2).default(D.probe_interval),
  engine: choice(["auto", ...QUEUE_ENGINES]).default(D.engine),
  think_time: seconds(0, 3600, 0.1).default(D.think_time),
  kill_fraction: number(0, 1, 0.25).default(D.kill_fraction),
  kill_coordinator: flag.default(D.kill_coordinator),
  fault_time: seconds(0, 86_400, 10).default(D.fault_time),
  restart_after: seconds(0, 3600, 2).default(D.restart_after),
});
export type QueueSettings = z.output<typeof queueSchema>;

const isQueue = (entry: Entry): boolean => entry.path === "queue" || entry.path.startsWith("queue.");

/** The entries of the queue's own section, and the others, which are every run's. */
export const splitEntries = (
  entries: readonly Entry[],
): { readonly queue: readonly Entry[]; readonly others: readonly Entry[] } => ({
  queue: entries.filter(isQueue),
  others: entries.filter((entry) => !isQueue(entry)),
});

/** What the file says: `--config FILE`, else configs/queue.yaml of the project, if it is there. */
export function readQueueFile(file: string | null, folders: { readonly cwd: string; readonly root: string }): Entry[] {
  const standard = path.join(folders.root, "configs", "queue.yaml");
  if (file === null && !existsSync(standard)) return [];
  const at = file === null ? standard : path.resolve(folders.cwd, file);
  const shown = file ?? "configs/queue.yaml";
  return readYamlFile(at, { env: process.env, shown, option: "--config" });
}

/** Checks the section; later entries win. Throws InputError naming option or line, value, and what would be right. */
export function resolveSettings(layers: readonly (readonly Entry[])[]): QueueSettings {
  const entries = new Map(layers.flat().map((entry) => [entry.path, entry]));
  entries.delete("queue");
  const known = Object.keys(QUEUE_SETTINGS);
  for (const entry of entries.values()) {
    const key = entry.path.slice("queue.".length);
    if (known.includes(key)) continue;
    const meant = nearest(key, known);
    throw new InputError(
      `${nameEntry(entry)}: unknown key; ${meant === null ? `known are ${known.join(", ")}` : `did you mean ${meant}?`}`,
    );
  }
  const section = Object.fromEntries([...entries].map(([key, { value }]) => [key.slice("queue.".length), value]));
  const checked = queueSchema.safeParse(section);
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  const entry = entries.get(`queue.${String(issue?.path[0])}`);
  throw new InputError(`${entry === undefined ? "queue" : nameEntry(entry)}: ${issue?.message ?? "is not right"}`);
}

/** In ms, scaled. `hasModel`: what `auto` means. */
export function toQueueConfig(
  settings: QueueSettings,
  run: { readonly timeScale: number; readonly hasModel: boolean },
): { readonly queue: QueueConfig; readonly faults: QueueFaults } {
  const ms = (given: number): number => Math.round(given * 1_000_000 * run.timeScale) / 1000;
  const { questions, engine } = settings;
  return {
    queue: {
      workers: settings.workers,
      external: settings.external,
      topology: settings.topology,
      subCoordinators: settings.sub_coordinators,
      source: questions === "-" ? "stdin" : questions === "generated" ? "generated" : "file",
      count: settings.count,
      batch: settings.batch,
      concurrency: settings.concurrency,
      rate: settings.rate,
      deadlineMs: ms(settings.deadline),
      maxAttempts: settings.max_attempts,
      backoffMs: ms(settings.backoff),
      quarantineAfter: settings.quarantine_after,
      probeIntervalMs: ms(settings.probe_interval),
      engine: engine === "auto" ? (run.hasModel ? "llm" : "corpus") : engine,
      thinkTimeMs: ms(settings.think_time),
      restartAfterMs: ms(settings.restart_after),
    },
    faults: {
      killFraction: settings.kill_fraction,
      killCoordinator: settings.kill_coordinator,
      atMs: ms(settings.fault_time),
    },
  };
}
