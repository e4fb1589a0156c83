import type { AgentId } from "@failstorm/core";
import { type Html, html } from "./html.ts";
import type { RunView } from "./runView.ts";
import { chooseQuestions, type Happening, type QuestionPath } from "./sequence.ts";

const LEFT = 74;
const TOP = 34;
const WIDTH = 940;
const ROW = 15;
/** Requests of one fan-out leave within moments of each other: their rows lie closer. */
const CLOSE_ROW = 12;
const CLOSE_MS = 4;

const bytesText = (bytes: number): string =>
  bytes < 10_000 ? `${bytes.toLocaleString("en-US")} B` : `${(bytes / 1000).toFixed(1)} kB`;

/** Where each happening is drawn: below the one before, a little further after a pause. */
function rowsOf(happenings: readonly Happening[]): number[] {
  let y = TOP + 14;
  return happenings.map((event, i) => {
    const before = happenings[i - 1];
    if (before !== undefined) {
      const pause = event.t - before.t;
      y += pause < CLOSE_MS && before.kind === event.kind && event.kind !== "note" ? CLOSE_ROW : ROW;
      y += Math.min(22, Math.max(0, Math.log10(Math.max(1, pause / 20)) * 9));
    }
    return Math.round(y);
  });
}

interface Layout {
  readonly path: QuestionPath;
  readonly x: (lane: AgentId) => number;
  readonly rows: readonly number[];
  readonly height: number;
  readonly columnPx: number;
}

function layOut(path: QuestionPath): Layout {
  const columnPx = Math.min(150, (WIDTH - LEFT - 130) / Math.max(1, path.lanes.length - 1));
  const rows = rowsOf(path.happenings);
  return {
    path,
    x: (lane) => LEFT + 40 + path.lanes.indexOf(lane) * columnPx,
    rows,
    height: (rows.at(-1) ?? TOP) + 26,
    columnPx,
  };
}

/** An arrow with its text over it; the text is left out where it would not fit. */
function arrow(layout: Layout, y: number, event: Happening & { kind: "request" | "reply" }): Html {
  const from = layout.x(event.lane);
  const to = layout.x(event.to);
  const isLeft = to < from;
  const tip = isLeft ? to + 2 : to - 2;
  const failed = event.kind === "request" ? event.failed : event.error !== null;
  const text =
    event.kind === "request"
      ? `${event.text} · ${bytesText(event.bytes)}`
      : event.error === null
        ? bytesText(event.bytes)
        : event.error;
  const label =
    event.kind === "request"
      ? `${event.lane} to ${event.to}: ${event.text}, ${event.bytes} bytes, cause ${event.cause}`
      : `${event.lane} to ${event.to}: ${event.error === null ? `${event.bytes} bytes` : `failed: ${event.error}`}, ${Math.round(event.ms)} ms after the request`;
  const fits = text.length * 5.2 < Math.abs(to - from) - 10;
  return html`<g class="${event.kind}${failed && " failed"}${event.kind === "request" && event.cause !== "work" && " caused"}" aria-label="${label}"><line x1="${from.toFixed(0)}" y1="${y}" x2="${tip.toFixed(0)}" y2="${y}"/><path d="M${tip.toFixed(0)},${y}l${isLeft ? 6 : -6},-3v6z"/>${fits && html`<text x="${((from + to) / 2).toFixed(0)}" y="${y - 2}">${text}</text>`}</g>`;
}

function works(layout: Layout): Html[] {
  const { path, rows } = layout;
  const nearestRow = (t: number): number => {
    const after = path.happenings.findIndex((event) => event.t >= t);
    return after === -1 ? (rows.at(-1) ?? TOP) + 8 : (rows[after] ?? TOP);
  };
  return path.happenings.flatMap((event, i) => {
    if (event.kind !== "work") return [];
    const y = rows[i] ?? TOP;
    const end = event.until === null ? y + 12 : Math.max(y + 6, nearestRow(event.until) - 1);
    const x = layout.x(event.lane);
    const took = event.until === null ? "never finished" : `${Math.round(event.until - event.t)} ms`;
    return [
      html`<g class="work${event.until === null && " failed"}" aria-label="${event.lane} works on ${event.text}: ${took}"><rect x="${(x - 4).toFixed(0)}" y="${y}" width="8" height="${end - y}"/><text x="${(x + 7).toFixed(0)}" y="${y + 8}">${event.text} ${took}</text></g>`,
    ];
  });
}

function notes(layout: Layout): Html[] {
  return layout.path.happenings.flatMap((event, i) => {
    if (event.kind !== "note") return [];
    const y = layout.rows[i] ?? TOP;
    const x = layout.x(event.lane);
    return [
      html`<g class="note ${event.tone}"><circle cx="${x.toFixed(0)}" cy="${y - 3}" r="4"/><text x="${(x + 8).toFixed(0)}" y="${y}">${event.text}</text></g>`,
    ];
  });
}

function drawing(layout: Layout): Html {
  const { path, rows, height } = layout;
  const { happenings, result } = path;
  const killed = new Map(
    happenings.flatMap((event, i) =>
      event.kind === "note" && (event.text === "killed" || event.text === "stopped")
        ? [[event.lane, rows[i] ?? TOP] as const]
        : [],
    ),
  );
  return html`<svg class="sequence" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="The path of ${result.task.task}">
    ${path.lanes.map((lane) => {
      const x = layout.x(lane).toFixed(0);
      return html`<g class="lane"><text x="${x}" y="16">${lane}</text><line x1="${x}" x2="${x}" y1="24" y2="${killed.get(lane) ?? height - 8}"/>${killed.has(lane) && html`<line class="gone" x1="${x}" x2="${x}" y1="${killed.get(lane)}" y2="${height - 8}"/>`}</g>`;
    })}
    ${happenings.map((event, i) => {
      const isCrowded = i > 0 && (rows[i] ?? 0) - (rows[i - 1] ?? 0) < ROW;
      return isCrowded
        ? null
        : html`<text class="time" x="${LEFT - 14}" y="${(rows[i] ?? 0) + 3}">${((event.t - result.intendedAt) / 1000).toFixed(3)} s</text>`;
    })}
    ${happenings.map((event, i) => (event.kind === "request" || event.kind === "reply") && arrow(layout, rows[i] ?? TOP, event))}
    ${works(layout)}${notes(layout)}
  </svg>`;
}

function panel(path: QuestionPath, isFirst: boolean): Html {
  const { result } = path;
  const outcome = result.good
    ? `right after ${((result.latencyMs ?? 0) / 1000).toFixed(2)} s`
    : result.first === null
      ? "no outcome"
      : result.first.status === "answered"
        ? result.right
          ? "right, but late"
          : "wrong"
        : result.first.status.replace("_", " ");
  return html`<details class="question" name="question"${isFirst && " open"}>
    <summary>${path.title}: <span class="id">${result.task.task}</span>, ${outcome}, ${path.messages} messages, ${bytesText(path.bytes)}</summary>
    <blockquote>${result.task.question}</blockquote>
    ${drawing(layOut(path))}
  </details>`;
}

/** The path of single questions through the agents, as sequence diagrams with their bytes. */
export function sequenceFigure(view: RunView): Html {
  const paths = chooseQuestions(view);
  if (paths.length === 0)
    return html`<p class="none">No question that lies in the intervals in which messages are recorded singly took few enough of them to be drawn.</p>`;
  return html`<div id="chart-sequence">${paths.map((path, i) => panel(path, i === 0))}</div>
    <p class="caption">Time runs down, in seconds after the intended start; pauses are shortened. Arrows carry their TCP payload bytes (hover for all of it);
    orange: sent only because of the fault; red: failed. Boxes: a step at work, think time included.</p>`;
}
