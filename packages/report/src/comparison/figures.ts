import { findMeasure, type Measure } from "../measures.ts";
import type { Comparison } from "./analysis.ts";
import { detectionEcdf, latency, scaling, survival } from "./curveFigures.ts";
import type { Figure } from "./figureParts.ts";
import { differences, intervals } from "./forestFigures.ts";

const SURVIVAL = ["recovery_ms", "reconnected_ms", "steady_state_ms"];
const SCALING = ["bytes_per_task", "bytes_reconnect.total", "service_gap_ms", "work.latency_ms.p50"];
const find = (keys: readonly string[]): Measure[] => keys.map(findMeasure).filter((measure) => measure !== undefined);

/** Every figure of a comparison, those of a stratum together. */
export function comparisonFigures(comparison: Comparison): Figure[] {
  const survived = find([...new Set([comparison.experiment.primary, ...SURVIVAL])]).filter(({ unit }) => unit === "ms");
  return [
    ...comparison.strata.flatMap((stratum) => [
      intervals(comparison, stratum),
      differences(comparison, stratum),
      detectionEcdf(comparison, stratum),
      ...survived.map((measure) => survival(comparison, stratum, measure)),
      latency(comparison, stratum),
    ]),
    ...find(SCALING).map((measure) => scaling(comparison, measure)),
  ].filter((figure) => figure !== null);
}
