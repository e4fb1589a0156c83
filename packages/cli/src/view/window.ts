import type { LogLine, Painter } from "./log.ts";
import { formatLine } from "./log.ts";
import { type AgentView, type RunView, secondsInto } from "./runView.ts";

const BAR_CELLS = 40;
/** Lines above and below the agents' rows. */
const FRAME_ROWS = 6;
const MAX_LATEST = 8;

/** `████▌│   ` with a mark at each fault. */
function bar(view: RunView, paint: Painter): string {
  const { runtimeMs, faultTimesMs } = view.options;
  const cell = (ms: number): number => Math.min(BAR_CELLS, Math.max(0, Math.floor((ms / runtimeMs) * BAR_CELLS)));
  const done = view.t0 === null ? 0 : cell(view.now - view.t0);
  const faults = new Set(faultTimesMs.map(cell));
  return Array.from({ length: BAR_CELLS }, (_, at) => {
    if (faults.has(at)) return paint("red", "│");
    return at < done ? paint("green", "█") : paint("dim", "░");
  }).join("");
}

function stateText({ state }: AgentView, view: RunView, paint: Painter): string {
  const at = (instant: number): string => `${(secondsInto(view, instant) ?? 0).toFixed(1)} s`;
  switch (state.kind) {
    case "up":
      return paint("green", state.rejoined ? "up, rejoined" : "up");
    case "restarting":
      return paint("yellow", "restarting");
    case "killed":
      return paint("red", `killed at ${at(state.at)}`);
    case "stopped":
      return paint("red", `stopped at ${at(state.at)}`);
    case "crashed":
      return paint("redBright", `crashed at ${at(state.at)}`);
    default:
      return paint("dim", state.kind);
  }
}

function agentRow(agent: AgentView, view: RunView, paint: Painter): string {
  const port = agent.port === null ? "" : `:${agent.port}`;
  const flight = agent.inFlight === 0 ? "" : `${agent.inFlight} in flight`;
  return `  ${agent.id.padEnd(10)}${port.padEnd(7)}#${String(agent.incarnation).padEnd(3)}${flight.padEnd(14)}${stateText(agent, view, paint)}`;
}

/** One row each while they fit; else those something happened to first, and a count of the rest. */
function agentRows(view: RunView, room: number, paint: Painter): string[] {
  const agents = [...view.agents.values()];
  if (agents.length <= room) return agents.map((agent) => agentRow(agent, view, paint));
  const calm = ({ state }: AgentView): boolean => (state.kind === "up" && !state.rejoined) || state.kind === "ended";
  const shown = [...agents.filter((agent) => !calm(agent)), ...agents.filter(calm)].slice(0, Math.max(0, room - 1));
  const up = agents.filter(({ state }) => state.kind === "up").length;
  return [
    ...shown.map((agent) => agentRow(agent, view, paint)),
    paint("dim", `  … ${agents.length - shown.length} more; ${up} of ${agents.length} up`),
  ];
}

/** A line that wraps would push the window off the screen; level, tag and their spaces come before the text. */
function cut({ tag, text }: LogLine, columns: number): string {
  const room = columns - "PROGRESS ".length - (tag === null ? 0 : tag.length + 3) - 1;
  return text.length <= room ? text : `${text.slice(0, Math.max(0, room - 1))}…`;
}

export interface WindowSize {
  readonly rows: number;
  readonly columns: number;
  readonly paint: Painter;
}

/** The whole live view as lines that fit the terminal. `latest`: what happened last, newest at the end. */
export function renderWindow(view: RunView, latest: readonly LogLine[], size: WindowSize): string[] {
  const { paint } = size;
  const { options } = view;
  const { settled, right } = view.goodput();
  const at = secondsInto(view, Math.min(view.now, (view.t0 ?? 0) + options.runtimeMs));
  const clock = at === null ? "" : ` ${Math.max(0, at).toFixed(1)} of ${(options.runtimeMs / 1000).toFixed(0)} s`;
  const goodput = settled === 0 ? "–" : `${(right / settled).toFixed(4)} (${right} of ${settled})`;
  const { shard, tool, task } = view.takeovers;
  const orphaned = view.orphaned();
  const shownLatest = latest.slice(-Math.max(0, Math.min(MAX_LATEST, size.rows - FRAME_ROWS - 3)));
  const room = size.rows - FRAME_ROWS - shownLatest.length;
  return [
    `${paint("bold", options.protocol)} · ${options.agentCount} agents · seed ${options.seed} · ${options.runId}`,
    `${bar(view, paint)}${clock} · ${paint("cyan", view.phase)}`,
    `goodput ${paint("bold", goodput)} · ${view.inFlight()} tasks in flight${orphaned > 0 ? paint("yellow", ` · ${orphaned} orphaned`) : ""}`,
    `detections ${view.detections.length} · taken over: ${shard} shards, ${tool} tools, ${task} tasks · rejoined ${view.rejoins}${
      view.falsePositives > 0 ? paint("red", ` · false positives ${view.falsePositives}`) : ""
    }${view.crashes > 0 ? paint("redBright", ` · crashes ${view.crashes}`) : ""}`,
    ...agentRows(view, room, paint),
    ...shownLatest.map((line) => formatLine({ ...line, text: cut(line, size.columns) }, paint)),
  ];
}
