import type { ChartSpec } from "../charts/render.ts";
import { ink } from "../charts/theme.ts";
import { formatValue } from "../measures.ts";
import type { Interval } from "../statistics/bootstrap.ts";
import type { Comparison, Stratum } from "./analysis.ts";
import { axisTitle, byLevel, type Figure, keyMeasures, nameOf, suffix, WIDTH, within } from "./figureParts.ts";
import { standIn } from "./summaries.ts";

/** Medians with their intervals over every single run, a panel a measure. */
export function intervals(comparison: Comparison, stratum: Stratum): Figure {
  const panels = keyMeasures(comparison).flatMap((measure): ChartSpec[] => {
    const values = stratum.variants.flatMap((summary) => {
      const own = summary.measures[measure.key];
      const level = nameOf(comparison, summary);
      if (own === undefined || own.median === null) return [];
      const label = `${level}: ${formatValue(own.median.estimate)} [${formatValue(own.median.low)}, ${formatValue(own.median.high)}] ${measure.unit}, n = ${own.n}`;
      return [
        {
          level,
          label,
          median: own.median.estimate,
          low: own.median.low,
          high: own.median.high,
          runs: own.observations.flatMap(({ observed }) => standIn(observed) ?? []),
        },
      ];
    });
    if (values.length === 0) return [];
    const y = { field: "level", type: "nominal", title: null, sort: null, axis: { labelFontSize: 11 } };
    const x = (field: string): ChartSpec => ({
      field,
      type: "quantitative",
      title: axisTitle(measure),
      scale: { zero: false, padding: 12 },
      axis: { tickCount: 6, grid: true },
    });
    const color = byLevel(comparison, null);
    return [
      {
        width: WIDTH,
        height: { step: 17 },
        data: { values },
        encoding: { y, color },
        layer: [
          {
            transform: [{ flatten: ["runs"] }],
            mark: { type: "tick", opacity: 0.35, size: 9, thickness: 1.2, aria: false },
            encoding: { x: x("runs") },
          },
          { mark: { type: "rule", strokeWidth: 3, aria: false }, encoding: { x: x("low"), x2: { field: "high" } } },
          {
            mark: { type: "point", filled: true, size: 80, opacity: 1 },
            encoding: { x: x("median"), description: { field: "label" } },
          },
        ],
      },
    ];
  });
  return {
    id: `intervals${suffix(stratum)}`,
    caption: `Median (dot) with its 95 % bootstrap interval (bar) over the single runs (ticks).${within(stratum)}`,
    spec: { vconcat: panels, spacing: 14, resolve: { scale: { x: "independent", y: "independent" } } },
  };
}

const toRow = (level: string, { estimate, low, high }: Interval, mark: "significant" | "not" | "A/A") => ({
  level,
  estimate,
  low,
  high,
  mark,
});

/** Mean paired differences to the baseline with intervals, and the harness's own difference beside them. */
export function differences(comparison: Comparison, stratum: Stratum): Figure | null {
  const others = stratum.variants.filter(({ variant }) => variant.id !== stratum.baseline);
  if (others.length === 0) return null;
  const base = comparison.experiment.baseline;
  const panels = keyMeasures(comparison).flatMap((measure): ChartSpec[] => {
    const harness = stratum.harness.find((spread) => spread.measure === measure.key)?.meanDifference ?? null;
    const rows = others.flatMap((summary) => {
      const pair = stratum.pairs.find(
        ({ measure: key, a, b }) => key === measure.key && a === summary.variant.id && b === stratum.baseline,
      );
      return pair?.meanDifference
        ? [toRow(nameOf(comparison, summary), pair.meanDifference, pair.significant ? "significant" : "not")]
        : [];
    });
    if (rows.length === 0) return [];
    const values = [...(harness === null ? [] : [toRow("A/A", harness, "A/A")]), ...rows].map((row) =>
      Object.assign(row, {
        label: `${row.level} − ${row.mark === "A/A" ? "itself" : base}: ${formatValue(row.estimate)} [${formatValue(row.low)}, ${formatValue(row.high)}] ${measure.unit}${row.mark === "significant" ? ", significant" : ""}`,
      }),
    );
    const x = (field: string): ChartSpec => ({
      field,
      type: "quantitative",
      title: `${measure.label}: difference to ${base}, ${measure.unit}`,
      scale: { zero: true, padding: 12 },
      axis: { tickCount: 6, grid: true },
    });
    const color = {
      field: "mark",
      type: "nominal",
      legend: null,
      scale: { domain: ["significant", "not", "A/A"], range: [ink("blue"), ink("grey"), ink("orange")] },
    };
    return [
      {
        width: WIDTH,
        height: { step: 17 },
        data: { values },
        encoding: { y: { field: "level", type: "nominal", title: null, sort: null, axis: { labelFontSize: 11 } }, color },
        layer: [
          {
            data: { values: [{ zero: 0 }] },
            mark: { type: "rule", color: ink("line-2"), aria: false },
            encoding: { x: { field: "zero", type: "quantitative" }, y: null, color: null },
          },
          { mark: { type: "rule", strokeWidth: 3, aria: false }, encoding: { x: x("low"), x2: { field: "high" } } },
          {
            mark: { type: "point", filled: true, size: 80, opacity: 1 },
            encoding: { x: x("estimate"), description: { field: "label" } },
          },
        ],
      },
    ];
  });
  if (panels.length === 0) return null;
  return {
    id: `differences${suffix(stratum)}`,
    caption: `Mean paired difference to ${base} with its 95 % bootstrap interval over blocks. Blue: significant after Holm's correction; grey: not; orange: the same variant against itself (A/A), what the harness and the machine do by themselves.${within(stratum)}`,
    spec: { vconcat: panels, spacing: 14, resolve: { scale: { x: "independent", y: "independent" } } },
  };
}
