import path from "node:path";
import type { RunRecord } from "../run.ts";
import type { FailstormMetrics } from "../schema.ts";
import { writeWholeFile } from "../wholeFile.ts";
import type { BrokenInvariant } from "./runView.ts";

export const PAGE_FILE = "report.html";

/**
 * Writes `report.html` into a run's folder, whole or not at all; returns the path. What draws it is loaded only here. Throws RunError
 * `PAGE_NOT_WRITTEN` (disk full, …); anything else is a bug of the page.
 */
export async function writeRunPage(
  dir: string,
  input: { readonly run: RunRecord; readonly metrics: FailstormMetrics; readonly violations: readonly BrokenInvariant[] },
): Promise<string> {
  const { renderRunPage } = await import("./runPage.ts");
  const target = path.join(dir, PAGE_FILE);
  await writeWholeFile(target, await renderRunPage(input), "PAGE_NOT_WRITTEN");
  return target;
}
