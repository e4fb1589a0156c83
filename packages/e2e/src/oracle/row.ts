/** How far apart the two sides of a row may be. */
export type Tolerance =
  /** Within so many units, either way. */
  | { readonly kind: "within"; readonly units: number }
  /** Within this share of the oracle's figure, and so many units more. */
  | { readonly kind: "share"; readonly share: number; readonly plus?: number }
  /** The oracle's figure may lie from `least` to `most` units after the harness's. */
  | { readonly kind: "after"; readonly least: number; readonly most: number }
  | { readonly kind: "equal" }
  /** Shown, not judged. */
  | { readonly kind: "shown" };

export type Value = number | string | null;
export type Verdict = "agrees" | "DISAGREES" | "";

/** One figure from both sides. */
export interface Row {
  readonly figure: string;
  readonly unit: string;
  readonly harness: Value;
  readonly oracle: Value;
  readonly tolerance: Tolerance;
  /** Oracle − harness; null unless both are numbers. */
  readonly difference: number | null;
  readonly verdict: Verdict;
}

/** The tolerances of the oracle: 2 ms for times, 1 % for bytes. */
export const TIME: Tolerance = { kind: "within", units: 2 };
export const BYTES: Tolerance = { kind: "share", share: 0.01 };
export const EQUAL: Tolerance = { kind: "equal" };
export const SHOWN: Tolerance = { kind: "shown" };

/** Compares two figures. A figure that only one side has is a disagreement; one that neither has is agreement. */
export function row(figure: string, unit: string, harness: Value, oracle: Value, tolerance: Tolerance): Row {
  const difference = typeof harness === "number" && typeof oracle === "number" ? oracle - harness : null;
  return { figure, unit, harness, oracle, tolerance, difference, verdict: judge(harness, oracle, difference, tolerance) };
}

function judge(harness: Value, oracle: Value, difference: number | null, tolerance: Tolerance): Verdict {
  if (tolerance.kind === "shown") return "";
  return agree(harness, oracle, difference, tolerance) ? "agrees" : "DISAGREES";
}

function agree(harness: Value, oracle: Value, difference: number | null, tolerance: Tolerance): boolean {
  if (tolerance.kind === "equal" || difference === null) return harness === oracle;
  if (tolerance.kind === "within") return Math.abs(difference) <= tolerance.units;
  if (tolerance.kind === "share") {
    return Math.abs(difference) <= tolerance.share * Math.abs(Number(oracle)) + (tolerance.plus ?? 0);
  }
  return tolerance.kind === "shown" || (difference >= tolerance.least && difference <= tolerance.most);
}

/** The median; the mean of the middle two for an even number. Null for none. */
export function median(values: readonly number[]): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  const low = sorted[Math.floor((sorted.length - 1) / 2)];
  const high = sorted[Math.ceil((sorted.length - 1) / 2)];
  return low === undefined || high === undefined ? null : (low + high) / 2;
}
