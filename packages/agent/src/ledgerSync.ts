import type { AgentId, Clock, Prng } from "@failstorm/core";
import { decodeDigest, decodeEntry, type LedgerEntry, type TaskLedger } from "@failstorm/network";
import type { Messenger } from "./messenger.ts";
import { Refusal } from "./messenger.ts";

/** Where links are many, each agent pushes to all; else to its neighbours, who pass on. */
const PUSH_TIMEOUT_MS = 3_000;
/** Every so many pushes, digests are compared with one peer, which heals what pushes lost. */
const ANTI_ENTROPY_EVERY = 10;
/** At the end of a run, digests are compared with at most so many. */
const LAST_COMPARED = 8;

/** Replicates the ledger: batched pushes of what is new, and anti-entropy by digest now and then and after a restart. */
export class LedgerSync {
  private rounds = 0;
  private stopped = false;
  private eager = false;
  private readonly underWay = new Map<AgentId, Promise<boolean>>();
  private readonly next = new Map<AgentId, Promise<boolean>>();
  private readonly options: {
    readonly clock: Clock;
    readonly prng: Prng;
    readonly ledger: TaskLedger;
    readonly messenger: () => Messenger;
    readonly intervalMs: number;
    readonly enabled: boolean;
    /** Who is pushed to now; `everybody` in reach at the end, else perhaps only some of them. */
    readonly receivers: (everybody: boolean) => readonly AgentId[];
  };

  constructor(options: LedgerSync["options"]) {
    this.options = options;
  }

  start(): void {
    const arm = (): void => {
      this.options.clock.after(this.options.intervalMs, () => {
        if (this.stopped) return;
        this.rounds += 1;
        void this.pushAll();
        if (this.rounds % ANTI_ENTROPY_EVERY === 0) void this.antiEntropyWithOne();
        arm();
      });
    };
    if (this.options.enabled) arm();
  }

  stop(): void {
    this.stopped = true;
  }

  /** From now on what comes in is passed on at once: at the end of a run nobody waits for the next interval. */
  hurry(): void {
    this.eager = true;
  }

  /**
   * Pushes what is new to every receiver; resolves when all have answered or failed, with whether all have it, what an earlier push still
   * carries included. What failed goes with the next push.
   */
  async pushAll(): Promise<boolean> {
    if (!this.options.enabled) return true;
    const delivered = await Promise.all(this.options.receivers(this.eager).map((peer) => this.push(peer)));
    return delivered.every(Boolean);
  }

  /**
   * The end of a run: digests are compared with the others. Somebody who died between two of its pushes has told some and not the rest, and
   * where everybody is pushed to, nobody passes that on.
   */
  async compareAll(): Promise<void> {
    if (!this.options.enabled) return;
    const others = this.options.prng.shuffle(this.options.receivers(true)).slice(0, LAST_COMPARED);
    await Promise.all(others.map((peer) => this.antiEntropyWith(peer)));
  }

  /**
   * Anti-entropy with `peer`: it sends what we lack (what it lacks, it asks for in its turn). Returns the number of entries received.
   * Throws CommError.
   */
  async reconcile(peer: AgentId, cause: "ledger" | "rereplication", signal: AbortSignal): Promise<number> {
    const { ledger, clock, messenger } = this.options;
    const request = { op: "ledger.sync", digest: ledger.digest() } as const;
    const answer = (await messenger().ask({ agentId: peer, request }, { kind: "ledger", cause, signal })) as {
      entries: unknown[];
    };
    const entries = answer.entries.map(decodeEntry).filter((entry) => entry !== null);
    const { added } = ledger.merge(entries, clock.now(), peer);
    return added.length;
  }

  /** The receiver's side of a push. */
  accept(entries: readonly unknown[], from: AgentId): { accepted: number } {
    if (!this.options.enabled) return { accepted: 0 };
    const decoded = entries.map(decodeEntry).filter((entry) => entry !== null);
    const { added } = this.options.ledger.merge(decoded, this.options.clock.now(), from);
    if (this.eager && added.length > 0) void this.pushAll();
    return { accepted: added.length };
  }

  /** The receiver's side of anti-entropy. */
  answerDigest(digest: unknown): { entries: readonly LedgerEntry[] } {
    const decoded = decodeDigest(digest);
    if (decoded === null) throw new Refusal("bad_digest", "expected {entries, buckets}");
    return { entries: this.options.enabled ? this.options.ledger.diff(decoded) : [] };
  }

  /**
   * One push to a peer at a time: what the one under way carries is no longer new, so that whoever did not wait for it would hold for
   * delivered what has not arrived. All who ask meanwhile get the one after it.
   */
  private push(peer: AgentId): Promise<boolean> {
    const underWay = this.underWay.get(peer);
    if (underWay === undefined) return this.pushNow(peer);
    const next =
      this.next.get(peer) ??
      underWay.then(() => {
        this.next.delete(peer);
        return this.pushNow(peer);
      });
    this.next.set(peer, next);
    return next;
  }

  private pushNow(peer: AgentId): Promise<boolean> {
    const push = this.deliver(peer).finally(() => this.underWay.delete(peer));
    this.underWay.set(peer, push);
    return push;
  }

  private async deliver(peer: AgentId): Promise<boolean> {
    const { ledger, messenger } = this.options;
    const delta = ledger.takeDelta(peer);
    if (delta.entries.length === 0) return true;
    try {
      const request = { op: "ledger.push", entries: [...delta.entries] } as const;
      await messenger().ask(
        { agentId: peer, request },
        { kind: "ledger", cause: "ledger", signal: AbortSignal.timeout(PUSH_TIMEOUT_MS) },
      );
      return true;
    } catch {
      ledger.returnDelta(peer, delta);
      return false;
    }
  }

  private async antiEntropyWithOne(): Promise<void> {
    const receivers = this.options.receivers(false);
    if (receivers.length === 0) return;
    await this.antiEntropyWith(this.options.prng.pick(receivers));
  }

  /** A failure is made up for by the next round, or by another peer. */
  private async antiEntropyWith(peer: AgentId): Promise<void> {
    await this.reconcile(peer, "ledger", AbortSignal.timeout(PUSH_TIMEOUT_MS)).catch(() => {});
  }
}
