import type { Row, Value } from "./row.ts";

const number = (value: number, digits: number): string =>
  value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const digitsOf = (unit: string): number => (unit === "ms" ? 3 : unit === "share" ? 6 : unit.startsWith("%") ? 4 : 0);
const shown = (value: Value, unit: string): string =>
  value === null ? "–" : typeof value === "string" ? value : number(value, unit === "port" ? 0 : digitsOf(unit));

/** The rows as text, in columns. */
export function formatRows(rows: readonly Row[]): string {
  const header = ["figure", "unit", "harness", "oracle", "difference", "verdict"];
  const lines = [
    header,
    ...rows.map(({ figure, unit, harness, oracle, difference, verdict }) => [
      figure,
      unit,
      shown(harness, unit),
      shown(oracle, unit),
      shown(difference, unit),
      verdict,
    ]),
  ];
  const widths = header.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, column) =>
          column >= 2 && column <= 4 ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
