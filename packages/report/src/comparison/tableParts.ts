import { formatValue } from "../measures.ts";
import type { Interval } from "../statistics/bootstrap.ts";
import type { Comparison, Stratum } from "./analysis.ts";
import type { Column } from "./dataTable.ts";

/** A difference: with its sign. */
export const signedText = (value: number | null): string =>
  `${value !== null && value > 0 ? "+" : ""}${formatValue(value).replace("-", "−")}`;

export const intervalText = (interval: Interval | null, sign = false): string => {
  if (interval === null) return "–";
  const plus = (value: number): string => (sign ? signedText(value) : formatValue(value).replace("-", "−"));
  return `${plus(interval.estimate)} [${plus(interval.low)}, ${plus(interval.high)}]`;
};

/** A difference over `n` blocks. One has no spread, and an interval of no width would say that it had none. */
export const differenceText = (interval: Interval | null, n: number): string =>
  interval !== null && n < 2 ? `${signedText(interval.estimate)} (one block)` : intervalText(interval, true);

export const pText = (p: number | null): string => (p === null ? "–" : p < 0.0001 ? "<0.0001" : p.toFixed(4));

export const column = (key: string, name = key, numeric = true): Column => ({ key, name, numeric });

/** Names of a stratum's variants: its levels of the compared factor are enough where there is one stratum. */
export const labelOf = (comparison: Comparison, id: string): string =>
  comparison.experiment.variants.find((variant) => variant.id === id)?.label ?? id;

export const inFile = (stratum: Stratum): string =>
  stratum.name === "" ? "" : `-${stratum.name.replaceAll(/[^A-Za-z0-9.]+/g, "_")}`;
export const inTitle = (stratum: Stratum): string => (stratum.name === "" ? "" : ` (${stratum.name})`);
