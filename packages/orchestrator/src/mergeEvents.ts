import { type FileHandle, open, readdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import { InputError, removeAbandoned } from "@failstorm/core";
import { type EventLine, readEventLines } from "./eventLines.ts";
import { ORCHESTRATOR_EVENTS, toRunError } from "./recorder.ts";

export interface MergedEvents {
  readonly path: string;
  readonly events: number;
  /**
   * Lines that were cut short by the death of their writer (or are otherwise no events) and were left out. Of a run merged
   * before: 0, they are in it no more.
   */
  readonly truncatedLines: number;
}

const MERGED = "events.ndjson";
const WRITE_CHUNK_CHARS = 256 * 1024;

/**
 * Merges the event files of a run, `orchestrator.ndjson` and `workspaces/<agent>/events.ndjson`, into `events.ndjson`, in order of
 * (t, src, seq); then removes them. Works while streaming, on runs of any size, and on runs whose orchestrator was killed.
 *
 * `events.ndjson` appears whole or not at all (temporary file, fsync, rename), and once it is there it is complete: parts that are
 * left beside it (the merging process died while removing them) are in it already. So a repeated call changes nothing.
 *
 * A temporary file that a killed program has left is removed.
 *
 * Relies on each part being in order of t, as its writers are: one after the other, each stamping as it writes.
 * Throws InputError when the folder holds no events, and the file system's errors.
 */
export async function mergeEvents(runDir: string): Promise<MergedEvents> {
  const target = path.join(runDir, MERGED);
  const parts = await partsOf(runDir);
  await removeAbandoned(target);
  if (await exists(target)) {
    await removeAll(parts);
    const counted = { events: 0 };
    for await (const batch of readEventLines(target, () => undefined)) counted.events += batch.length;
    return { path: target, events: counted.events, truncatedLines: 0 };
  }
  if (parts.length === 0) throw new InputError(`${runDir}: no events found; give the folder of a run`);
  const temporary = `${target}.${process.pid}.tmp`;
  let truncatedLines = 0;
  const sources = parts.map((part) => openSource(part, () => (truncatedLines += 1)));
  try {
    await using file = await open(temporary, "w");
    const events = await mergeInto(file, sources);
    await file.sync();
    await rename(temporary, target);
    await syncFolder(runDir);
    await removeAll(parts);
    return { path: target, events, truncatedLines };
  } catch (error) {
    await rm(temporary, { force: true });
    throw toRunError(error, `${runDir}: the events cannot be merged`);
  }
}

async function partsOf(runDir: string): Promise<string[]> {
  const workspaces = await readdir(path.join(runDir, "workspaces")).catch(() => []);
  const candidates = [
    path.join(runDir, ORCHESTRATOR_EVENTS),
    ...workspaces.map((name) => path.join(runDir, "workspaces", name, MERGED)),
  ];
  const there = await Promise.all(candidates.map(exists));
  return candidates.filter((_, index) => there[index]);
}

const exists = async (file: string): Promise<boolean> => {
  try {
    await using _ = await open(file, "r");
    return true;
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw error;
  }
};

const removeAll = async (files: readonly string[]): Promise<void> => {
  await Promise.all(files.map((file) => rm(file, { force: true })));
};

async function syncFolder(folder: string): Promise<void> {
  await using handle = await open(folder, "r");
  await handle.sync();
}

/** One part, read ahead by a chunk. `head` is its next event; undefined when `advance` has to be awaited first, or at its end. */
interface Source {
  head: EventLine | undefined;
  /** Moves on to the next event without I/O where possible; otherwise true: `refill` is due. */
  advance(): boolean;
  refill(): Promise<void>;
}

function openSource(file: string, onBroken: () => void): Source {
  const batches = readEventLines(file, onBroken);
  let batch: readonly EventLine[] = [];
  let next = 0;
  const source: Source = {
    head: undefined,
    advance: () => {
      source.head = batch[next++];
      return source.head === undefined;
    },
    refill: async () => {
      while (source.head === undefined) {
        const more = await batches.next();
        if (more.done === true) return;
        batch = more.value;
        next = 0;
        source.advance();
      }
    },
  };
  return source;
}

const inOrder = (a: EventLine, b: EventLine): boolean => {
  if (a.t !== b.t) return a.t < b.t;
  if (a.src !== b.src) return a.src < b.src;
  return a.inc === b.inc ? a.seq <= b.seq : a.inc < b.inc;
};

async function mergeInto(file: FileHandle, sources: readonly Source[]): Promise<number> {
  await Promise.all(sources.map((source) => source.refill()));
  const heap = new SourceHeap(sources.filter((source) => source.head !== undefined));
  let events = 0;
  let pending: string[] = [];
  let pendingChars = 0;
  const flush = async (): Promise<void> => {
    await file.writeFile(pending.join(""));
    pending = [];
    pendingChars = 0;
  };
  for (let source = heap.first; source?.head !== undefined; source = heap.first) {
    const line = `${source.head.text}\n`;
    pending.push(line);
    pendingChars += line.length;
    events += 1;
    if (pendingChars >= WRITE_CHUNK_CHARS) await flush();
    if (source.advance()) await source.refill();
    heap.firstChanged();
  }
  await flush();
  return events;
}

/** A binary heap of sources by their heads; one without a head has ended and leaves. */
class SourceHeap {
  private readonly items: Source[];

  constructor(sources: readonly Source[]) {
    this.items = [...sources];
    for (let index = this.items.length >> 1; index >= 0; index--) this.sink(index);
  }

  get first(): Source | undefined {
    return this.items[0];
  }

  /** The first source has moved on: puts it where it belongs now. */
  firstChanged(): void {
    if (this.items[0]?.head === undefined) {
      const last = this.items.pop();
      if (last !== undefined && this.items.length > 0) this.items[0] = last;
    }
    this.sink(0);
  }

  private sink(start: number): void {
    const { items } = this;
    for (let at = start; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) if (this.before(child, least)) least = child;
      if (least === at) return;
      const held = items[at] as Source;
      items[at] = items[least] as Source;
      items[least] = held;
      at = least;
    }
  }

  private before(a: number, b: number): boolean {
    const [first, second] = [this.items[a]?.head, this.items[b]?.head];
    return first !== undefined && second !== undefined && inOrder(first, second);
  }
}
