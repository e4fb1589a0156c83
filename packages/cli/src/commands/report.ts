import { existsSync, readFileSync, realpathSync } from "node:fs";
import path from "node:path";
import { InputError } from "@failstorm/core";
import { isRunning } from "../experiment/processes.ts";
import { reportQueue } from "../queue/finish.ts";
import { readRunFile } from "../queue/folder.ts";
import { checkWritable } from "../run/folder.ts";
import { printSummary } from "./print.ts";
import { checkPublishTarget, reportExperiment } from "./reportExperiment.ts";
import { summarise } from "./summary.ts";
import { userFolder } from "../project.ts";

const INVARIANT_BROKEN = 3;

/** Merging takes the event files away from those who write them. */
function rejectUnfinished(dir: string): void {
  const manifest = path.join(dir, "manifest.json");
  if (existsSync(path.join(dir, "events.ndjson")) || !existsSync(manifest)) return;
  const { pid } = JSON.parse(readFileSync(manifest, "utf8")) as { pid?: unknown };
  if (typeof pid === "number" && isRunning(pid))
    throw new InputError(`report ${dir}: this run is still going on (process ${String(pid)}); wait for its end`);
}

/** `failstorm report DIR`: metrics, tables and page again, of a run or an experiment, from the recorded events alone. */
export async function report(
  given: string,
  { publish, ...options }: { json: boolean; fresh: boolean; publish: string | null },
): Promise<number> {
  const dir = path.resolve(userFolder(), given);
  if (!existsSync(dir))
    throw new InputError(`report ${given}: there is no such folder; give a run's folder, for example results/latest`);
  const runDir = realpathSync(dir);
  const { isExperiment } = await import("@failstorm/report/comparison/readExperiment.ts");
  if (isExperiment(runDir)) {
    const target = publish === null ? null : path.resolve(userFolder(), publish);
    if (target !== null) {
      checkPublishTarget(target, runDir);
      checkWritable(target, "--publish");
    }
    await reportExperiment(runDir, { ...options, publish: target });
    return 0;
  }
  if (publish !== null) throw new InputError(`--publish ${publish}: ${given} is a run; only an experiment is published`);
  rejectUnfinished(runDir);
  if (readRunFile(runDir) !== null) return reportQueue(runDir, options.json);
  const { findScenario } = await import("@failstorm/scenarios");
  const summary = await summarise(runDir, findScenario);
  printSummary(summary, { runDir, json: options.json, quiet: false });
  return summary.check.violations.length > 0 ? INVARIANT_BROKEN : 0;
}
