import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { METRICS_FILE, PAGE_FILE } from "@failstorm/report";
import { formatLine, log, painter, useColor } from "../view/log.ts";
import { renderResult } from "../view/resultTable.ts";
import { shownPath } from "./config.ts";
import type { Summary } from "./summary.ts";

export interface OutputOptions {
  /** The metrics on stdout and nothing else there. */
  readonly json: boolean;
  /** Only the table. */
  readonly quiet: boolean;
}

/** Width of a table that goes to a file or a pipe. */
const FILE_COLUMNS = 160;

/** Writes the result to stdout, broken invariants to stderr (they are never left out). */
export function printSummary({ metrics, check }: Summary, options: OutputOptions & { runDir: string }): void {
  const { runDir, json, quiet } = options;
  for (const violation of check.violations) log("ERROR", `invariant broken: ${violation.invariant}: ${violation.message}`);
  if (json) {
    process.stdout.write(readFileSync(path.join(runDir, METRICS_FILE)));
    return;
  }
  const paint = painter(useColor(process.stdout));
  const say = (level: "SUCCESS" | "WARNING" | "INFO", text: string): void =>
    void process.stdout.write(`${formatLine({ level, tag: null, text }, paint)}\n`);
  if (metrics.partial) say("WARNING", `partial: ${metrics.partial_reason ?? "the run broke off"}`);
  process.stdout.write(`${renderResult(metrics, process.stdout.isTTY ? process.stdout.columns : FILE_COLUMNS, paint)}\n`);
  if (!metrics.valid) say("WARNING", `not valid, do not compare: ${metrics.invalid_because.join("; ")}`);
  for (const [name, [first, ...more]] of Map.groupBy(check.warnings, ({ invariant }) => invariant))
    say("WARNING", `${name}: ${first?.message ?? ""}${more.length > 0 ? ` (and ${more.length} more like it)` : ""}`);
  if (metrics.saturated) say("WARNING", "saturated, do not compare: use fewer agents or a lower --rate");
  if (quiet) return;
  if (check.violations.length === 0) say("SUCCESS", "all invariants hold");
  say("INFO", `run folder ${shownPath(runDir)}`);
  if (existsSync(path.join(runDir, PAGE_FILE))) say("INFO", `report ${shownPath(path.join(runDir, PAGE_FILE))}`);
  say("INFO", `again with the same seed: pnpm failstorm --config ${shownPath(path.join(runDir, "config.yaml"))}`);
}
