import type { ChartSpec } from "../charts/render.ts";
import { CATEGORIES, ink } from "../charts/theme.ts";
import { findMeasure, type Measure } from "../measures.ts";
import type { Comparison, Stratum } from "./analysis.ts";
import type { VariantSummary } from "./summaries.ts";

/** A picture of a comparison: its file's name, what it shows, how it is drawn. */
export interface Figure {
  readonly id: string;
  readonly caption: string;
  readonly spec: ChartSpec;
}

const KEY_MEASURES = [
  "service_gap_ms",
  "detection_ms.p50",
  "recovery_ms",
  "reconnected_ms",
  "success_rate_drop",
  "bytes_reconnect.total",
  "bytes_per_task",
  "duplicate_work_ratio",
  "work.latency_ms.p50",
];

export const WIDTH = 760;

export const suffix = (stratum: Stratum): string =>
  stratum.name === "" ? "" : `-${stratum.name.replaceAll(/[^A-Za-z0-9.]+/g, "_")}`;
export const within = (stratum: Stratum): string => (stratum.name === "" ? "" : ` ${stratum.name}.`);

/** The compared factor's level, which names a variant inside its stratum. */
export const nameOf = ({ experiment }: Comparison, { variant }: VariantSummary): string =>
  String(variant.levels[experiment.compare] ?? variant.label);

/** One colour a level, the same in all figures. */
function colours(comparison: Comparison): ChartSpec {
  const levels = (comparison.experiment.factors[comparison.experiment.compare] ?? []).map(String);
  return { domain: levels, range: levels.map((_, i) => ink(CATEGORIES[i % CATEGORIES.length] ?? "grey")) };
}

export const byLevel = (
  comparison: Comparison,
  legend: ChartSpec | null = { symbolType: "stroke", symbolStrokeWidth: 3 },
): ChartSpec => ({
  field: "level",
  type: "nominal",
  title: null,
  scale: colours(comparison),
  legend,
});

export function keyMeasures({ experiment }: Comparison): Measure[] {
  return [...new Set([experiment.primary, ...KEY_MEASURES])].map(findMeasure).filter((measure) => measure !== undefined);
}

export const axisTitle = (measure: Measure): string => `${measure.label}, ${measure.unit}`;
