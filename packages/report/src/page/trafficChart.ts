import { MESSAGE_KINDS } from "@failstorm/core";
import type { ChartSpec } from "../charts/render.ts";
import { CATEGORIES, ink } from "../charts/theme.ts";
import { FAULT_CAUSES } from "../traffic.ts";
import { type Html, html, raw } from "./html.ts";
import { outage, type RunView } from "./runView.ts";
import { xAxis } from "./timelineChart.ts";

interface Bin {
  readonly s: number;
  readonly end: number;
  readonly name: string;
  readonly kB: number;
  readonly label: string;
}

type Split = "kind" | "cause";

/** kB in each second of the run by kind or cause of the messages that ended in it, all agents, both directions. */
function bytesPerSecond({ timeline }: RunView, split: Split, names: readonly string[]): Bin[] {
  const wanted = new Set(names);
  const sums = new Map<string, { s: number; name: string; bytes: number; n: number }>();
  for (const event of timeline.index.of("msg.second")) {
    const name = event[split];
    if (event.second < 0 || !wanted.has(name)) continue;
    const key = `${event.second} ${name}`;
    const sum = sums.get(key) ?? { s: event.second, name, bytes: 0, n: 0 };
    sum.bytes += event.bytesSent + event.bytesReceived;
    sum.n += event.n;
    sums.set(key, sum);
  }
  return [...sums.values()]
    .filter(({ bytes }) => bytes > 0)
    .map(({ s, name, bytes, n }) => ({
      s,
      end: s + 1,
      name,
      kB: bytes / 1000,
      label: `${s} to ${s + 1} s, ${name.replace("_", " ")}: ${(bytes / 1000).toFixed(1)} kB in ${n} messages`,
    }));
}

function panel(
  view: RunView,
  options: { split: Split; names: readonly string[]; title: string; height: number; last: boolean },
): ChartSpec | null {
  const { split, names, title, height, last } = options;
  const values = bytesPerSecond(view, split, names);
  if (values.length === 0) return null;
  const present = names.filter((name) => values.some((value) => value.name === name));
  return {
    width: 900,
    height,
    layer: [
      {
        data: { values: view.timeline.storms.map((storm) => outage(view.timeline, storm)) },
        mark: { type: "rect", color: ink("shade"), opacity: 0.09, aria: false },
        encoding: { x: { field: "from", type: "quantitative" }, x2: { field: "to" } },
      },
      {
        data: { values },
        mark: { type: "bar", binSpacing: 0.5 },
        encoding: {
          x: { ...xAxis(view, last ? "seconds after t=0" : null), bin: { binned: true, step: 1 } },
          x2: { field: "end" },
          y: { field: "kB", type: "quantitative", title: "kB per second", axis: { tickCount: 4 } },
          color: {
            field: "name",
            type: "nominal",
            title,
            scale: {
              domain: present,
              range: present.map((name) => ink(CATEGORIES[names.indexOf(name) % CATEGORIES.length] ?? "grey")),
            },
            legend: { labelExpr: "replace(datum.label, '_', ' ')" },
          },
          description: { field: "label" },
        },
      },
    ],
  };
}

/** Bytes by kind of message, and below it those that only the fault gave rise to, by cause. */
export async function trafficFigure(view: RunView): Promise<Html> {
  const panels = [
    panel(view, { split: "kind", names: MESSAGE_KINDS, title: "all messages, by kind", height: 150, last: false }),
    panel(view, { split: "cause", names: FAULT_CAUSES, title: "caused by the fault alone", height: 110, last: true }),
  ].filter((drawn) => drawn !== null);
  if (panels.length === 0) return html`<p class="none">No message was recorded.</p>`;
  const svg = await view.charts.svg("traffic", {
    vconcat: panels,
    spacing: 26,
    resolve: { scale: { x: "shared", color: "independent", y: "independent" }, legend: { color: "independent" } },
  });
  return html`<figure id="chart-traffic" class="chart" role="group" aria-label="Bytes by kind over time">
    ${raw(svg)}
    <figcaption>TCP payload with headers, on the callers' sockets, both directions, in the second in which a message ended.
    Above everything, below only what would not have been sent without the fault.</figcaption>
  </figure>`;
}
