import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { InputError } from "@failstorm/core";
import { METRICS_FILE } from "../writeMetrics.ts";
import { digestRun, type RunDigest } from "./digest.ts";
import { isExperiment, readExperiment, readMetricsFile } from "./readExperiment.ts";

/** Runs that count as repeats of one another. */
export interface ResultGroup {
  readonly name: string;
  readonly runs: readonly RunDigest[];
}

/** Some results: of a run, of repeated runs, or of an experiment. */
export interface ResultSet {
  readonly source: string;
  readonly groups: readonly ResultGroup[];
  /** Runs that are not valid and so in no group. */
  readonly excluded: readonly RunDigest[];
  /** Runs without metrics, and files of metrics of another version: in no group either. */
  readonly unreadable?: readonly string[];
}

const groupName = ({ protocol, agents }: RunDigest): string => `${protocol}, ${agents} agents`;

function group(source: string, named: readonly (readonly [string, RunDigest])[], unreadable: readonly string[]): ResultSet {
  const byName = Map.groupBy(
    named.filter(([, run]) => run.valid),
    ([name]) => name,
  );
  return {
    source,
    groups: [...byName].map(([name, runs]) => ({ name, runs: runs.map(([, run]) => run) })),
    excluded: named.flatMap(([, run]) => (run.valid ? [] : [run])),
    unreadable,
  };
}

/** Files of metrics at or below a path: itself, a run folder's, those of a batch (`seed-7.json`), those of run folders below. */
function metricsFiles(at: string, depth = 0): string[] {
  if (!statSync(at).isDirectory()) return at.endsWith(".json") ? [at] : [];
  const own = path.join(at, METRICS_FILE);
  if (existsSync(own)) return [own];
  if (depth > 4) return [];
  return readdirSync(at, { withFileTypes: true })
    .filter(
      (entry) =>
        !entry.name.startsWith(".") && !entry.isSymbolicLink() && (entry.isDirectory() || /^seed-.*\.json$/.test(entry.name)),
    )
    .map((entry) => path.join(at, entry.name))
    .sort()
    .flatMap((below) => metricsFiles(below, depth + 1));
}

/** Reads results from a run's folder, a file of metrics, a folder of either, or an experiment's. Throws InputError when there are none. */
export async function readResults(at: string, source: string): Promise<ResultSet> {
  if (!existsSync(at))
    throw new InputError(
      `${source}: there is no such file or folder; give a run's folder, or one of repeated runs or an experiment`,
    );
  if (isExperiment(at)) {
    const { experiment, entries } = await readExperiment(at);
    const label = new Map(experiment.variants.map((variant) => [variant.id, variant.label]));
    return group(
      source,
      entries.flatMap(({ planned, digest }) =>
        planned.role === "variant" && digest !== null ? [[label.get(planned.variant) ?? planned.variant, digest] as const] : [],
      ),
      entries.flatMap(({ planned, made, digest }) =>
        planned.role === "variant" && made !== null && digest === null ? [planned.id] : [],
      ),
    );
  }
  const digests: (readonly [string, RunDigest])[] = [];
  const unreadable: string[] = [];
  for (const file of metricsFiles(at)) {
    const metrics = await readMetricsFile(file);
    if (metrics === null) {
      unreadable.push(path.relative(at, file));
      continue;
    }
    const digest = digestRun(metrics);
    digests.push([groupName(digest), digest]);
  }
  if (digests.length === 0)
    throw new InputError(
      `${source}: holds no ${METRICS_FILE} that this version can read; \`failstorm report DIR\` makes it anew from a run's events`,
    );
  return group(source, digests, unreadable);
}
