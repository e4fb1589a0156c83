import type { QueueEffect, QueueEngineConfig } from "./effects.ts";

type Health =
  | { readonly kind: "active"; readonly failures: number }
  | {
      readonly kind: "quarantined";
      readonly since: number;
      readonly probes: number;
      readonly successes: number;
      readonly failedProbes: number;
      readonly check:
        | { readonly kind: "due"; readonly at: number }
        | { readonly kind: "asked"; readonly probe: number; readonly until: number };
    };

interface PoolWorker {
  readonly id: string;
  /** Messages it may have at once. */
  readonly concurrency: number;
  health: Health;
  /** Messages it has. */
  load: number;
  /** Questions it was ever sent. */
  sent: number;
  /** Quarantines since its last answer: each waits longer for its first probe. */
  relapses: number;
  /** Questions of one message to it, at most, when that is `auto`. */
  batch: number;
}

/**
 * How `auto` finds the questions of one message: additive increase while full messages come back at once, multiplicative decrease when they do
 * not (as Clipper does for batches under a latency goal: Crankshaw et al., NSDI 2017, §4.3). A worker that thinks longer than that gets one
 * question at a time, so that the next free worker takes the next one and a death takes one down.
 */
const AUTO_BATCH = { most: 16, quickMs: 10, slowMs: 40 } as const;

/**
 * Messages a worker may have now. After a failure, one at a time until it has answered: a death takes down all it has at once, and what is sent
 * right after it would fail too.
 */
function capacity({ health, concurrency }: PoolWorker): number {
  if (health.kind === "quarantined") return 0;
  return health.failures > 0 ? 1 : concurrency;
}

/** Failures and quarantines since its last answer: who is back from a quarantine is asked after those who never were in one. */
const doubt = ({ health, relapses }: PoolWorker): number => relapses + (health.kind === "active" ? health.failures : 0);

const freeSlotsOf = (worker: PoolWorker): number => Math.max(0, capacity(worker) - worker.load);

/**
 * The workers of a queue: how loaded, how well. Invariants: 0 ≤ load ≤ concurrency; only a worker with a free slot is chosen; a quarantined one
 * has none, and always a probe due or asked; `slots` is the sum of the free slots.
 */
export class WorkerPool {
  private readonly workers = new Map<string, PoolWorker>();
  private readonly config: QueueEngineConfig;
  private probes = 0;
  private active = 0;
  private slots = 0;

  constructor(config: QueueEngineConfig) {
    this.config = config;
  }

  get activeCount(): number {
    return this.active;
  }

  get quarantinedCount(): number {
    return this.workers.size - this.active;
  }

  /** Messages that active workers could take now. */
  get freeSlots(): number {
    return this.slots;
  }

  has(id: string): boolean {
    return this.workers.has(id);
  }

  isActive(id: string): boolean {
    return this.workers.get(id)?.health.kind === "active";
  }

  add(id: string, concurrency: number): void {
    this.workers.set(id, { id, concurrency, health: { kind: "active", failures: 0 }, load: 0, sent: 0, relapses: 0, batch: 1 });
    this.active += 1;
    this.slots += concurrency;
  }

  /** Active workers with a free slot, the least loaded first; among equals who was sent the fewest questions, then who came first. */
  free(): string[] {
    return [...this.workers.values()]
      .filter((worker) => freeSlotsOf(worker) > 0)
      .sort((a, b) => a.load / a.concurrency - b.load / b.concurrency || doubt(a) - doubt(b) || a.sent - b.sent)
      .map((worker) => worker.id);
  }

  take(id: string, questions: number): void {
    this.change(id, (worker) => {
      worker.load += 1;
      worker.sent += questions;
    });
  }

  release(id: string): void {
    this.change(id, (worker) => {
      worker.load -= 1;
    });
  }

  answered(id: string): void {
    this.change(id, (worker) => {
      worker.relapses = 0;
      if (worker.health.kind === "active" && worker.health.failures > 0) worker.health = { kind: "active", failures: 0 };
    });
  }

  /** Questions of the next message to it, at most. */
  batchOf(id: string): number {
    return this.config.batch === "auto" ? this.get(id).batch : this.config.batch;
  }

  /** Every question of a message was answered, `ms` after it was sent. */
  answeredWhole(id: string, questions: number, ms: number): void {
    const worker = this.get(id);
    if (ms > AUTO_BATCH.slowMs) worker.batch = Math.ceil(worker.batch / 2);
    else if (ms <= AUTO_BATCH.quickMs && questions >= worker.batch) worker.batch = Math.min(AUTO_BATCH.most, worker.batch + 1);
  }

  /** One message failed. Returns the quarantine, when this was the last straw. */
  failed(id: string, code: string, now: number): QueueEffect[] {
    const { health } = this.get(id);
    if (health.kind !== "active") return [];
    const failures = health.failures + 1;
    this.change(id, (worker) => {
      worker.batch = 1;
      worker.health = { kind: "active", failures };
    });
    return failures >= this.config.quarantineAfter || code === "refused" ? this.quarantine(id, code, now) : [];
  }

  quarantine(id: string, reason: string, now: number): QueueEffect[] {
    const { health } = this.get(id);
    if (health.kind !== "active") return [];
    this.active -= 1;
    this.change(id, (worker) => {
      const at = now + this.interval(worker.relapses);
      worker.relapses += 1;
      worker.health = { kind: "quarantined", since: now, probes: 0, successes: 0, failedProbes: 0, check: { kind: "due", at } };
    });
    return [{ type: "quarantine", worker: id, reason, failures: health.failures }];
  }

  /** Probes that have fallen due, and those that have not been answered in time. */
  tick(now: number): QueueEffect[] {
    if (this.quarantinedCount === 0) return [];
    const effects: QueueEffect[] = [];
    for (const worker of this.workers.values()) {
      if (worker.health.kind === "quarantined" && worker.health.check.kind === "asked" && worker.health.check.until <= now)
        this.probed(worker.id, worker.health.check.probe, false, now);
      // A probe that was given up has made the next one due, at once or later.
      const { health } = worker;
      if (health.kind !== "quarantined" || health.check.kind !== "due" || health.check.at > now) continue;
      this.probes += 1;
      const until = now + this.config.probe.timeoutMs;
      worker.health = { ...health, probes: health.probes + 1, check: { kind: "asked", probe: this.probes, until } };
      effects.push({ type: "probe", worker: worker.id, probe: this.probes, deadlineAt: until });
    }
    return effects;
  }

  /** The result of a probe; one that was given up, or belongs to an earlier quarantine, changes nothing. */
  probed(id: string, probe: number, ok: boolean, now: number): QueueEffect[] {
    const worker = this.get(id);
    const { health } = worker;
    if (health.kind !== "quarantined" || health.check.kind !== "asked" || health.check.probe !== probe) return [];
    const successes = ok ? health.successes + 1 : 0;
    const failedProbes = ok ? 0 : health.failedProbes + 1;
    if (successes < this.config.probe.successes) {
      worker.health = { ...health, successes, failedProbes, check: { kind: "due", at: now + this.interval(failedProbes) } };
      return [];
    }
    this.active += 1;
    this.change(id, () => {
      worker.health = { kind: "active", failures: 0 };
    });
    return [{ type: "returned", worker: id, afterMs: now - health.since, probes: health.probes }];
  }

  /** When the next probe is due or given up; null = never. */
  nextDueAt(): number | null {
    if (this.quarantinedCount === 0) return null;
    let next = Number.POSITIVE_INFINITY;
    for (const { health } of this.workers.values()) {
      if (health.kind === "quarantined")
        next = Math.min(next, health.check.kind === "due" ? health.check.at : health.check.until);
    }
    return next;
  }

  /** Keeps `slots` right, whatever `fn` does to the worker. */
  private change(id: string, fn: (worker: PoolWorker) => void): void {
    const worker = this.get(id);
    const before = freeSlotsOf(worker);
    fn(worker);
    this.slots += freeSlotsOf(worker) - before;
  }

  private interval(doublings: number): number {
    const { intervalMs, maxIntervalMs } = this.config.probe;
    return Math.min(maxIntervalMs, intervalMs * 2 ** Math.min(doublings, 30));
  }

  private get(id: string): PoolWorker {
    const worker = this.workers.get(id);
    if (worker === undefined) throw new RangeError(`no worker ${id} in this queue`);
    return worker;
  }
}
