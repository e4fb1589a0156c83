import { InputError } from "@failstorm/core";

/** The unit of search. `id` is unique in its document. */
export interface Passage {
  readonly id: string;
  readonly title: string;
  readonly text: string;
}

const NEWLINE = 10;
/** More shards than agents can ever be means a damaged number, not a large run. */
const MAX_SHARDS = 100_000;

/** The document of the t=0 broadcast: newline-delimited JSON, one `{shard, id, title, text}` a line, shard after shard. */
export function encodeDocument(shards: readonly (readonly Passage[])[]): Uint8Array {
  const chunks: Buffer[] = [];
  for (const [shard, passages] of shards.entries()) {
    let chunk = "";
    for (const { id, title, text } of passages) chunk += `${JSON.stringify({ shard, id, title, text })}\n`;
    chunks.push(Buffer.from(chunk, "utf8"));
  }
  return Buffer.concat(chunks);
}

/**
 * The lines of `bytes` with their numbers (from 1), without making one string of the whole; empty lines are left out. `text` is null where
 * a line is not UTF-8: read all the same, its letters would silently be others.
 */
export function* numberedLines(bytes: Uint8Array): Generator<{ readonly line: number; readonly text: string | null }> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let start = 0;
  for (let line = 1; start < bytes.length; line++) {
    const newline = bytes.indexOf(NEWLINE, start);
    const end = newline === -1 ? bytes.length : newline;
    const text = decode(decoder, bytes.subarray(start, end));
    if (text !== "") yield { line, text };
    start = end + 1;
  }
}

function decode(decoder: InstanceType<typeof TextDecoder>, line: Uint8Array): string | null {
  try {
    return decoder.decode(line).trim();
  } catch {
    return null;
  }
}

/**
 * The passages of a document by shard, in the document's order. `only` keeps other shards' passages from being built (they
 * are still checked). Throws InputError naming the first broken line.
 */
export function parseDocument(bytes: Uint8Array, only?: ReadonlySet<number>): Passage[][] {
  const shards: Passage[][] = [];
  const ids = new Set<string>();
  for (const { line, text } of numberedLines(bytes)) {
    const { shard, passage } = parseLine(line, text);
    if (ids.has(passage.id)) throw brokenLine(line, `the id ${JSON.stringify(passage.id)} is already taken`);
    ids.add(passage.id);
    while (shards.length <= shard) shards.push([]);
    if (only === undefined || only.has(shard)) shards[shard]?.push(passage);
  }
  return shards;
}

function parseLine(line: number, text: string | null): { shard: number; passage: Passage } {
  if (text === null) throw brokenLine(line, "it is not UTF-8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw brokenLine(line, "it is not JSON", error);
  }
  const { shard, id, title, text: words } = (value ?? {}) as Record<string, unknown>;
  if (typeof shard !== "number" || !Number.isInteger(shard) || shard < 0 || shard >= MAX_SHARDS) {
    throw brokenLine(line, `"shard" must be a whole number from 0 to ${MAX_SHARDS - 1}`);
  }
  if (typeof id !== "string" || id === "") throw brokenLine(line, `"id" must be a string that is not empty`);
  if (typeof title !== "string" || typeof words !== "string") throw brokenLine(line, `"title" and "text" must be strings`);
  return { shard, passage: { id, title, text: words } };
}

const brokenLine = (line: number, why: string, cause?: unknown): InputError =>
  new InputError(`document: line ${line} is broken: ${why}; each line is {"shard": 0, "id": "…", "title": "…", "text": "…"}`, {
    cause,
  });
