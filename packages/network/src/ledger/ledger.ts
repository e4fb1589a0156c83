import type { AgentId, TaskId } from "@failstorm/core";
import { toHex } from "../hash.ts";
import { createDigestTree, type DigestTree, type LedgerDigest } from "./digest.ts";
import { compareEntries, entryKey, type LedgerEntry, type OutcomeEntry, type OutcomeStatus, type StartedEntry } from "./entry.ts";
import { createHlc, type HybridLogicalClock } from "./hlc.ts";

export interface MergeResult {
  /** The entries that were news. */
  readonly added: readonly LedgerEntry[];
  /** Conflicting answers that came to light by them. */
  readonly conflicts: number;
}

/** A batch for one peer; `from` is where its cursor stood before. */
export interface LedgerDelta {
  readonly entries: readonly LedgerEntry[];
  readonly from: number;
}

/**
 * The replicated task ledger of one agent: a grow-only set of entries, so merging is commutative, associative and idempotent, and all
 * who hold the same entries read the same from them. It keeps a task from being started again; it never decides what an agent does.
 */
export interface TaskLedger {
  /** Entries in all. */
  readonly size: number;
  /** Conflicting answers in all: for each task, one less than the distinct answers given to it (`answered` outcomes only). */
  readonly conflicts: number;
  recordStarted(start: { task: TaskId; attempt: number }, now: number): StartedEntry;
  recordOutcome(
    outcome: { task: TaskId; attempt: number; status: OutcomeStatus; answer: string | null },
    now: number,
  ): OutcomeEntry;
  /** Takes in entries of others (checked by `decodeEntry`). `from`: the peer they came from, which is not sent them back. */
  merge(entries: readonly LedgerEntry[], now: number, from?: AgentId): MergeResult;
  /** Who started the task, first by (hybrid logical clock, id) first. */
  startedBy(task: TaskId): readonly StartedEntry[];
  /** The canonical outcome: the first by (hybrid logical clock, id); null when none is known. */
  outcomeOf(task: TaskId): OutcomeEntry | null;
  /** 0 when nobody is known to have started it. */
  highestAttempt(task: TaskId): number;
  /** Every task's canonical outcome, by task id. */
  outcomes(): readonly OutcomeEntry[];
  entries(): readonly LedgerEntry[];
  /** What this agent learnt and has not yet given for `peer`, at most `max` entries; moves the peer's cursor. */
  takeDelta(peer: AgentId, max?: number): LedgerDelta;
  /** The push of `delta` failed: it will be part of the peer's next one. */
  returnDelta(peer: AgentId, delta: LedgerDelta): void;
  /** `peer` is known to have all that was here when `size` was `size` (it asked for the difference and got it): not pushed to it. */
  markSynced(peer: AgentId, size: number): void;
  digest(): LedgerDigest;
  /** The entries of the buckets in which `digest` differs from this ledger: all that its sender lacks, with little else. */
  diff(digest: LedgerDigest): readonly LedgerEntry[];
  /** Equal for equal sets of entries. */
  finalDigest(): string;
}

interface LedgerOptions {
  readonly self: AgentId;
  readonly incarnation: number;
  /** Pushes pass on what was learnt from others too. Needed where agents are not all linked with each other. */
  readonly relay: boolean;
}

export const createTaskLedger = (options: LedgerOptions): TaskLedger => new ReplicatedLedger(options);

/** All that is known of one task. */
interface TaskRecord {
  readonly started: StartedEntry[];
  readonly outcomes: OutcomeEntry[];
  readonly answers: Set<string | null>;
  highestAttempt: number;
}

class ReplicatedLedger implements TaskLedger {
  conflicts = 0;
  private readonly options: LedgerOptions;
  private readonly hlc: HybridLogicalClock = createHlc();
  private readonly tree: DigestTree = createDigestTree();
  private readonly keys = new Set<string>();
  private readonly tasks = new Map<TaskId, TaskRecord>();
  /** In the order learnt; cursors point into it. `from` is null for this agent's own entries. */
  private readonly log: { readonly entry: LedgerEntry; readonly from: AgentId | null }[] = [];
  private readonly cursors = new Map<AgentId, number>();

  constructor(options: LedgerOptions) {
    this.options = options;
  }

  get size(): number {
    return this.log.length;
  }

  recordStarted({ task, attempt }: { task: TaskId; attempt: number }, now: number): StartedEntry {
    const entry: StartedEntry = { ...this.stamped(task, attempt, now), kind: "started" };
    this.add(entry, null);
    return entry;
  }

  recordOutcome(
    { task, attempt, status, answer }: { task: TaskId; attempt: number; status: OutcomeStatus; answer: string | null },
    now: number,
  ): OutcomeEntry {
    const entry: OutcomeEntry = { ...this.stamped(task, attempt, now), kind: "outcome", status, answer };
    this.add(entry, null);
    return entry;
  }

  merge(incoming: readonly LedgerEntry[], now: number, from?: AgentId): MergeResult {
    const before = this.conflicts;
    const added = incoming.filter((entry) => this.add(entry, from ?? entry.owner));
    for (const entry of added) this.hlc.observe(entry.hlc, now);
    return { added, conflicts: this.conflicts - before };
  }

  startedBy(task: TaskId): readonly StartedEntry[] {
    return this.tasks.get(task)?.started ?? [];
  }

  outcomeOf(task: TaskId): OutcomeEntry | null {
    return this.tasks.get(task)?.outcomes[0] ?? null;
  }

  highestAttempt(task: TaskId): number {
    return this.tasks.get(task)?.highestAttempt ?? 0;
  }

  outcomes(): readonly OutcomeEntry[] {
    return [...this.tasks.values()]
      .flatMap((record) => record.outcomes[0] ?? [])
      .sort((a, b) => (a.task < b.task ? -1 : a.task > b.task ? 1 : 0));
  }

  entries(): readonly LedgerEntry[] {
    return this.log.map((item) => item.entry);
  }

  takeDelta(peer: AgentId, max = Number.POSITIVE_INFINITY): LedgerDelta {
    const from = this.cursors.get(peer) ?? 0;
    const batch: LedgerEntry[] = [];
    let cursor = from;
    for (; cursor < this.log.length && batch.length < max; cursor++) {
      const item = this.log[cursor];
      if (item === undefined || item.from === peer || item.entry.owner === peer) continue;
      if (item.from === null || this.options.relay) batch.push(item.entry);
    }
    this.cursors.set(peer, cursor);
    return { entries: batch, from };
  }

  returnDelta(peer: AgentId, delta: LedgerDelta): void {
    this.cursors.set(peer, Math.min(delta.from, this.cursors.get(peer) ?? 0));
  }

  markSynced(peer: AgentId, size: number): void {
    this.cursors.set(peer, Math.max(this.cursors.get(peer) ?? 0, Math.min(size, this.log.length)));
  }

  digest(): LedgerDigest {
    return this.tree.digest();
  }

  diff(remote: LedgerDigest): readonly LedgerEntry[] {
    const count = remote.buckets.length;
    const own = this.tree.digest(count).buckets;
    if (own.every((bucket, i) => bucket === remote.buckets[i])) return [];
    return this.entries().filter(({ task }) => {
      const bucket = this.tree.bucketOf(task, count);
      return own[bucket] !== remote.buckets[bucket];
    });
  }

  finalDigest(): string {
    return `${this.log.length}-${toHex(this.tree.total())}`;
  }

  private stamped(task: TaskId, attempt: number, now: number) {
    const { self, incarnation } = this.options;
    return { task, owner: self, incarnation, attempt, hlc: this.hlc.tick(now) };
  }

  private recordOf(task: TaskId): TaskRecord {
    let record = this.tasks.get(task);
    if (record === undefined) {
      record = { started: [], outcomes: [], answers: new Set(), highestAttempt: 0 };
      this.tasks.set(task, record);
    }
    return record;
  }

  /** False when the entry is known already. */
  private add(entry: LedgerEntry, from: AgentId | null): boolean {
    const key = entryKey(entry);
    if (this.keys.has(key)) return false;
    this.keys.add(key);
    this.tree.add(entry.task, key);
    this.log.push({ entry, from });
    const record = this.recordOf(entry.task);
    record.highestAttempt = Math.max(record.highestAttempt, entry.attempt);
    if (entry.kind === "started") {
      insert(record.started, entry);
      return true;
    }
    insert(record.outcomes, entry);
    if (entry.status === "answered" && !record.answers.has(entry.answer)) {
      if (record.answers.size > 0) this.conflicts += 1;
      record.answers.add(entry.answer);
    }
    return true;
  }
}

/** Keeps `sorted` in canonical order; entries mostly arrive in it. */
function insert<Entry extends LedgerEntry>(sorted: Entry[], entry: Entry): void {
  let at = sorted.length;
  while (at > 0 && compareEntries(sorted[at - 1] as Entry, entry) > 0) at -= 1;
  sorted.splice(at, 0, entry);
}
