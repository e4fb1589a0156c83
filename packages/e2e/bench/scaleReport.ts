import { toSvgFile } from "@failstorm/report/charts/picture.ts";
import { type ChartSpec, loadCharts } from "@failstorm/report/charts/render.ts";
import type { DetailTable } from "./bench.ts";
import { shown } from "./table.ts";

/** What one size costs, medians over its storms: per agent and second before the fault, and until all know all after it. */
export interface SizeCosts {
  readonly agents: number;
  readonly last: number | null;
  readonly floorLast: number | null;
  readonly ratio: number | null;
  readonly livenessMessages: number | null;
  readonly livenessBytes: number | null;
  readonly messages: number | null;
  readonly bytes: number | null;
  /** Of a core. */
  readonly cpuShare: number | null;
  readonly rssBytes: number | null;
  readonly lost: number | null;
}

const scaled = (value: number | null, factor: number): number | null => (value === null ? null : value * factor);

const COLUMNS: readonly { readonly title: string; readonly of: (costs: SizeCosts) => number | null }[] = [
  { title: "N", of: ({ agents }) => agents },
  { title: "all know all, ms", of: ({ last }) => last },
  { title: "floor, ms", of: ({ floorLast }) => floorLast },
  { title: "ratio", of: ({ ratio }) => ratio },
  { title: "liveness messages /s", of: ({ livenessMessages }) => livenessMessages },
  { title: "liveness bytes /s", of: ({ livenessBytes }) => livenessBytes },
  { title: "all messages /s", of: ({ messages }) => messages },
  { title: "all bytes /s", of: ({ bytes }) => bytes },
  { title: "CPU, % of a core", of: ({ cpuShare }) => scaled(cpuShare, 100) },
  { title: "RSS, MB", of: ({ rssBytes }) => scaled(rssBytes, 1e-6) },
  { title: "tasks lost", of: ({ lost }) => lost },
];

const rowsOf = (costs: readonly SizeCosts[]): string[][] => costs.map((one) => COLUMNS.map(({ of }) => shown(of(one))));
const titles = COLUMNS.map(({ title }) => title);

export const costTable = (costs: readonly SizeCosts[]): DetailTable => ({
  title: "what it costs with N: per agent and second, before the fault (medians)",
  columns: titles,
  rows: rowsOf(costs),
});

/** The same as a Markdown table, numbers to the right. */
export function markdownOf(costs: readonly SizeCosts[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |\n`;
  return [titles, titles.map(() => "---:"), ...rowsOf(costs)].map(line).join("");
}

interface Panel {
  readonly title: string;
  readonly series: readonly { readonly name: string; readonly of: (costs: SizeCosts) => number | null }[];
}

const PANELS: readonly Panel[] = [
  {
    title: "until all know all, ms",
    series: [
      { name: "agents", of: ({ last }) => last },
      { name: "bare sockets", of: ({ floorLast }) => floorLast },
    ],
  },
  {
    title: "messages per agent and second",
    series: [
      { name: "liveness", of: ({ livenessMessages }) => livenessMessages },
      { name: "all", of: ({ messages }) => messages },
    ],
  },
  {
    title: "bytes per agent and second",
    series: [
      { name: "liveness", of: ({ livenessBytes }) => livenessBytes },
      { name: "all", of: ({ bytes }) => bytes },
    ],
  },
  { title: "CPU per agent, % of a core", series: [{ name: "all", of: ({ cpuShare }) => scaled(cpuShare, 100) }] },
];

function panelSpec({ title, series }: Panel, costs: readonly SizeCosts[]): ChartSpec {
  const values = series.flatMap(({ name, of }) =>
    costs.flatMap((one) => {
      const y = of(one);
      return y === null ? [] : [{ series: name, x: one.agents, y }];
    }),
  );
  return {
    title,
    width: 240,
    height: 180,
    data: { values },
    mark: { type: "line", point: true, aria: false },
    encoding: {
      x: { field: "x", type: "quantitative", title: "agents", scale: { zero: true } },
      y: { field: "y", type: "quantitative", title: null, scale: { zero: true } },
      color: { field: "series", type: "nominal", title: null },
    },
  };
}

/** The curves as an SVG file that stands alone. */
export async function plotOf(costs: readonly SizeCosts[]): Promise<string> {
  const charts = await loadCharts();
  const concat = PANELS.map((panel) => panelSpec(panel, costs));
  return toSvgFile(await charts.svg("scale", { columns: 2, concat, resolve: { scale: { color: "independent" } } }));
}
