import type { Clock, RunEvent, RunEventOf } from "@failstorm/core";
import { formatLine, type LogLine, painter, plain, useColor } from "../view/log.ts";

const PROGRESS_MS = 5000;
const MIN_PROGRESS_MS = 1000;

export interface QueueView {
  onEvent(event: RunEvent): void;
  close(): void;
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** One line per notable event; null = it is none. */
function describe(event: RunEvent, at: (t: number) => string): LogLine | null {
  const line = (level: LogLine["level"], tag: string | null, text: string): LogLine => ({
    level,
    tag,
    text: `${at(event.t)}${text}`,
  });
  switch (event.ev) {
    case "queue.opened": {
      const { questions, recorded, workers } = event;
      const of = questions === null ? "a stream of questions" : `${questions} questions`;
      return line(
        "INFO",
        event.src,
        `${of}, ${recorded} recorded already; feeds ${workers.length}: ${workers.map(({ worker }) => worker).join(", ")}`,
      );
    }
    case "queue.rejected":
      return line("WARNING", event.src, `line ${event.line} is no question: ${event.reason}`);
    case "queue.closed":
      return line("SUCCESS", event.src, `closed: ${event.recorded} recorded, ${event.failed} of them failed`);
    case "worker.quarantined":
      return line("WARNING", event.worker, `in quarantine (${event.reason})`);
    case "worker.returned":
      return line("INFO", event.worker, `back after ${seconds(event.afterMs)}`);
    case "fault.injected":
      return line("WARNING", event.agent, `${event.fake ? "fake " : ""}${event.kind}`);
    case "agent.exited":
      return event.cause === "unexpected" ? line("ERROR", event.agent, "ended by itself; it is started again") : null;
    case "agent.ready":
      return event.agentInc > 1 ? line("INFO", event.agent, `up again (incarnation ${event.agentInc})`) : null;
    case "port.skipped":
      return line("INFO", null, `port ${event.port} is taken (${event.reason})`);
    case "log":
      return line(event.level === "error" ? "ERROR" : "WARNING", event.src, event.message);
    default:
      return null;
  }
}

/** Shows a queue while it is worked off: notable events, and how far it is, a line each, on `stream`. */
export function openQueueView(options: {
  readonly stream: NodeJS.WriteStream;
  readonly clock: Clock;
  readonly timeScale: number;
  /** Errors only. */
  readonly quiet: boolean;
}): QueueView {
  const { stream, clock, quiet } = options;
  const paint = painter(useColor(stream));
  const everyMs = Math.max(MIN_PROGRESS_MS, PROGRESS_MS * options.timeScale);
  const said = new Set<string>();
  let t0: number | null = null;
  let questions: number | null = null;
  let before = { t: clock.now(), recorded: 0 };
  const at = (t: number): string => (t0 === null ? "" : `${((t - t0) / 1000).toFixed(1)} s: `);
  const write = (line: LogLine): void => {
    if (quiet && line.level !== "ERROR") return;
    stream.write(`${formatLine({ ...line, text: plain(line.text) }, paint)}\n`);
  };
  const progress = (event: RunEventOf<"queue.progress">): void => {
    const { t, src, recorded, failed, inFlight, quarantined } = event;
    if (t - before.t < everyMs) return;
    const rate = ((recorded - before.recorded) * 1000) / (t - before.t);
    before = { t, recorded };
    const of = questions === null ? "" : ` of ${questions} (${Math.floor((recorded / questions) * 100)} %)`;
    const trouble = [failed > 0 ? `${failed} failed` : "", quarantined > 0 ? `${quarantined} in quarantine` : ""].filter(Boolean);
    const text = `${at(t)}${recorded}${of}, ${rate.toFixed(1)}/s, ${inFlight} on their way${trouble.map((word) => `, ${word}`).join("")}`;
    write({ level: "PROGRESS", tag: src, text });
  };
  return {
    onEvent(event) {
      if (event.ev === "run.load") t0 = event.t0;
      if (event.ev === "queue.opened") {
        questions ??= event.questions;
        before = { t: event.t, recorded: Math.max(before.recorded, event.recorded) };
      }
      if (event.ev === "queue.progress") return progress(event);
      const line = describe(event, at);
      if (line === null) return;
      // An agent that repeats itself must not push everything else off the screen.
      const key = `${line.tag} ${line.text.replace(/^[\d.]+ s: /, "")}`;
      if (event.ev === "log" && said.has(key)) return;
      said.add(key);
      write(line);
    },
    close: () => said.clear(),
  };
}
