import type { ChartSpec } from "../charts/render.ts";
import { ink } from "../charts/theme.ts";
import { seatsOf } from "../takeover.ts";
import { affectedTasks, isRight } from "../tasks.ts";
import type { Storm } from "../timeline.ts";
import { type Html, html, raw } from "./html.ts";
import type { RunView } from "./runView.ts";

const MAX_ROWS = 40;

interface Row {
  readonly kind: "shard" | "tool" | "task";
  readonly name: string;
  /** ms after the stamp of the victim concerned; null = never. */
  readonly claimed: number | null;
  readonly served: number | null;
  readonly by: string;
}

/** What the dead left behind: when each piece was claimed, and when it was first served again by its new owner. */
export function takeoverRows(view: RunView, storm: Storm): Row[] {
  return [...seatRows(view, storm), ...taskRows(view, storm)].sort(
    (a, b) =>
      KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) ||
      (a.served ?? Number.POSITIVE_INFINITY) - (b.served ?? Number.POSITIVE_INFINITY),
  );
}

const KINDS = ["shard", "tool", "task"] as const;

function seatRows({ timeline }: RunView, storm: Storm): Row[] {
  const rows: Row[] = [];
  for (const victim of storm.victims) {
    const about = seatsOf(timeline, storm, victim);
    const claims = Map.groupBy(timeline.index.of("takeover.claimed").filter(about), (event) => `${event.kind} ${event.id}`);
    const serves = Map.groupBy(timeline.index.of("takeover.served").filter(about), (event) => `${event.kind} ${event.id}`);
    for (const key of new Set([...claims.keys(), ...serves.keys()])) {
      const claim = claims.get(key)?.[0];
      const served = serves.get(key)?.[0];
      const first = served ?? claim;
      if (first === undefined) continue;
      rows.push({
        kind: first.kind,
        name: first.id.includes("/") ? `${first.kind} ${first.id.replace("/", " of ")}` : `${first.kind} ${first.id}`,
        claimed: claim === undefined ? null : claim.t - victim.before,
        served: served === undefined ? null : served.t - victim.before,
        by: first.src,
      });
    }
  }
  return rows;
}

function taskRows({ timeline, tasks }: RunView, storm: Storm): Row[] {
  const claims = Map.groupBy(
    timeline.index.of("takeover.claimed").filter((event) => event.kind === "task"),
    (event) => event.id,
  );
  return affectedTasks(timeline, storm, tasks)
    .filter((affected) => affected.orphaned)
    .map(({ result, before, victim }) => {
      const struck = storm.victims.find((candidate) => candidate.agent === victim);
      const claim = claims.get(result.task.task)?.find((event) => event.t >= before);
      const right = result.outcomes.find(
        (event) =>
          event.t >= before &&
          event.t <= storm.until &&
          isRight(event, result.task) &&
          (event.src !== victim || event.inc !== struck?.inc),
      );
      return {
        kind: "task",
        name: result.task.task,
        claimed: claim === undefined ? null : claim.t - before,
        served: right === undefined ? null : right.t - before,
        by: right?.src ?? claim?.src ?? "nobody",
      };
    });
}

function spec(rows: readonly Row[], end: number): ChartSpec {
  const values = rows.map((row) => ({
    ...row,
    zero: 0,
    stop: row.served ?? end,
    shown:
      row.served === null
        ? row.kind === "task"
          ? "not answered right"
          : "not asked for"
        : `${Math.round(row.served)} ms, ${row.by}`,
    label: `${row.name}: claimed ${row.claimed === null ? "by nobody" : `by ${row.by} after ${Math.round(row.claimed)} ms`}, ${row.served === null ? "never served" : `served after ${Math.round(row.served)} ms`}`,
  }));
  const x = (field: string): ChartSpec => ({
    field,
    type: "quantitative",
    title: "ms after the kill of the victim concerned",
    scale: { domain: [0, end * 1.22], nice: false },
  });
  const color = {
    field: "kind",
    type: "nominal",
    title: null,
    scale: { domain: [...KINDS], range: [ink("blue"), ink("purple"), ink("orange")] },
  };
  return {
    width: 760,
    height: { step: 15 },
    data: { values },
    encoding: { y: { field: "name", type: "nominal", sort: null, title: null, axis: { labelFontSize: 10 } } },
    layer: [
      { mark: { type: "bar", height: 3, opacity: 0.35, aria: false }, encoding: { x: x("zero"), x2: { field: "stop" }, color } },
      {
        transform: [{ filter: "datum.claimed != null" }],
        mark: { type: "tick", thickness: 2, size: 9, color: ink("ink"), aria: false },
        encoding: { x: x("claimed") },
      },
      {
        transform: [{ filter: "datum.served != null" }],
        mark: { type: "point", filled: true, size: 60, opacity: 1 },
        encoding: { x: x("served"), color, description: { field: "label" } },
      },
      {
        mark: { type: "text", align: "left", dx: 8, fontSize: 10, aria: false },
        encoding: { x: x("stop"), text: { field: "shown" } },
      },
    ],
  };
}

export async function takeoverFigure(view: RunView, storm: Storm): Promise<Html> {
  const rows = takeoverRows(view, storm);
  if (rows.length === 0) return html`<p class="none">Nothing had to be taken over.</p>`;
  const reached = rows.flatMap((row) => [row.served ?? 0, row.claimed ?? 0]);
  const svg = await view.charts.svg(`takeover-${storm.cycle}`, spec(rows.slice(0, MAX_ROWS), Math.max(100, ...reached)));
  return html`<figure id="chart-takeover-${storm.cycle}" class="chart" role="group" aria-label="Takeovers">
    ${raw(svg)}
    <figcaption>What the dead left behind. Black tick: a survivor claimed it; dot: its first right service by the new owner (a
    look-up answered, a step done, the task answered right).${rows.length > MAX_ROWS && ` The first ${MAX_ROWS} of ${rows.length} are drawn.`}</figcaption>
  </figure>`;
}
