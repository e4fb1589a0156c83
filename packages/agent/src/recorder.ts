import type { Cancel, Clock, EventLog, MessageKind, NewEvent, RunEvent, TrafficCause } from "@failstorm/core";
import { openEventLog } from "@failstorm/core";

/** One message as its sender saw it end. */
export interface MessageRecord {
  readonly kind: MessageKind;
  readonly cause: TrafficCause;
  readonly to: string;
  readonly task: string | null;
  readonly step: string | null;
  readonly attempt: number;
  readonly ms: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly roundTrips: number;
  readonly error: string | null;
  /** By which protocol, in a mixed network. */
  readonly protocol?: string | undefined;
}

interface SecondTotals {
  n: number;
  failed: number;
  bytesSent: number;
  bytesReceived: number;
  roundTrips: number;
  msSum: number;
  msMax: number;
}

const round = (ms: number): number => Math.round(ms * 1000) / 1000;
/** No more often than the process is sampled, which shows all there is: each time wakes two processes. */
const LIVE_VIEW_FLUSH_MS = 1_000;
/** Too many, and never shown: of a queue that works off thousands of questions a second, sending these cost more than the questions. */
const NOT_FOR_THE_LIVE_VIEW = new Set<RunEvent["ev"]>([
  "msg",
  "queue.dispatched",
  "queue.result",
  "queue.failed",
  "queue.duplicate",
  "step.started",
  "step.finished",
  "step.deduplicated",
  "llm.call",
  "llm.step",
]);

/** Cumulative counters of this incarnation; none ever decreases. */
export interface Counters {
  tasksStarted: number;
  tasksFinished: number;
  stepsExecuted: number;
  messagesSent: number;
  bytesSent: number;
  bytesReceived: number;
  heartbeats: number;
}

/**
 * All an agent records: events into its file, each with one write(2) before the effect it announces; messages singly inside the
 * intervals of full recording and per second everywhere; a copy of the events, but for the finest, for the live view.
 */
export class Recorder {
  readonly counters: Counters = {
    tasksStarted: 0,
    tasksFinished: 0,
    stepsExecuted: 0,
    messagesSent: 0,
    bytesSent: 0,
    bytesReceived: 0,
    heartbeats: 0,
  };
  private readonly clock: Clock;
  private readonly log: EventLog;
  private readonly fullRecording: readonly (readonly [number, number])[];
  private readonly publish: (events: readonly RunEvent[]) => void;
  private readonly totals = new Map<string, { kind: MessageKind; cause: TrafficCause; totals: SecondTotals }>();
  private second = 0;
  private t0: number | null = null;
  private outbox: RunEvent[] = [];
  private pendingFlush: Cancel | null = null;
  private closed = false;
  private observer: { onEvent(event: RunEvent): void; onMessage(message: MessageRecord): void } | null = null;

  constructor(options: {
    readonly path: string;
    readonly agentId: string;
    readonly incarnation: number;
    readonly clock: Clock;
    readonly fullRecording: readonly (readonly [number, number])[];
    readonly publish: (events: readonly RunEvent[]) => void;
  }) {
    this.clock = options.clock;
    this.fullRecording = options.fullRecording;
    this.publish = options.publish;
    this.log = openEventLog({ path: options.path, src: options.agentId, incarnation: options.incarnation, clock: options.clock });
  }

  get stats(): EventLog["stats"] {
    return this.log.stats;
  }

  /** Shows all that is recorded from now on to somebody else too. */
  observe(observer: { onEvent(event: RunEvent): void; onMessage(message: MessageRecord): void }): void {
    this.observer = observer;
  }

  /** Runs `fn`, whose events go to the file in one write (see `EventLog.together`). */
  together(fn: () => void): void {
    if (this.closed) fn();
    else this.log.together(fn);
  }

  event(event: NewEvent): void {
    if (this.closed) return;
    const written = this.log.write(event);
    this.observer?.onEvent(written);
    if (NOT_FOR_THE_LIVE_VIEW.has(written.ev)) return;
    this.outbox.push(written);
    this.pendingFlush ??= this.clock.after(LIVE_VIEW_FLUSH_MS, () => this.flush());
  }

  /** Hands what is waiting to the live view. */
  flush(): void {
    this.pendingFlush?.();
    this.pendingFlush = null;
    if (this.outbox.length === 0) return;
    this.publish(this.outbox);
    this.outbox = [];
  }

  /** Sets the run's t=0; messages before it are counted in the seconds they end in, which are then negative. */
  setEpoch(t0: number): void {
    this.t0 = t0;
    this.second = this.currentSecond();
  }

  /**
   * Once a second: writes the messages of the seconds that are over and then `event`, and hands all to the live view. One wake-up for everything
   * that is regular; and at a moment of this agent's own, since all agents' seconds end at once, with that of the fault among them.
   */
  sample(event: () => NewEvent): void {
    this.together(() => {
      if (this.t0 !== null && this.currentSecond() !== this.second) this.rollSecond();
      this.event(event());
    });
    this.flush();
  }

  message(record: MessageRecord): void {
    this.count(record, record.error === null ? 0 : 1, 1);
    this.observer?.onMessage(record);
    if (!this.inFullRecording()) return;
    const { roundTrips: _, protocol, ...rest } = record;
    this.event({ ev: "msg", ...rest, ms: round(record.ms), ...(protocol === undefined ? {} : { protocol }) });
  }

  /** Bytes that are no message: the rest of one that had ended already, a held-open stream's headers. */
  residual(kind: MessageKind, cause: TrafficCause, bytesSent: number, bytesReceived: number, roundTrips = 0): void {
    this.count({ kind, cause, bytesSent, bytesReceived, roundTrips, ms: 0 }, 0, 0);
  }

  close(): void {
    if (this.closed) return;
    this.rollSecond();
    this.flush();
    this.closed = true;
    this.log.close();
  }

  private count(
    record: Pick<MessageRecord, "kind" | "cause" | "bytesSent" | "bytesReceived" | "roundTrips" | "ms">,
    failed: number,
    messages: number,
  ): void {
    if (this.t0 !== null && this.currentSecond() !== this.second) this.rollSecond();
    const key = `${record.kind}/${record.cause}`;
    let entry = this.totals.get(key);
    if (entry === undefined) {
      const totals = { n: 0, failed: 0, bytesSent: 0, bytesReceived: 0, roundTrips: 0, msSum: 0, msMax: 0 };
      entry = { kind: record.kind, cause: record.cause, totals };
      this.totals.set(key, entry);
    }
    const { totals } = entry;
    totals.n += messages;
    totals.failed += failed;
    totals.bytesSent += record.bytesSent;
    totals.bytesReceived += record.bytesReceived;
    totals.roundTrips += record.roundTrips;
    totals.msSum += record.ms;
    totals.msMax = Math.max(totals.msMax, record.ms);
    this.counters.messagesSent += messages;
    this.counters.bytesSent += record.bytesSent;
    this.counters.bytesReceived += record.bytesReceived;
  }

  private inFullRecording(): boolean {
    if (this.t0 === null) return false;
    const sinceStart = this.clock.now() - this.t0;
    return this.fullRecording.some(([from, to]) => sinceStart >= from && sinceStart < to);
  }

  private currentSecond(): number {
    return this.t0 === null ? 0 : Math.floor((this.clock.now() - this.t0) / 1000);
  }

  private rollSecond(): void {
    for (const { kind, cause, totals } of this.totals.values())
      this.event({
        ev: "msg.second",
        second: this.second,
        kind,
        cause,
        ...totals,
        msSum: round(totals.msSum),
        msMax: round(totals.msMax),
      });
    this.totals.clear();
    this.second = this.currentSecond();
  }
}
