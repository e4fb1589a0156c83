import { createReadStream } from "node:fs";
import { access, readdir } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { InputError, type QueueResult, type RunEvent } from "@failstorm/core";
import { runEventSchema } from "@failstorm/core/events.ts";
import { queueResultSchema } from "@failstorm/core/queueResult.ts";

/** The journal of the first coordinator, in the run's folder. */
export const QUEUE_RESULTS_FILE = "queue_results.jsonl";

const exists = async (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );

/** The files a run's events are in: the merged one, or those of each process while it is not there. Throws InputError when there are none. */
export async function eventFiles(dir: string): Promise<string[]> {
  const merged = path.join(dir, "events.ndjson");
  if (await exists(merged)) return [merged];
  const workspaces = await readdir(path.join(dir, "workspaces")).catch(() => []);
  const candidates = [
    path.join(dir, "orchestrator.ndjson"),
    ...workspaces.map((name) => path.join(dir, "workspaces", name, "events.ndjson")),
  ];
  const there = await Promise.all(candidates.map(exists));
  const files = candidates.filter((_, i) => there[i]);
  if (files.length === 0) throw new InputError(`${dir}: no events found; give a run's folder`);
  return files;
}

async function* linesOf(file: string): AsyncGenerator<string> {
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY }))
    if (line !== "") yield line;
}

/**
 * Events one after the other, file after file; each file in its own order. Lines that are no events are told to `onBad`. `only`: those
 * whose name begins so; the others are not even parsed.
 */
export async function* streamEvents(
  files: readonly string[],
  options: { readonly only?: readonly string[]; readonly onBad?: () => void } = {},
): AsyncGenerator<RunEvent> {
  const { only, onBad = (): void => {} } = options;
  const marks = only?.map((name) => `"ev":"${name}`);
  for (const file of files) {
    for await (const line of linesOf(file)) {
      if (marks !== undefined && !marks.some((mark) => line.includes(mark))) continue;
      const event = parse(line, (value) => runEventSchema.safeParse(value));
      if (event === null) onBad();
      else yield event;
    }
  }
}

/** The lines of the journal, in order; none when there is no such file. */
export async function* streamResults(file: string, onBad: () => void = () => {}): AsyncGenerator<QueueResult> {
  if (!(await exists(file))) return;
  for await (const line of linesOf(file)) {
    const result = parse(line, (value) => queueResultSchema.safeParse(value));
    if (result === null) onBad();
    else yield result;
  }
}

function parse<T>(line: string, check: (value: unknown) => { success: true; data: T } | { success: false }): T | null {
  try {
    const checked = check(JSON.parse(line));
    return checked.success ? checked.data : null;
  } catch {
    return null;
  }
}
