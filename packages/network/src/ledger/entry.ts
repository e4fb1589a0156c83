import type { AgentId, TaskId } from "@failstorm/core";
import { compareHlc, type HlcStamp } from "./hlc.ts";

interface EntryBase {
  readonly task: TaskId;
  readonly owner: AgentId;
  readonly incarnation: number;
  readonly attempt: number;
  readonly hlc: HlcStamp;
}

export interface StartedEntry extends EntryBase {
  readonly kind: "started";
}

export type OutcomeStatus = "answered" | "no_answer" | "expired";

export interface OutcomeEntry extends EntryBase {
  readonly kind: "outcome";
  readonly status: OutcomeStatus;
  readonly answer: string | null;
}

/** One line of the ledger. Never changed once written; two entries are the same entry exactly when all their fields are equal. */
export type LedgerEntry = StartedEntry | OutcomeEntry;

/** The entry as text; equal for equal entries whatever the order of their fields. */
export const entryKey = (entry: LedgerEntry): string =>
  JSON.stringify([
    entry.task,
    entry.kind,
    entry.owner,
    entry.incarnation,
    entry.attempt,
    entry.hlc.ms,
    entry.hlc.counter,
    ...(entry.kind === "outcome" ? [entry.status, entry.answer] : []),
  ]);

/** By (hybrid logical clock, id): a total order, the same everywhere. */
export function compareEntries(a: LedgerEntry, b: LedgerEntry): number {
  const byTime = compareHlc(a.hlc, b.hlc);
  if (byTime !== 0) return byTime;
  const [keyA, keyB] = [entryKey(a), entryKey(b)];
  return keyA < keyB ? -1 : keyA > keyB ? 1 : 0;
}

const STATUSES: ReadonlySet<unknown> = new Set<OutcomeStatus>(["answered", "no_answer", "expired"]);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** An entry as it came over the network, checked field by field; null when it is none. */
export function decodeEntry(value: unknown): LedgerEntry | null {
  if (typeof value !== "object" || value === null) return null;
  const { task, kind, owner, incarnation, attempt, hlc, status, answer } = value as Record<string, unknown>;
  if (typeof task !== "string" || typeof owner !== "string" || !isCount(incarnation) || !isCount(attempt)) return null;
  if (typeof hlc !== "object" || hlc === null) return null;
  const { ms, counter } = hlc as Record<string, unknown>;
  if (typeof ms !== "number" || !Number.isFinite(ms) || !isCount(counter)) return null;
  const base = { task, owner, incarnation, attempt, hlc: { ms, counter } };
  if (kind === "started") return { ...base, kind };
  if (kind !== "outcome" || !STATUSES.has(status) || !(answer === null || typeof answer === "string")) return null;
  return { ...base, kind, status: status as OutcomeStatus, answer };
}
