import { InputError } from "@failstorm/core";
import { z } from "zod";

/** One thing that is run: a level of every factor. */
const variantSchema = z.object({
  /** Safe in file names. */
  id: z.string(),
  label: z.string(),
  /** Factor → level. */
  levels: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  /** The levels of all factors but the compared one; variants are compared within a stratum. */
  stratum: z.string(),
});

/** Why a run is made: to be compared; again, as the harness's own spread (A/A); without a fault. */
export const ROLES = ["variant", "aa", "no_fault"] as const;

/** `experiment.json`: what an experiment consists of, decided before its first run. */
export const experimentSchema = z.object({
  format: z.literal("failstorm-experiment"),
  version: z.literal(1),
  name: z.string(),
  question: z.string().nullable(),
  createdAt: z.string(),
  factors: z.record(z.string(), z.array(z.union([z.string(), z.number(), z.boolean()]))),
  /** The factor whose levels are compared with each other. */
  compare: z.string(),
  /** The level of that factor that the others are set against. */
  baseline: z.string(),
  /** The one measure that is tested by itself; all others are secondary. */
  primary: z.string(),
  alpha: z.number(),
  seed: z.number(),
  repeats: z.number().int(),
  controls: z.object({ aa: z.boolean(), no_fault: z.enum(["none", "baseline", "all"]) }),
  /** Key → value, the same in all runs. */
  settings: z.record(z.string(), z.unknown()),
  variants: z.array(variantSchema),
  /** All runs, in the order in which they are made. */
  runs: z.array(
    z.object({ id: z.string(), block: z.number().int(), variant: z.string(), role: z.enum(ROLES), seed: z.number() }),
  ),
  /** Published numbers that this experiment repeats. */
  published: z.string().nullable(),
});
export type Experiment = z.infer<typeof experimentSchema>;
export type Variant = Experiment["variants"][number];
export type PlannedRun = Experiment["runs"][number];
export type Role = PlannedRun["role"];

/** A line of `runs.ndjson`: a planned run that was made. */
export const madeRunSchema = z.object({
  id: z.string(),
  /** The run's folder, relative to the experiment's; null when it left none. */
  dir: z.string().nullable(),
  exitCode: z.number().nullable(),
  startedAt: z.string(),
  wallMs: z.number(),
  /** Share of the machine that was busy just before it. */
  busyBefore: z.number().nullable(),
  attempt: z.number().int(),
});
export type MadeRun = z.infer<typeof madeRunSchema>;

export const EXPERIMENT_FILE = "experiment.json";
export const RUNS_FILE = "runs.ndjson";

/** Throws InputError naming what is wrong. */
export function parseExperiment(text: string, file: string): Experiment {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${file}: is not readable as JSON`, { cause });
  }
  const parsed = experimentSchema.safeParse(value);
  if (!parsed.success) throw new InputError(`${file}: is no experiment: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** The runs that were made, the last attempt of each; a line cut short by an interruption is passed over. */
export function parseMadeRuns(text: string): Map<string, MadeRun> {
  const made = new Map<string, MadeRun>();
  for (const line of text.split("\n")) {
    if (line === "") continue;
    try {
      const run = madeRunSchema.parse(JSON.parse(line));
      made.set(run.id, run);
    } catch {
      // The run it speaks of is made again.
    }
  }
  return made;
}
