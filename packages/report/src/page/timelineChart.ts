import type { ChartSpec } from "../charts/render.ts";
import { ink } from "../charts/theme.ts";
import { affectedTasks, type TaskResult } from "../tasks.ts";
import { type Html, html, raw } from "./html.ts";
import { outage, type RunView, secondsAt } from "./runView.ts";

const WIDTH = 900;
/** A bin of the goodput curve should hold so many tasks, that one of them does not look like a collapse. */
const TASKS_IN_BIN = 14;
const BIN_SECONDS = [1, 2, 5, 10, 30, 60] as const;
/** More dots than this make a page slow and a cloud without shape: of the ordinary ones every k-th is drawn. */
const MAX_DOTS = 2500;

interface Marks {
  readonly from: number;
  readonly to: number;
  readonly label: string;
}

/** The time in which victims were down, with what was done to them; seconds. */
function faults({ timeline }: RunView): Marks[] {
  return timeline.storms.map((storm) => ({
    ...outage(timeline, storm),
    label: storm.fake ? "fake fault" : `${storm.kind.toUpperCase()} × ${storm.victims.length}`,
  }));
}

const returns = ({ timeline }: RunView): { at: number; label: string }[] =>
  timeline.storms.flatMap((storm) => {
    const last = Math.max(...storm.victims.map((victim) => victim.backAt));
    return storm.fake || !Number.isFinite(last) ? [] : [{ at: secondsAt(timeline, last), label: "victims serve again" }];
  });

/** The layers behind every panel: the outage shaded, the kill and the return ruled; labelled in the first panel. */
function backdrop(view: RunView, labelled: boolean): ChartSpec[] {
  const storms = faults(view);
  if (storms.length === 0) return [];
  const y = { value: -8 };
  return [
    {
      data: { values: storms },
      mark: { type: "rect", color: ink("shade"), opacity: 0.09, aria: false },
      encoding: { x: { field: "from", type: "quantitative" }, x2: { field: "to" } },
    },
    {
      data: { values: storms },
      mark: { type: "rule", color: ink("fault"), strokeWidth: 1.5, aria: false },
      encoding: { x: { field: "from", type: "quantitative" } },
    },
    {
      data: { values: returns(view) },
      mark: { type: "rule", color: ink("ink-2"), strokeDash: [3, 3], aria: false },
      encoding: { x: { field: "at", type: "quantitative" } },
    },
    ...(labelled
      ? [
          {
            data: { values: storms },
            mark: { type: "text", align: "center", color: ink("fault"), fontWeight: 600, aria: false },
            encoding: { x: { field: "from", type: "quantitative" }, y, text: { field: "label" } },
          },
          {
            data: { values: returns(view) },
            mark: { type: "text", align: "center", color: ink("ink-2"), aria: false },
            encoding: { x: { field: "at", type: "quantitative" }, y, text: { field: "label" } },
          },
        ]
      : []),
  ];
}

const STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600] as const;

/** The axis of time that the panels share: from t=0 to the end, or to the last outcome of the drain. */
export function xAxis({ timeline, tasks }: RunView, title: string | null): ChartSpec {
  const last = tasks.reduce((latest, task) => Math.max(latest, task.first?.t ?? 0), timeline.endAt);
  const end = Math.max(1, Math.ceil(secondsAt(timeline, last)));
  const step = STEPS.find((candidate) => end / candidate <= 13) ?? 7200;
  const values = Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step);
  return { field: "s", type: "quantitative", title, scale: { domain: [0, end], nice: false }, axis: { values } };
}

/** Goodput by intended start; a bin whose tasks' deadlines lie past the end is left out, since it is not decided. */
function goodputBins({ run, timeline, tasks }: RunView): { s: number; goodput: number; n: number; label: string }[] {
  const perSecond = (tasks.length * 1000) / Math.max(1000, timeline.endAt - timeline.t0);
  const width = BIN_SECONDS.find((seconds) => seconds * perSecond >= TASKS_IN_BIN) ?? 60;
  const decided = (timeline.endAt - timeline.t0 - run.config.tasks.deadlineMs) / 1000;
  const bins = Map.groupBy(tasks, (task) => Math.floor(task.task.atMs / 1000 / width));
  return [...bins.entries()]
    .filter(([bin]) => (bin + 1) * width <= decided)
    .map(([bin, own]) => {
      const good = own.filter((task) => task.good).length;
      const s = bin * width;
      return {
        s,
        goodput: good / own.length,
        n: own.length,
        label: `${s} to ${s + width} s: ${good} of ${own.length} right in time`,
      };
    })
    .sort((a, b) => a.s - b.s);
}

const goodputPanel = (view: RunView): ChartSpec => {
  const x = xAxis(view, null);
  const y = {
    field: "goodput",
    type: "quantitative",
    title: "goodput",
    scale: { domain: [0, 1] },
    axis: { format: "%", tickCount: 4 },
  };
  return {
    width: WIDTH,
    height: 130,
    layer: [
      ...backdrop(view, true),
      {
        data: { values: goodputBins(view) },
        encoding: { x, y },
        layer: [
          { mark: { type: "area", interpolate: "step-after", color: ink("blue"), opacity: 0.16, aria: false } },
          { mark: { type: "line", interpolate: "step-after", color: ink("blue"), aria: false } },
          {
            mark: { type: "point", opacity: 0, size: 60, filled: true },
            encoding: { description: { field: "label" } },
          },
        ],
      },
    ],
  };
};

const FATES = ["right in time", "late or wrong", "no answer", "expired"] as const;
type Fate = (typeof FATES)[number];

function fateOf(task: TaskResult): Fate {
  if (task.good) return "right in time";
  if (task.first?.status === "answered") return "late or wrong";
  return task.first?.status === "expired" || task.first === null ? "expired" : "no answer";
}

function throughput({ timeline, tasks }: RunView): { s: number; end: number; fate: Fate; n: number; label: string }[] {
  const counts = new Map<string, number>();
  for (const task of tasks) {
    if (task.first === null) continue;
    const key = `${Math.floor(secondsAt(timeline, task.first.t))} ${fateOf(task)}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts.entries()].map(([key, n]) => {
    const [second = "0", ...words] = key.split(" ");
    const fate = words.join(" ") as Fate;
    const s = Number(second);
    return { s, end: s + 1, fate, n, label: `${s} to ${s + 1} s: ${n} ${fate}` };
  });
}

const throughputPanel = (view: RunView): ChartSpec => ({
  width: WIDTH,
  height: 110,
  layer: [
    ...backdrop(view, false),
    {
      data: { values: throughput(view) },
      mark: { type: "bar", binSpacing: 0.5 },
      encoding: {
        x: { ...xAxis(view, null), bin: { binned: true, step: 1 } },
        x2: { field: "end" },
        y: { field: "n", type: "quantitative", title: "outcomes per second", axis: { tickCount: 4 } },
        color: {
          field: "fate",
          type: "nominal",
          title: null,
          sort: [...FATES],
          scale: { domain: [...FATES], range: [ink("green"), ink("fault"), ink("yellow"), ink("grey")] },
        },
        order: { field: "fate" },
        description: { field: "label" },
      },
    },
  ],
});

interface Dot {
  readonly s: number;
  readonly latency: number;
  readonly kind: string;
  readonly label: string;
}

function latencyDots({ timeline, tasks }: RunView): Dot[] {
  const touched = new Set(
    timeline.storms.flatMap((storm) => affectedTasks(timeline, storm, tasks).map((task) => task.result.task.task)),
  );
  const answered = tasks.filter((task) => task.first?.status === "answered" && task.latencyMs !== null);
  const special = answered.filter((task) => touched.has(task.task.task) || !task.good);
  const plain = answered.filter((task) => !touched.has(task.task.task) && task.good);
  const step = Math.max(1, Math.ceil(plain.length / Math.max(1, MAX_DOTS - special.length)));
  return [...plain.filter((_, i) => i % step === 0), ...special].map((task) => ({
    s: task.task.atMs / 1000,
    latency: (task.latencyMs ?? 0) / 1000,
    kind: touched.has(task.task.task) ? "owner or holder was hit" : "untouched by the fault",
    label: `${task.task.task}, due at ${(task.task.atMs / 1000).toFixed(2)} s: ${task.right ? "right" : "wrong"} after ${Math.round(task.latencyMs ?? 0)} ms, by ${task.first?.src ?? "nobody"}`,
  }));
}

const latencyPanel = (view: RunView): ChartSpec => ({
  width: WIDTH,
  height: 170,
  layer: [
    ...backdrop(view, false),
    {
      data: { values: [{ y: view.run.config.tasks.deadlineMs / 1000 }] },
      mark: { type: "rule", color: ink("line-2"), strokeDash: [5, 4], aria: false },
      encoding: { y: { field: "y", type: "quantitative" } },
    },
    {
      data: { values: latencyDots(view) },
      mark: { type: "circle", size: 13, opacity: 0.55 },
      encoding: {
        x: xAxis(view, "seconds after t=0 (by intended start; the panel in the middle: by outcome)"),
        y: { field: "latency", type: "quantitative", title: "latency, s", axis: { tickCount: 5 } },
        color: {
          field: "kind",
          type: "nominal",
          title: null,
          scale: { domain: ["untouched by the fault", "owner or holder was hit"], range: [ink("blue"), ink("orange")] },
        },
        description: { field: "label" },
      },
    },
  ],
});

/** Goodput, throughput and latency over the run, under one axis of time, with the fault shaded. */
export async function timelineFigure(view: RunView): Promise<Html> {
  const panels = [
    ...(goodputBins(view).length > 0 ? [goodputPanel(view)] : []),
    ...(throughput(view).length > 0 ? [throughputPanel(view)] : []),
    ...(latencyDots(view).length > 0 ? [latencyPanel(view)] : []),
  ];
  if (panels.length === 0) return html`<p class="none">No task came to an end.</p>`;
  const svg = await view.charts.svg("timeline", {
    vconcat: panels,
    spacing: 26,
    resolve: { scale: { x: "shared", color: "independent" }, legend: { color: "independent" } },
  });
  return html`<figure id="chart-timeline" class="chart" role="group" aria-label="Goodput, throughput and latency over the run">
    ${raw(svg)}
    <figcaption>Top: share of the questions of each moment that were answered right in their deadline; those due shortly before the
    kill were in flight when it came. Middle: outcomes as they
    came in. Bottom: each dot is one question, its deadline dashed. Shaded: from the kill until the victims served again.
    </figcaption>
  </figure>`;
}
