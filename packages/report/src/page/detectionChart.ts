import type { ChartSpec } from "../charts/render.ts";
import { ink } from "../charts/theme.ts";
import type { StormMetrics } from "../schema.ts";
import type { Storm } from "../timeline.ts";
import { type Html, html, raw } from "./html.ts";
import type { RunView } from "./runView.ts";

/** More lanes than this are no picture any more; the table of the metrics has them all. */
const MAX_LANES = 48;
const LANE_PX = 26;
/** With more victims than this a lane is too crowded for numbers, and the victims for a legend: hovering tells. */
const MAX_NAMED = 7;

interface Row {
  readonly survivor: string;
  readonly victim: string;
  /** ms after the victim's stamp; null = never. */
  readonly heard: number | null;
  readonly suspect: number | null;
  readonly notice: number | null;
  readonly dead: number | null;
  readonly how: string;
}

/** Every pair's way from the last sign of life to the verdict. */
export function detectionRows(view: RunView, storm: Storm, metrics: StormMetrics): Row[] {
  const { index } = view.timeline;
  return metrics.detection_ms.pairs.map(({ survivor, victim, ms, how }) => {
    const struck = storm.victims.find((candidate) => candidate.agent === victim);
    const before = struck?.before ?? storm.at;
    const about = (event: { src: string; peer: string; peerInc: number; t: number }): boolean =>
      event.src === survivor && event.peer === victim && event.peerInc === struck?.inc && event.t <= storm.until;
    // Of several the one that counted; the earlier were taken back.
    const dead = index
      .of("detect.dead")
      .findLast((event) => about(event) && event.t >= before && event.t <= before + (ms ?? 0) + 0.001);
    const suspect = index
      .of("detect.suspect")
      .findLast((event) => about(event) && event.t >= before && event.t <= before + (ms ?? Number.POSITIVE_INFINITY));
    const notice = index.of("transport.notice").find((event) => about(event) && event.t >= before);
    const since = (t: number | undefined): number | null => (t === undefined ? null : t - before);
    return {
      survivor,
      victim,
      heard: since(dead?.lastHeard),
      suspect: since(suspect?.t),
      notice: since(notice?.t),
      dead: ms,
      how: how ?? "never",
    };
  });
}

const HOW = {
  probe: "own probe",
  gossip: "gossip",
  transport: "transport",
  incarnation: "met the new incarnation",
} as const;

/** The axis: from the last signs of life to the last verdict. */
function timeAxis(rows: readonly Row[]): (field: string) => ChartSpec {
  const ms = Math.max(1000, ...rows.flatMap((row) => [row.dead ?? 0, row.notice ?? 0]));
  const from = Math.min(0, ...rows.map((row) => row.heard ?? 0));
  return (field) => ({
    field,
    type: "quantitative",
    title: "ms after the kill of the victim concerned",
    scale: { domain: [Math.max(-3000, Math.floor(from / 500) * 500), Math.ceil((ms * 1.04) / 500) * 500], nice: false },
  });
}

/** The ms beside each verdict. */
const numbers = (x: (field: string) => ChartSpec): ChartSpec => ({
  transform: [{ filter: "datum.dead != null" }],
  mark: { type: "text", align: "left", dx: 8, fontSize: 10, aria: false },
  encoding: { x: x("dead"), text: { field: "shown" } },
});

function spec(rows: readonly Row[], victims: readonly string[]): ChartSpec {
  const x = timeAxis(rows);
  const isCrowded = victims.length > MAX_NAMED;
  const y = {
    field: "survivor",
    type: "nominal",
    title: null,
    sort: null,
    axis: { grid: true, tickBand: "extent", labelFontSize: 12, labelColor: ink("ink") },
  };
  const yOffset = { field: "victim", type: "nominal", sort: [...victims], scale: { paddingOuter: 0.3 } };
  const color = {
    field: "victim",
    type: "nominal",
    title: "victim",
    sort: [...victims],
    legend: isCrowded ? null : { symbolType: "circle" },
  };
  const said = (row: Row): string =>
    `${row.survivor} noticed ${row.victim} ${row.dead === null ? "never" : `after ${Math.round(row.dead)} ms (${HOW[row.how as keyof typeof HOW] ?? row.how})`}`;
  const values = rows.map((row) => ({
    ...row,
    label: said(row),
    shown: row.dead === null ? "never" : String(Math.round(row.dead)),
  }));
  return {
    width: 760,
    height: { step: isCrowded ? (2 * LANE_PX) / victims.length : LANE_PX / Math.max(1, victims.length) + 6 },
    data: { values },
    encoding: { y, yOffset },
    layer: [
      {
        data: { values: [{ at: 0 }] },
        mark: { type: "rule", color: ink("fault"), strokeWidth: 1.5, aria: false },
        encoding: { x: { field: "at", type: "quantitative" }, y: null, yOffset: null },
      },
      {
        transform: [{ filter: "datum.heard != null && datum.dead != null" }],
        mark: { type: "rule", strokeWidth: 1.2, opacity: 0.6, clip: true, aria: false },
        encoding: { x: x("heard"), x2: { field: "dead" }, color },
      },
      {
        transform: [{ filter: "datum.suspect != null && datum.dead != null" }],
        mark: { type: "rule", strokeWidth: 4, opacity: 0.45, aria: false },
        encoding: { x: x("suspect"), x2: { field: "dead" }, color },
      },
      {
        transform: [{ filter: "datum.notice != null" }],
        mark: { type: "tick", thickness: 2, size: 9, color: ink("ink"), aria: false },
        encoding: { x: x("notice") },
      },
      {
        transform: [{ filter: "datum.dead != null" }],
        mark: { type: "point", filled: true, size: 75, opacity: 1 },
        encoding: {
          x: x("dead"),
          color,
          shape: {
            field: "how",
            type: "nominal",
            title: "learned by",
            scale: { domain: Object.keys(HOW), range: ["circle", "triangle-up", "square", "diamond"] },
          },
          description: { field: "label" },
        },
      },
      ...(isCrowded ? [] : [numbers(x)]),
    ],
  };
}

/** Who detected whom, when and how: one lane a survivor, in it one line a victim. */
export async function detectionFigure(view: RunView, storm: Storm, metrics: StormMetrics): Promise<Html> {
  const rows = detectionRows(view, storm, metrics);
  if (rows.length === 0) return html`<p class="none">There was no pair of a survivor and a victim.</p>`;
  const lanes = [...new Set(rows.map((row) => row.survivor))];
  const shown = new Set(lanes.slice(0, MAX_LANES));
  const never = rows.filter((row) => row.dead === null);
  const svg = await view.charts.svg(
    `detection-${storm.cycle}`,
    spec(
      rows.filter((row) => shown.has(row.survivor)),
      storm.victims.map((victim) => victim.agent),
    ),
  );
  return html`<figure id="chart-detection-${storm.cycle}" class="chart" role="group" aria-label="Who detected whom when">
    ${raw(svg)}
    <figcaption>One lane a survivor. The thin line begins at the last sign of life, the thick one where suspicion began, the mark
    is the verdict. The short black tick: when the survivor's kernel closed the connection (recorded, not acted upon unless
    transport signals are on).${never.length > 0 && html` <strong>Never noticed: ${never.map((row) => `${row.survivor} → ${row.victim}`).join(", ")}.</strong>`}${lanes.length > MAX_LANES && html` The first ${MAX_LANES} of ${lanes.length} survivors are drawn.`}</figcaption>
  </figure>`;
}
