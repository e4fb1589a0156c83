import { open } from "node:fs/promises";
import { StringDecoder } from "node:string_decoder";

/** One event as its writer wrote it, with what it is ordered by. */
export interface EventLine {
  readonly t: number;
  readonly src: string;
  readonly inc: number;
  readonly seq: number;
  /** The line without its newline. */
  readonly text: string;
}

const CHUNK_BYTES = 256 * 1024;
/** How every event begins (core's event log puts `t` first). Inside a JSON string the quotes would be escaped. */
const EVENT_START = '{"t":';

/**
 * The events of a file, a chunk at a time. A writer that was killed may have left its last line unfinished, with the next
 * incarnation's first event right behind it: what is whole is kept, each broken piece is reported once.
 */
export async function* readEventLines(file: string, onBroken: () => void): AsyncGenerator<EventLine[], void, void> {
  await using handle = await open(file, "r");
  const buffer = Buffer.alloc(CHUNK_BYTES);
  const decoder = new StringDecoder("utf8");
  let rest = "";
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, CHUNK_BYTES);
    if (bytesRead === 0) break;
    const lines = (rest + decoder.write(buffer.subarray(0, bytesRead))).split("\n");
    rest = lines.pop() ?? "";
    const batch = lines.flatMap((line) => eventsOf(line, onBroken));
    if (batch.length > 0) yield batch;
  }
  rest += decoder.end();
  const last = eventsOf(rest, onBroken);
  if (last.length > 0) yield last;
}

function eventsOf(line: string, onBroken: () => void): EventLine[] {
  if (line.trim() === "") return [];
  const whole = parse(line);
  if (whole !== null) return [whole];
  const events: EventLine[] = [];
  let start = line.indexOf(EVENT_START);
  // Something before the first event is a broken piece of its own.
  if (start !== 0) onBroken();
  while (start !== -1) {
    const next = line.indexOf(EVENT_START, start + 1);
    const event = parse(line.slice(start, next === -1 ? undefined : next));
    if (event === null) onBroken();
    else events.push(event);
    start = next;
  }
  return events;
}

function parse(text: string): EventLine | null {
  try {
    const { t, src, inc, seq } = JSON.parse(text) as Partial<EventLine>;
    const sound = typeof t === "number" && typeof src === "string" && typeof inc === "number" && typeof seq === "number";
    return sound ? { t, src, inc, seq, text } : null;
  } catch {
    return null;
  }
}
