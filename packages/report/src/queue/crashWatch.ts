import type { RunEvent, RunEventOf } from "@failstorm/core";

type Fault = RunEventOf<"fault.injected">;

/** What a kill did to the stream of questions, as one coordinator's events tell. Times in ms after the stamp before the kill(2). */
export interface CrashEffect {
  readonly agent: string;
  readonly role: "worker" | "coordinator";
  readonly coordinator: string;
  readonly kind: Fault["kind"];
  readonly cycle: number;
  /** CLOCK_MONOTONIC ms. */
  readonly at: number;
  /** Questions in messages that were on their way to the victim (worker), or to anybody (coordinator). */
  readonly inFlight: number;
  /** First failure of a message at the victim; by which code. */
  readonly noticedMs: number | null;
  readonly noticedBy: string | null;
  readonly quarantinedMs: number | null;
  /** worker: out of quarantine again. coordinator: the queue was opened again from the journal. */
  readonly returnedMs: number | null;
  /** Of those in flight: sent again; when the first and the last left. */
  readonly redispatched: number;
  readonly redispatchFirstMs: number | null;
  readonly redispatchLastMs: number | null;
  /** Of those in flight: finished; when the first and the last were. */
  readonly finished: number;
  readonly finishedLastMs: number | null;
  /** Duplicates among them: answered twice, recorded once. */
  readonly duplicates: number;
  /** The first result of any question after the kill: how long the stream stood still. */
  readonly gapMs: number | null;
}

/** What one coordinator has on its way. */
interface Flow {
  readonly open: Map<string, string>;
  readonly watches: Watch[];
}

interface Watch {
  readonly fault: Fault;
  readonly role: CrashEffect["role"];
  readonly coordinator: string;
  /** null: the fault has not come yet in this coordinator's events. */
  orphans: Set<string> | null;
  inFlight: number;
  noticed: { readonly at: number; readonly by: string } | null;
  quarantinedAt: number | null;
  returnedAt: number | null;
  readonly redispatched: Set<string>;
  redispatchFirstAt: number | null;
  redispatchLastAt: number | null;
  finished: number;
  finishedLastAt: number | null;
  duplicates: number;
  nextResultAt: number | null;
}

/** Follows what is on its way through the events of each coordinator, in their order, and looks at it when a fault strikes. */
export class CrashWatch {
  private readonly flows = new Map<string, Flow>();
  private readonly faults: readonly Fault[];

  /** `faults`: real ones, in order of time. */
  constructor(faults: readonly Fault[]) {
    this.faults = faults;
  }

  add(event: RunEvent): void {
    if (!event.ev.startsWith("queue.") && !event.ev.startsWith("worker.")) return;
    const flow = this.flow(event.src);
    for (const watch of flow.watches) if (watch.orphans === null && event.t >= watch.fault.before) strike(watch, flow);
    for (const watch of flow.watches) if (watch.orphans !== null) follow(watch, watch.orphans, event);
    if (event.ev === "queue.dispatched") for (const question of event.questions) flow.open.set(question, event.worker);
    else if (event.ev === "queue.failed") for (const question of event.questions) flow.open.delete(question);
    else if (event.ev === "queue.result") flow.open.delete(event.question);
    // What an earlier incarnation had on its way is gone with it.
    else if (event.ev === "queue.opened") flow.open.clear();
  }

  effects(): CrashEffect[] {
    return [...this.flows.values()].flatMap(({ watches, open }) => {
      // A victim of which its coordinator never heard again struck all the same.
      for (const watch of watches) if (watch.orphans === null && watch.role === "coordinator") strike(watch, { open, watches });
      return watches.map(effectOf);
    });
  }

  private flow(src: string): Flow {
    const known = this.flows.get(src);
    if (known !== undefined) return known;
    const watches = this.faults.map((fault) => newWatch(fault, fault.agent === src ? "coordinator" : "worker", src));
    const fresh: Flow = { open: new Map(), watches };
    this.flows.set(src, fresh);
    return fresh;
  }
}

const newWatch = (fault: Fault, role: CrashEffect["role"], coordinator: string): Watch => ({
  fault,
  role,
  coordinator,
  orphans: null,
  inFlight: 0,
  noticed: null,
  quarantinedAt: null,
  returnedAt: null,
  redispatched: new Set(),
  redispatchFirstAt: null,
  redispatchLastAt: null,
  finished: 0,
  finishedLastAt: null,
  duplicates: 0,
  nextResultAt: null,
});

function strike(watch: Watch, { open }: Flow): void {
  const victim = watch.fault.agent;
  const orphans = [...open]
    .filter(([, worker]) => watch.role === "coordinator" || worker === victim)
    .map(([question]) => question);
  watch.orphans = new Set(orphans);
  watch.inFlight = orphans.length;
}

function follow(watch: Watch, orphans: Set<string>, event: RunEvent): void {
  const { fault, role } = watch;
  if (event.ev === "queue.result") {
    watch.nextResultAt ??= event.t;
    if (!orphans.delete(event.question)) return;
    watch.finished += 1;
    watch.finishedLastAt = event.t;
  } else if (event.ev === "queue.dispatched") {
    for (const question of event.questions) {
      if (!orphans.has(question)) continue;
      watch.redispatched.add(question);
      watch.redispatchFirstAt ??= event.t;
      watch.redispatchLastAt = event.t;
    }
  } else if (event.ev === "queue.duplicate") {
    if (watch.redispatched.has(event.question)) watch.duplicates += 1;
  } else if (role === "coordinator") {
    if (event.ev === "queue.opened") watch.returnedAt ??= event.t;
  } else if ("worker" in event && event.worker === fault.agent) {
    if (event.ev === "queue.failed") watch.noticed ??= { at: event.t, by: event.code };
    else if (event.ev === "worker.quarantined") watch.quarantinedAt ??= event.t;
    else if (event.ev === "worker.returned") watch.returnedAt ??= event.t;
  }
}

function effectOf(watch: Watch): CrashEffect {
  const { fault } = watch;
  const after = (at: number | null | undefined): number | null =>
    at === null || at === undefined ? null : Math.round((at - fault.before) * 1000) / 1000;
  return {
    agent: fault.agent,
    role: watch.role,
    coordinator: watch.coordinator,
    kind: fault.kind,
    cycle: fault.cycle,
    at: fault.before,
    inFlight: watch.inFlight,
    noticedMs: after(watch.noticed?.at),
    noticedBy: watch.noticed?.by ?? null,
    quarantinedMs: after(watch.quarantinedAt),
    returnedMs: after(watch.returnedAt),
    redispatched: watch.redispatched.size,
    redispatchFirstMs: after(watch.redispatchFirstAt),
    redispatchLastMs: after(watch.redispatchLastAt),
    finished: watch.finished,
    finishedLastMs: after(watch.finishedLastAt),
    duplicates: watch.duplicates,
    gapMs: after(watch.nextResultAt),
  };
}
