import path from "node:path";
import { makeFolder } from "@failstorm/core";
import { toPng, toSvgFile } from "../charts/picture.ts";
import { loadCharts } from "../charts/render.ts";
import { renderComparisonPage } from "../page/comparisonPage.ts";
import { PAGE_FILE } from "../page/writeRunPage.ts";
import { writeWholeFile } from "../wholeFile.ts";
import type { Comparison } from "./analysis.ts";
import { comparisonTables } from "./comparisonTables.ts";
import { toCsv, toJson, toLatex, toMarkdown } from "./dataTable.ts";
import { comparisonFigures } from "./figures.ts";

export const COMPARISON_FILE = "comparison.json";
const FORMATS = { md: toMarkdown, csv: toCsv, tex: toLatex, json: toJson } as const;
const NOT_WRITTEN = "COMPARISON_NOT_WRITTEN";

/** The comparison for programs: all numbers, without the data that only curves need. */
function toData(comparison: Comparison): unknown {
  const { experiment, strata, power, completeBlocks, warnings, runs } = comparison;
  return {
    format: "failstorm-comparison",
    version: 1,
    experiment: experiment.name,
    primary: experiment.primary,
    alpha: experiment.alpha,
    power,
    completeBlocks,
    warnings,
    strata,
    runs: runs.map(({ planned, made, digest, problem }) => ({
      id: planned.id,
      block: planned.block,
      variant: planned.variant,
      role: planned.role,
      seed: planned.seed,
      dir: made?.dir ?? null,
      valid: digest?.valid ?? null,
      saturated: digest?.saturated ?? null,
      disturbed: digest?.disturbed ?? [],
      problem,
      observed: digest?.observed ?? null,
    })),
  };
}

/**
 * Writes everything that is made of a comparison into the experiment's folder: `comparison.json`, `tables/` (Markdown, CSV, LaTeX,
 * JSON), `figures/` (SVG, PNG), `report.html`. Returns the page's path. Throws RunError `COMPARISON_NOT_WRITTEN`.
 */
export async function writeComparison(dir: string, comparison: Comparison): Promise<string> {
  const write = (name: string, content: string | Uint8Array): Promise<void> =>
    writeWholeFile(path.join(dir, name), content, NOT_WRITTEN);
  for (const folder of ["tables", "figures"]) makeFolder(path.join(dir, folder));
  await write(COMPARISON_FILE, `${JSON.stringify(toData(comparison), null, 1)}\n`);
  for (const table of comparisonTables(comparison))
    for (const [ending, format] of Object.entries(FORMATS))
      await write(path.join("tables", `${table.id}.${ending}`), format(table));
  const charts = await loadCharts();
  for (const { id, spec } of comparisonFigures(comparison)) {
    const svg = toSvgFile(await charts.svg(id, spec));
    await write(path.join("figures", `${id}.svg`), svg);
    await write(path.join("figures", `${id}.png`), await toPng(svg));
  }
  await write(PAGE_FILE, await renderComparisonPage(comparison));
  return path.join(dir, PAGE_FILE);
}
