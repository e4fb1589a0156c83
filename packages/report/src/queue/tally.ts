import type { RunEvent, RunEventOf } from "@failstorm/core";

/** What one worker did for one coordinator. Times in ms. */
export interface WorkerTally {
  readonly worker: string;
  readonly protocol: string;
  readonly external: boolean;
  messages: number;
  questions: number;
  answered: number;
  noAnswer: number;
  /** Failed messages (per question) by code. */
  readonly failures: Map<string, number>;
  duplicates: number;
  bytesSent: number;
  bytesReceived: number;
  serviceMs: number;
  quarantines: number;
  quarantineMs: number;
}

/** All messages of one kind. */
export interface KindTally {
  n: number;
  failed: number;
  bytesSent: number;
  bytesReceived: number;
}

/** What one coordinator's events say, all its incarnations together. */
export interface CoordinatorTally {
  readonly src: string;
  readonly opened: RunEventOf<"queue.opened">[];
  closed: RunEventOf<"queue.closed"> | null;
  readonly workers: Map<string, WorkerTally>;
  messages: number;
  retryMessages: number;
  /** Questions whose attempt failed and was to be repeated. */
  retries: number;
  readonly failures: Map<string, number>;
  duplicates: number;
  duplicatesSame: number;
  /** Lines that were no questions. One that starts again reads its source from the beginning, and says the same again. */
  rejected: number;
  rejectedBy: { readonly inc: number; readonly n: number };
  firstDispatchAt: number | null;
}

const count = (map: Map<string, number>, key: string, by = 1): void => void map.set(key, (map.get(key) ?? 0) + by);

/** Counts over the events of a queue, one after the other, in memory that does not grow with them. Each writer's events in its own order. */
export class QueueTally {
  readonly coordinators = new Map<string, CoordinatorTally>();
  /** Messages of every process, by writer and kind. */
  readonly messages = new Map<string, Map<string, KindTally>>();

  /** The coordinator that nobody feeds; null when no queue was opened. With several, the one that opened first. */
  root(): CoordinatorTally | null {
    const all = [...this.coordinators.values()];
    const fed = new Set(all.flatMap((own) => [...own.workers.keys()]));
    const opened = (own: CoordinatorTally): number => own.opened[0]?.t ?? Number.POSITIVE_INFINITY;
    return all.filter(({ src }) => !fed.has(src)).sort((a, b) => opened(a) - opened(b))[0] ?? null;
  }

  add(event: RunEvent): void {
    if (event.ev === "msg.second") return this.addMessages(event);
    if (!event.ev.startsWith("queue.") && !event.ev.startsWith("worker.")) return;
    const own = this.coordinator(event.src);
    switch (event.ev) {
      case "queue.opened":
        own.opened.push(event);
        for (const { worker, protocol, external } of event.workers) workerOf(own, worker, protocol, external);
        return;
      case "queue.closed":
        own.closed = event;
        // A file may have more of them than are told one by one.
        own.rejected = Math.max(own.rejected, event.rejected);
        return;
      case "queue.dispatched":
        return addDispatch(own, event);
      case "queue.failed":
        return addFailure(own, event);
      case "queue.result":
        return addResult(own, event);
      case "queue.duplicate":
        own.duplicates += 1;
        if (event.same) own.duplicatesSame += 1;
        workerOf(own, event.worker).duplicates += 1;
        return;
      case "queue.rejected":
        own.rejectedBy = { inc: event.inc, n: own.rejectedBy.inc === event.inc ? own.rejectedBy.n + 1 : 1 };
        own.rejected = Math.max(own.rejected, own.rejectedBy.n);
        return;
      case "worker.quarantined":
        workerOf(own, event.worker).quarantines += 1;
        return;
      case "worker.returned":
        workerOf(own, event.worker).quarantineMs += event.afterMs;
    }
  }

  private coordinator(src: string): CoordinatorTally {
    const known = this.coordinators.get(src);
    if (known !== undefined) return known;
    const fresh: CoordinatorTally = {
      src,
      opened: [],
      closed: null,
      workers: new Map(),
      messages: 0,
      retryMessages: 0,
      retries: 0,
      failures: new Map(),
      duplicates: 0,
      duplicatesSame: 0,
      rejected: 0,
      rejectedBy: { inc: 0, n: 0 },
      firstDispatchAt: null,
    };
    this.coordinators.set(src, fresh);
    return fresh;
  }

  private addMessages(event: RunEventOf<"msg.second">): void {
    const kinds = this.messages.get(event.src) ?? new Map<string, KindTally>();
    this.messages.set(event.src, kinds);
    const kind = kinds.get(event.kind) ?? { n: 0, failed: 0, bytesSent: 0, bytesReceived: 0 };
    kinds.set(event.kind, kind);
    kind.n += event.n;
    kind.failed += event.failed;
    kind.bytesSent += event.bytesSent;
    kind.bytesReceived += event.bytesReceived;
  }
}

function workerOf(own: CoordinatorTally, worker: string, protocol = "unknown", external = false): WorkerTally {
  const known = own.workers.get(worker);
  if (known !== undefined) return known;
  const fresh: WorkerTally = {
    worker,
    protocol,
    external,
    messages: 0,
    questions: 0,
    answered: 0,
    noAnswer: 0,
    failures: new Map(),
    duplicates: 0,
    bytesSent: 0,
    bytesReceived: 0,
    serviceMs: 0,
    quarantines: 0,
    quarantineMs: 0,
  };
  own.workers.set(worker, fresh);
  return fresh;
}

function addDispatch(own: CoordinatorTally, event: RunEventOf<"queue.dispatched">): void {
  const worker = workerOf(own, event.worker);
  own.messages += 1;
  if (event.attempt > 1) own.retryMessages += 1;
  worker.messages += 1;
  worker.questions += event.questions.length;
  own.firstDispatchAt = Math.min(own.firstDispatchAt ?? event.t, event.t);
}

function addFailure(own: CoordinatorTally, event: RunEventOf<"queue.failed">): void {
  const worker = workerOf(own, event.worker);
  const n = event.questions.length;
  count(own.failures, event.code, n);
  count(worker.failures, event.code, n);
  if (event.retryInMs !== null) own.retries += n;
  worker.bytesSent += event.bytesSent * n;
  worker.bytesReceived += event.bytesReceived * n;
}

function addResult(own: CoordinatorTally, event: RunEventOf<"queue.result">): void {
  // A failed question's messages have their failures already, with their bytes.
  if (event.worker === null || event.status === "failed") return;
  const worker = workerOf(own, event.worker);
  if (event.status === "answered") worker.answered += 1;
  else worker.noAnswer += 1;
  worker.serviceMs += event.ms;
  worker.bytesSent += event.bytesSent;
  worker.bytesReceived += event.bytesReceived;
}
