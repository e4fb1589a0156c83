import type { RunEvent, RunEventOf } from "@failstorm/core";

/** A broken invariant of a queue, with the events that show it (by writer, incarnation and sequence number). */
export interface QueueViolation {
  readonly invariant: string;
  readonly message: string;
  readonly events: readonly { readonly src: string; readonly inc: number; readonly seq: number }[];
}

interface Sent {
  readonly worker: string;
  readonly event: RunEventOf<"queue.dispatched">;
  failed: boolean;
}

/** What one incarnation of a coordinator is at. */
interface Desk {
  readonly open: Map<string, Sent[]>;
  readonly quarantined: Map<string, RunEvent>;
}

/**
 * An answer that was in the coordinator's socket when its worker died is still read, and the coordinator may have to wait for a core first: on
 * a busy machine of two cores up to this long (ms), as notices of closed connections do.
 */
const DEATH_SLACK_MS = 500;
/** So many of one kind are told; the rest would say the same. */
const MAX_OF_A_KIND = 20;

const ref = ({ src, inc, seq }: RunEvent): QueueViolation["events"][number] => ({ src, inc, seq });

/**
 * Checks a queue from its events, given one after the other in order of time. What comes to a sub-coordinator a second time, because the one
 * above has died or has waited long enough, it may ask and answer a second time: the first and the fourth are about the one that keeps results.
 * - `result-once`: a question has one result among the events of its coordinator, over all its incarnations;
 * - `asked-before-answered`: an answer's question was dispatched to that worker by the same incarnation of the coordinator;
 * - `none-from-the-dead`: no answer to a message that was sent before its worker's death comes after it (but for what was under way);
 * - `not-asked-again`: nothing is dispatched that has its result;
 * - `one-message-at-a-time`: a question is dispatched again only after its last message has failed;
 * - `quarantine-holds`: nothing is dispatched to a worker between its quarantine and its return.
 */
export class QueueAudit {
  private readonly found: QueueViolation[] = [];
  private readonly told = new Map<string, number>();
  private readonly desks = new Map<string, Desk>();
  /** By coordinator: ids of questions with a result. */
  private readonly results = new Map<string, Set<string>>();
  private readonly deaths = new Map<string, { readonly at: number; readonly event: RunEvent }>();
  /** Whom others feed: of those that feed others themselves, the sub-coordinators. */
  private readonly fed = new Set<string>();
  /** Agents that were started again since their last death. */
  private readonly revived = new Set<string>();

  add(event: RunEvent): void {
    switch (event.ev) {
      case "fault.injected":
        if (event.kind === "sigkill" && !event.fake) this.died(event.agent, event.after, event);
        return;
      case "agent.exited":
        // The exit of a process that was killed is seen later than its death.
        if (!this.deaths.has(event.agent) || this.revived.has(event.agent)) this.died(event.agent, event.t, event);
        return;
      case "agent.ready":
        this.revived.add(event.agent);
        return;
      case "queue.opened":
        this.desks.set(event.src, { open: new Map(), quarantined: new Map() });
        for (const { worker } of event.workers) this.fed.add(worker);
        return;
      case "queue.dispatched":
        return this.dispatched(event);
      case "queue.failed":
        return this.failed(event);
      case "queue.result":
        return this.result(event);
      case "worker.quarantined":
        this.desk(event.src).quarantined.set(event.worker, event);
        return;
      case "worker.returned":
        this.desk(event.src).quarantined.delete(event.worker);
    }
  }

  /** What was found so far. */
  violations(): readonly QueueViolation[] {
    return this.found;
  }

  private died(agent: string, at: number, event: RunEvent): void {
    this.deaths.set(agent, { at, event });
    this.revived.delete(agent);
  }

  private dispatched(event: RunEventOf<"queue.dispatched">): void {
    const { src, worker } = event;
    const desk = this.desk(src);
    const quarantine = desk.quarantined.get(worker);
    if (quarantine !== undefined)
      this.report("quarantine-holds", `${worker} is in quarantine and was sent questions`, [quarantine, event]);
    for (const question of event.questions) {
      const before = desk.open.get(question) ?? [];
      const last = before.at(-1);
      if (this.recorded(src).has(question))
        this.report("not-asked-again", `${question} has its result and was sent to ${worker}`, [event]);
      if (last !== undefined && !last.failed)
        this.report("one-message-at-a-time", `${question} was on its way to ${last.worker} when it was sent to ${worker}`, [
          last.event,
          event,
        ]);
      desk.open.set(question, [...before, { worker, event, failed: false }]);
    }
  }

  private failed(event: RunEventOf<"queue.failed">): void {
    for (const question of event.questions) {
      const sent = this.desk(event.src).open.get(question);
      for (const own of sent ?? []) if (own.event.message === event.message) own.failed = true;
    }
  }

  private result(event: RunEventOf<"queue.result">): void {
    const { src, question, worker } = event;
    if (this.recorded(src).has(question)) this.report("result-once", `${question} was recorded again`, [event]);
    if (!this.fed.has(src)) this.recorded(src).add(question);
    const desk = this.desk(src);
    const sent = desk.open.get(question)?.filter((own) => own.worker === worker) ?? [];
    desk.open.delete(question);
    if (event.status === "failed") return;
    const last = sent.at(-1);
    if (last === undefined)
      return this.report("asked-before-answered", `${question} was answered by ${worker}, which was not asked`, [event]);
    const death = worker === null ? undefined : this.deaths.get(worker);
    if (death === undefined || last.event.t > death.at || event.t <= death.at + DEATH_SLACK_MS) return;
    const late = (event.t - death.at).toFixed(1);
    this.report("none-from-the-dead", `${question} was answered by ${worker} ${late} ms after its death`, [
      death.event,
      last.event,
      event,
    ]);
  }

  private desk(src: string): Desk {
    const desk = this.desks.get(src) ?? { open: new Map(), quarantined: new Map() };
    this.desks.set(src, desk);
    return desk;
  }

  private recorded(src: string): Set<string> {
    const ids = this.results.get(src) ?? new Set();
    this.results.set(src, ids);
    return ids;
  }

  private report(invariant: string, message: string, events: readonly RunEvent[]): void {
    const times = (this.told.get(invariant) ?? 0) + 1;
    this.told.set(invariant, times);
    if (times <= MAX_OF_A_KIND) this.found.push({ invariant, message, events: events.map(ref) });
  }
}
