import { closeSync, existsSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import path from "node:path";
import { type AgentId, makeFolder } from "@failstorm/core";
import { fromJson, toJson } from "../json.ts";
import { type AgentMessage, MESSAGE_PRIORITIES, MESSAGE_TYPES } from "./message.ts";

export interface QueuedMessage {
  readonly receiver: AgentId;
  readonly message: AgentMessage;
}

/** Where messages for receivers that cannot be reached are kept across the sender's own death. */
export interface OfflineQueue {
  /** What an earlier process left, in the order in which it was added. */
  readonly recovered: readonly (QueuedMessage & { readonly recordBytes: number })[];
  /** Returns when the message is in the hands of the kernel: a SIGKILL cannot take it back. Bytes of its record; throws the file system's error. */
  add(queued: QueuedMessage): number;
  /** Delivered, expired or given up. */
  remove(receiver: AgentId, messageId: string): void;
  close(): void;
}

/** One line: either a message, or the end of one. */
const record = ({ receiver, message }: QueuedMessage): string => `${toJson({ add: receiver, message })}\n`;

const sizeOf = (queued: QueuedMessage): number => Buffer.byteLength(record(queued));

/** For programs that need no memory of their own death: nothing is kept, records have the same size. */
export const createVolatileQueue = (): OfflineQueue => ({
  recovered: [],
  add: sizeOf,
  remove() {},
  close() {},
});

/** Dead lines in the file, at least, before it is written anew. */
const COMPACT_FROM_LINES = 1024;

const keyOf = (receiver: AgentId, messageId: string): string => `${receiver} ${messageId}`;

/**
 * An offline queue in one append-only file, a JSON line each with one write(2), like the event log: what was announced survives a SIGKILL of
 * the writer (not the loss of power). It is written anew, to another file that then takes its name, when most of its lines are dead.
 */
export function openOfflineQueue(file: string): OfflineQueue {
  makeFolder(path.dirname(path.resolve(file)));
  const live = readLive(file);
  const recovered = [...live.values()].map(({ receiver, message }) => ({
    receiver,
    message,
    recordBytes: sizeOf({ receiver, message }),
  }));
  let fd = rewrite(file, live);
  let deadLines = 0;
  /** The last line ends in the middle, as the disk was full for instance: the next must not become part of it. */
  let isTorn = false;
  const append = (line: string): void => {
    const text = isTorn ? `\n${line}` : line;
    isTorn = true;
    writeWhole(fd, text);
    isTorn = false;
  };
  const compact = (): void => {
    deadLines = 0;
    // The old one stays open until there is a new one: its number may be another file's, or a socket's, once it is closed.
    const next = rewrite(file, live);
    closeSync(fd);
    fd = next;
    isTorn = false;
  };
  return {
    recovered,
    add(queued) {
      const line = record(queued);
      append(line);
      live.set(keyOf(queued.receiver, queued.message.id), queued);
      return Buffer.byteLength(line);
    },
    remove(receiver, messageId) {
      if (!live.delete(keyOf(receiver, messageId))) return;
      append(`${JSON.stringify({ remove: receiver, id: messageId })}\n`);
      deadLines += 2;
      if (deadLines > COMPACT_FROM_LINES && deadLines > live.size * 2) compact();
    },
    close: () => closeSync(fd),
  };
}

/** write(2) may take only a part of it. */
function writeWhole(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
}

/** A new file with what lives, open for appending. */
function rewrite(file: string, live: ReadonlyMap<string, QueuedMessage>): number {
  const next = openSync(`${file}.new`, "w");
  try {
    for (const queued of live.values()) writeWhole(next, record(queued));
    renameSync(`${file}.new`, file);
  } catch (error) {
    closeSync(next);
    throw error;
  }
  return next;
}

function readLive(file: string): Map<string, QueuedMessage> {
  const live = new Map<string, QueuedMessage>();
  if (!existsSync(file)) return live;
  for (const line of readFileSync(file, "utf8").split("\n")) {
    const entry = parse(line);
    if (entry === null) continue;
    if ("message" in entry) live.set(keyOf(entry.receiver, entry.message.id), entry);
    else live.delete(keyOf(entry.receiver, entry.id));
  }
  return live;
}

/** Null for the end of a file whose writer was killed in the middle of a line, and for whatever else is no record. */
function parse(line: string): QueuedMessage | { readonly receiver: AgentId; readonly id: string } | null {
  if (line === "") return null;
  let value: unknown;
  try {
    value = fromJson(line);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const { add, message, remove, id } = value as Record<string, unknown>;
  if (typeof add === "string" && isMessage(message)) return { receiver: add, message };
  return typeof remove === "string" && typeof id === "string" ? { receiver: remove, id } : null;
}

function isMessage(value: unknown): value is AgentMessage {
  if (typeof value !== "object" || value === null) return false;
  const { id, correlationId, replyTo, from, to, type, priority, timestamp, ttlMs } = value as Record<string, unknown>;
  const isTextOrNull = (text: unknown): boolean => text === null || typeof text === "string";
  return (
    typeof id === "string" &&
    /^.+#\d+:\d+$/.test(id) &&
    typeof from === "string" &&
    [correlationId, replyTo, to].every(isTextOrNull) &&
    MESSAGE_TYPES.some((known) => known === type) &&
    MESSAGE_PRIORITIES.some((known) => known === priority) &&
    Number.isFinite(timestamp) &&
    Number.isFinite(ttlMs)
  );
}
