import type { Check, DetailTable } from "./bench.ts";

const text = (value: number): string => {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  return value.toLocaleString("en-US", { maximumFractionDigits: size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3 });
};

/** A number as the tables show it: three significant digits or so, "–" for one that was not reached. */
export const shown = (value: number | null): string => (value === null ? "–" : text(value));

/** Columns padded to their widest cell; numbers are not aligned, the units stand beside them. */
function columns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, cell.length);
  return rows
    .map((row) =>
      row
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

export function verdictOf({ met }: Check, inconclusive: boolean): string {
  if (met === null) return "";
  return `${met ? "met" : "MISSED"}${inconclusive ? " (not conclusive)" : ""}`;
}

/** One row a check: bench, measure, goal, median, interval, n, verdict. */
export function renderChecks(
  benches: readonly { readonly name: string; readonly inconclusive: boolean; readonly checks: readonly Check[] }[],
): string {
  const head = ["bench", "measure", "goal", "median", "95 % interval", "unit", "n", "verdict"];
  const rows = benches.flatMap(({ name, inconclusive, checks }) =>
    checks.map((check, index) => [
      index === 0 ? name : "",
      check.measure,
      check.goal,
      shown(check.median),
      check.interval === null ? "–" : `${shown(check.interval[0])} … ${shown(check.interval[1])}`,
      check.unit,
      String(check.n),
      verdictOf(check, inconclusive),
    ]),
  );
  return columns([head, head.map((cell) => "─".repeat(cell.length)), ...rows]);
}

export const renderDetails = ({ title, columns: head, rows }: DetailTable): string => `${title}\n${columns([head, ...rows])}`;
