import type { ChartSpec } from "../charts/render.ts";
import { ink } from "../charts/theme.ts";
import type { Measure } from "../measures.ts";
import { createHistogram } from "../statistics/histogram.ts";
import { kaplanMeier } from "../statistics/survival.ts";
import type { Comparison, Stratum } from "./analysis.ts";
import { axisTitle, byLevel, type Figure, nameOf, suffix, WIDTH, within } from "./figureParts.ts";
import { observations } from "./summaries.ts";

const stepLine = (
  comparison: Comparison,
  options: { values: readonly ChartSpec[]; x: string; y: string; log: boolean; area?: boolean },
): ChartSpec => ({
  width: WIDTH,
  height: 230,
  data: { values: options.values },
  encoding: {
    x: {
      field: "x",
      type: "quantitative",
      title: options.x,
      scale: options.log ? { type: "log", nice: true } : { zero: true },
      axis: { grid: true, tickCount: 8, ...(options.log ? { format: "~s" } : {}) },
    },
    color: byLevel(comparison),
  },
  layer: [
    ...(options.area === true
      ? [
          {
            mark: { type: "area", interpolate: "step-after", opacity: 0.1, aria: false },
            encoding: { y: { field: "low", type: "quantitative", title: options.y }, y2: { field: "high" } },
          },
        ]
      : []),
    {
      mark: { type: "line", interpolate: "step-after", aria: false },
      encoding: { y: { field: "y", type: "quantitative", title: options.y, scale: { domain: [0, 1] }, axis: { format: "%" } } },
    },
  ],
});

/** Share of (survivor, victim) pairs that had their detection by then, all runs together. */
export function detectionEcdf(comparison: Comparison, stratum: Stratum): Figure | null {
  const values = stratum.variants.flatMap((summary) => {
    const own = comparison.runs.filter(
      ({ planned, digest }) => planned.variant === summary.variant.id && planned.role === "variant" && digest?.valid === true,
    );
    const pairs = own.flatMap(({ digest }) => digest?.detections ?? []);
    const reached = pairs.filter((ms) => ms !== null).sort((a, b) => a - b);
    const level = nameOf(comparison, summary);
    return [{ level, x: 0, y: 0 }, ...reached.map((ms, i) => ({ level, x: ms, y: (i + 1) / pairs.length }))];
  });
  if (values.length <= stratum.variants.length) return null;
  return {
    id: `ecdf-detection${suffix(stratum)}`,
    caption: `Detection: share of all pairs of a survivor and a victim in which the survivor had declared the victim dead by then.${within(stratum)}`,
    spec: stepLine(comparison, { values, x: "ms after the kill", y: "share of pairs", log: false }),
  };
}

/** Kaplan–Meier: share of runs that had not got there yet; runs that never did are censored at their end. */
export function survival(comparison: Comparison, stratum: Stratum, measure: Measure): Figure | null {
  const curves = stratum.variants.map((summary) => {
    const own = summary.measures[measure.key];
    const runs = own === undefined ? [] : observations(own);
    return { level: nameOf(comparison, summary), runs, steps: kaplanMeier(runs) };
  });
  if (curves.every(({ runs }) => runs.length < 2)) return null;
  const values = curves.flatMap(({ level, steps }) => [
    { level, x: 0, y: 1, low: 1, high: 1 },
    ...steps.map(({ time, survival, low, high }) => ({ level, x: time, y: survival, low, high })),
  ]);
  const censored = curves.flatMap(({ level, steps }) =>
    steps.filter((step) => step.censored > 0).map(({ time, survival }) => ({ level, x: time, y: survival })),
  );
  const spec = stepLine(comparison, { values, x: `ms after the kill`, y: "share of runs not there yet", log: false, area: true });
  const marks = {
    data: { values: censored },
    mark: { type: "point", shape: "cross", size: 40, aria: false },
    encoding: { y: { field: "y", type: "quantitative" } },
  };
  return {
    id: `survival-${measure.key}${suffix(stratum)}`,
    caption: `${measure.label}: share of runs that had not got there yet (Kaplan–Meier, 95 % band; a cross: a run that never did, censored at its end).${within(stratum)}`,
    spec: { ...spec, layer: [...(spec["layer"] as ChartSpec[]), ...(censored.length > 0 ? [marks] : [])] },
  };
}

/** Latency of right answers, histograms of all runs and agents merged. */
export function latency(comparison: Comparison, stratum: Stratum): Figure | null {
  const values = stratum.variants.flatMap((summary) => {
    const merged = createHistogram();
    for (const { planned, digest } of comparison.runs)
      if (planned.variant === summary.variant.id && planned.role === "variant" && digest?.valid === true)
        merged.add(digest.histogram);
    return merged.cumulative().map(({ ms, share }) => ({ level: nameOf(comparison, summary), x: Math.max(1, ms), y: share }));
  });
  if (values.length === 0) return null;
  return {
    id: `latency${suffix(stratum)}`,
    caption: `Latency of right answers from their intended start, all runs of a variant together.${within(stratum)}`,
    spec: stepLine(comparison, { values, x: "ms (logarithmic)", y: "share of right answers", log: true }),
  };
}

/** A measure against the number of agents, where that was varied. */
export function scaling(comparison: Comparison, measure: Measure): Figure | null {
  const { factors, compare } = comparison.experiment;
  if ((factors["agents"]?.length ?? 0) < 2) return null;
  // The compared numbers of agents are the axis then: there is one line, but for further factors.
  const color = compare === "agents" ? { value: ink("blue") } : byLevel(comparison);
  const values = comparison.strata.flatMap(({ variants }) =>
    variants.flatMap(({ variant, measures }) => {
      const median = measures[measure.key]?.median ?? null;
      const rest = Object.entries(variant.levels)
        .filter(([factor]) => factor !== "agents" && factor !== compare)
        .map(([, level]) => String(level));
      return median === null
        ? []
        : [
            {
              level: String(variant.levels[compare]),
              rest: rest.join(", "),
              x: Number(variant.levels["agents"]),
              y: median.estimate,
              low: median.low,
              high: median.high,
            },
          ];
    }),
  );
  if (values.length === 0) return null;
  const y = (field: string): ChartSpec => ({ field, type: "quantitative", title: axisTitle(measure) });
  const x = {
    field: "x",
    type: "quantitative",
    title: "agents",
    scale: { type: "log", nice: false, padding: 20 },
    axis: { values: (factors["agents"] ?? []).map(Number), grid: true },
  };
  const dash = values.some(({ rest }) => rest !== "") ? { strokeDash: { field: "rest", type: "nominal", title: null } } : {};
  return {
    id: `scaling-${measure.key}`,
    caption: `${measure.label} against the number of agents: medians with 95 % intervals.`,
    spec: {
      width: WIDTH,
      height: 240,
      data: { values },
      encoding: { x, color },
      layer: [
        { mark: { type: "line", point: { filled: true, size: 50 } }, encoding: { y: y("y"), ...dash } },
        { mark: { type: "rule", aria: false }, encoding: { y: y("low"), y2: { field: "high" } } },
      ],
    },
  };
}
