import type { RunEvent, RunEventOf } from "@failstorm/core";
import type { Level, LogLine } from "./log.ts";
import { type RunView, secondsInto } from "./runView.ts";

/** Above this many agents, lines per pair of agents would drown the rest: only each victim's first detection is a line. */
const MANY_AGENTS = 16;

const ms = (value: number): string => `${Math.round(value)} ms`;
const seconds = (value: number | null): string => (value === null ? "" : `${value.toFixed(1)} s: `);
const line = (level: Level, tag: string, text: string): LogLine => ({ level, tag, text });

const PHASES: Readonly<Record<RunEventOf<"run.phase">["phase"], string>> = {
  spawn: "starting the agents",
  broadcast: "broadcasting the document over the links",
  normal: "normal phase: the load is on",
  fault: "the storm",
  recovery: "recovery",
  drain: "no more tasks; finishing what is open",
  end: "ending the agents",
};

function describeAgent(event: RunEvent, many: boolean): LogLine | null {
  switch (event.ev) {
    case "port.skipped":
      return line("WARNING", "orchestrator", `port ${event.port} is skipped: ${event.reason}`);
    case "agent.ready":
      if (many && event.agentInc === 1) return null;
      return line(
        "INFO",
        event.agent,
        `ready after ${ms(event.ms)}: port ${event.port}, incarnation ${event.agentInc}, pid ${event.pid}`,
      );
    case "agent.exited":
      if (event.cause !== "unexpected") return null;
      return line(
        "ERROR",
        event.agent,
        `ended though nobody killed it: ${event.signal === null ? `exit code ${event.code}` : event.signal}; see its log`,
      );
    case "fault.injected":
      if (event.fake) return line("WARNING", event.agent, `fake fault: the marker of a ${event.kind}, nothing was sent`);
      return line("WARNING", event.agent, `${event.kind.toUpperCase()} to pid ${event.pid}, incarnation ${event.agentInc}`);
    case "fault.cleared":
      return line("INFO", event.agent, "continued (SIGCONT)");
    case "agent.rejoined":
      return line("SUCCESS", event.src, `rejoined after ${ms(event.ms)} with ${event.entries} ledger entries from ${event.peer}`);
    case "log":
      return line(event.level === "error" ? "ERROR" : "WARNING", event.src, event.message);
    default:
      return null;
  }
}

function describeDetection(event: RunEventOf<"detect.dead">, view: RunView, many: boolean): LogLine | null {
  if (view.phase === "end") return null;
  const latest = view.detections.at(-1);
  if (latest?.afterMs === null)
    return line("WARNING", event.src, `false positive: declared ${event.peer} dead, which nobody had touched (${event.how})`);
  const first = view.detections.filter(({ of }) => of === event.peer).length === 1;
  if (many && !first) return null;
  return line(
    "INFO",
    event.src,
    `detected the death of ${event.peer} ${ms(latest?.afterMs ?? 0)} after the signal (${event.how})`,
  );
}

function describeTakeover(event: RunEventOf<"takeover.claimed" | "takeover.released">): LogLine | null {
  if (event.kind === "task") return null;
  const what = `${event.kind} ${event.id}`;
  if (event.ev === "takeover.claimed") return line("INFO", event.src, `takes over ${what} from ${event.from}`);
  return line("INFO", event.src, `hands ${what} back to ${event.to}`);
}

/** The line an event is worth, given the view after it; null for most. */
export function describeEvent(event: RunEvent, view: RunView): LogLine | null {
  const many = view.options.agentCount > MANY_AGENTS;
  const said = ((): LogLine | null => {
    switch (event.ev) {
      case "run.phase":
        return line("INFO", view.options.protocol, PHASES[event.phase]);
      case "run.finished":
        if (event.status === "done") return line("SUCCESS", view.options.protocol, "the run is done");
        return line(
          event.status === "failed" ? "ERROR" : "WARNING",
          view.options.protocol,
          `the run ${event.status === "failed" ? "failed" : "was interrupted"}: ${event.reason ?? "no reason given"}`,
        );
      case "detect.dead":
        return describeDetection(event, view, many);
      case "takeover.claimed":
      case "takeover.released":
        return describeTakeover(event);
      default:
        return describeAgent(event, many);
    }
  })();
  if (said === null || event.ev === "run.finished") return said;
  return { ...said, text: `${seconds(secondsInto(view, event.t))}${said.text}` };
}

/** Too many of them to be lines, even for who looks for a fault of ours: they are in the run's folder. */
const UNTOLD: ReadonlySet<RunEvent["ev"]> = new Set([
  "msg",
  "msg.second",
  "process",
  "machine",
  "step.started",
  "step.finished",
  "run.started",
]);

/** An event as it was recorded, for `--debug`. */
export function describeDetail(event: RunEvent): LogLine | null {
  if (UNTOLD.has(event.ev)) return null;
  const { t: _, src, inc: __, seq: ___, ev, ...rest } = event;
  return line("INFO", src, `${ev} ${JSON.stringify(rest)}`);
}

/** Where the run is, in one line. */
export function describeProgress(view: RunView): LogLine {
  const { settled, right } = view.goodput();
  const at = secondsInto(view, Math.min(view.now, (view.t0 ?? 0) + view.options.runtimeMs));
  const time = at === null ? "" : `${at.toFixed(0)} of ${(view.options.runtimeMs / 1000).toFixed(0)} s, `;
  const states = [...view.agents.values()].map(({ state }) => state.kind);
  const up = states.filter((kind) => kind === "up").length;
  const goodput = settled === 0 ? "no task due yet" : `goodput ${(right / settled).toFixed(4)} (${right} of ${settled})`;
  const orphaned = view.orphaned() === 0 ? "" : `, ${view.orphaned()} orphaned`;
  return line(
    "PROGRESS",
    view.options.protocol,
    `${time}${view.phase}: ${up} of ${states.length} agents up, ${goodput}, ${view.inFlight()} tasks in flight${orphaned}`,
  );
}
