import type { Clock, RunConfig, RunEvent } from "@failstorm/core";
import { describeDetail, describeEvent, describeProgress } from "./describe.ts";
import { formatLine, type Level, type LogLine, painter, plain, useColor } from "./log.ts";
import { createRunView, type ViewOptions } from "./runView.ts";
import { renderWindow } from "./window.ts";

/** At most 5 frames a second: cheap, and as much as an eye follows. */
const FRAME_MS = 200;
const PROGRESS_MS = 10_000;
const KEPT_LINES = 20;

/** Shows a run while it goes on. */
export interface Terminal {
  onEvent(event: RunEvent): void;
  /** Takes the live view off the screen, with its last lines left in place. */
  close(): void;
}

export interface TerminalOptions {
  readonly view: ViewOptions;
  readonly clock: Clock;
  readonly stream: NodeJS.WriteStream;
  /** `live`: a window that is drawn anew; `lines`: one line per notable event. */
  readonly mode: "live" | "lines";
  /** What is worth a line; `debug`: also what is only worth one to who looks for a fault of ours. */
  readonly level: RunConfig["logging"]["level"];
  readonly timeScale: number;
}

const isBad = (level: Level): boolean => level === "WARNING" || level === "ERROR";
const isShown = (level: Level, least: TerminalOptions["level"]): boolean =>
  level === "ERROR" || least === "debug" || least === "info" || (level === "WARNING" && least === "warning");

/** Drops what was said before: an agent that repeats itself must not push everything else off the screen. */
function createFilter(): (line: LogLine) => boolean {
  const said = new Set<string>();
  return ({ level, tag, text }) => {
    if (!isBad(level)) return true;
    const key = `${tag} ${text.replace(/^[\d.]+ s: /, "")}`;
    return said.has(key) ? false : said.add(key) !== undefined;
  };
}

/** Calls `fn` every `everyMs` until cancelled. */
function every(clock: Clock, everyMs: number, fn: () => void): () => void {
  let cancel = clock.after(everyMs, tick);
  function tick(): void {
    cancel = clock.after(everyMs, tick);
    fn();
  }
  return () => cancel();
}

function openLines({ view: options, clock, stream, level, timeScale }: TerminalOptions): Terminal {
  const view = createRunView(options);
  const paint = painter(useColor(stream));
  const isNew = createFilter();
  const write = (line: LogLine): void => void stream.write(`${formatLine({ ...line, text: plain(line.text) }, paint)}\n`);
  const progress = (): void => {
    if (view.t0 === null || view.finished !== null) return;
    view.now = Math.max(view.now, clock.now());
    write(describeProgress(view));
  };
  const stop = isShown("PROGRESS", level) ? every(clock, Math.max(1000, PROGRESS_MS * timeScale), progress) : () => {};
  return {
    onEvent(event) {
      view.apply(event);
      const line = describeEvent(event, view) ?? (level === "debug" ? describeDetail(event) : null);
      if (line !== null && isShown(line.level, level) && isNew(line)) write(line);
    },
    close: stop,
  };
}

async function openLive({ view: options, clock, stream }: TerminalOptions): Promise<Terminal> {
  const { createLogUpdate } = await import("log-update");
  const update = createLogUpdate(stream);
  const view = createRunView(options);
  const paint = painter(useColor(stream));
  const latest: LogLine[] = [];
  const isNew = createFilter();
  let changed = true;
  const draw = (): void => {
    // Without events time still passes on the bar, but only once the load is on.
    if (view.t0 !== null && view.finished === null) view.now = Math.max(view.now, clock.now());
    else if (!changed) return;
    changed = false;
    update(renderWindow(view, latest, { rows: stream.rows ?? 24, columns: stream.columns ?? 80, paint }).join("\n"));
  };
  const stop = every(clock, FRAME_MS, draw);
  return {
    onEvent(event) {
      view.apply(event);
      changed = true;
      const line = describeEvent(event, view);
      if (line === null || !isNew(line)) return;
      latest.push({ ...line, text: plain(line.text) });
      if (latest.length > KEPT_LINES) latest.shift();
    },
    close() {
      stop();
      changed = true;
      draw();
      update.done();
    },
  };
}

/** The view that suits: a live window on a terminal, else lines. */
export const openTerminal = async (options: TerminalOptions): Promise<Terminal> =>
  options.mode === "live" ? openLive(options) : openLines(options);
