import { type AgentId, type Cancel, type Clock, CommError, type Part, type Traffic, toCommError } from "@failstorm/core";
import type { FailureCode, FinishedQuestion, QueueEffect, QueueEngine, QueueQuestion, SentQuestion } from "@failstorm/qa";
import type { Recorder } from "../recorder.ts";
import type { NetworkBase } from "./network.ts";
import { type AskedQuestion, questionsPayload, readAnswer } from "./wire.ts";

/** What a message cost its sender. */
export interface Cost {
  readonly ms: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

/** The end of a message, as far as what follows from it has to know. */
interface Ending {
  readonly cost: Cost;
  readonly asked: readonly AskedQuestion[];
}

const NO_ENDING: Ending = { cost: { ms: 0, bytesSent: 0, bytesReceived: 0 }, asked: [] };
const NO_TRAFFIC: Traffic = { bytesSent: 0, bytesReceived: 0, roundTrips: 0, firstByteAt: null, ms: 0 };

export interface DispatcherOptions {
  readonly engine: QueueEngine;
  readonly network: NetworkBase;
  readonly clock: Clock;
  readonly recorder: Recorder;
  /** Whether a worker takes several questions in one message. */
  readonly takesBatches: (worker: AgentId) => boolean;
  /** Questions are finished: keep them before anything else. `cost`: the share of each of the message that brought the answers. */
  readonly onRecords: (results: readonly FinishedQuestion[], cost: Cost) => void;
  /** Something has changed: perhaps more questions are wanted, perhaps all is done. */
  readonly onChange: () => void;
  /** There has been no worker for too long. */
  readonly onStarved: (open: number, sinceMs: number) => void;
  readonly onReturned: (worker: AgentId) => void;
  /** Set apart from that of other runs: a protocol that remembers answers by key must not give those. */
  readonly run: string;
}

/** What became of a message, whatever the protocol did: an exception of it is an empty text and a failure. */
interface Degraded {
  readonly raw: unknown;
  readonly text: string;
  readonly parts: readonly Part[];
  readonly failure: { readonly code: FailureCode; readonly detail: string } | null;
  readonly cost: Cost;
}

const perQuestion = (cost: Cost, questions: number): Cost => ({
  ms: round(cost.ms),
  bytesSent: Math.round(cost.bytesSent / questions),
  bytesReceived: Math.round(cost.bytesReceived / questions),
});
const round = (ms: number): number => Math.round(ms * 1000) / 1000;

/** That a question is finished, as the events have it. */
export const resultEvent = (result: FinishedQuestion, cost: Cost) => {
  const { id: question, attempts: attempt, finishedAt, worker, status, answer, intendedAt } = result;
  const latencyMs = round(finishedAt - intendedAt);
  return { ev: "queue.result", question, worker, attempt, status, answer, intendedAt, latencyMs, ...cost } as const;
};

/**
 * Carries out what the engine of a queue decides: messages over the network, timers, events. Each effect is carried out in the engine's
 * order, a record before all that follows it.
 */
export class Dispatcher {
  private readonly options: DispatcherOptions;
  private readonly underWay = new Map<number, AbortController>();
  private timer: { readonly at: number; readonly cancel: Cancel } | null = null;
  private stopped = false;

  constructor(options: DispatcherOptions) {
    this.options = options;
  }

  /** `unhealthy`: why it is sent nothing yet; null = it is well. */
  addWorker(worker: AgentId, concurrency: number, unhealthy: string | null = null): void {
    this.apply(this.options.engine.addWorker(worker, concurrency, this.options.clock.now(), unhealthy));
  }

  offer(questions: readonly QueueQuestion[]): void {
    this.apply(this.options.engine.offer(questions, this.options.clock.now()));
  }

  endOfSource(): void {
    this.options.engine.endOfSource();
    this.options.onChange();
  }

  unhealthy(worker: AgentId, reason: string): void {
    this.apply(this.options.engine.unhealthy(worker, reason, this.options.clock.now()));
  }

  /** Gives up what is under way; nothing is recorded any more. */
  stop(): void {
    this.stopped = true;
    this.timer?.cancel();
    for (const abort of this.underWay.values()) abort.abort(new Error("the coordinator stops"));
  }

  private apply(effects: readonly QueueEffect[], ending: Ending = NO_ENDING): void {
    if (this.stopped) return;
    // A message leaves in a later turn than this one: its event is in the file by then.
    this.options.recorder.together(() => {
      const records: FinishedQuestion[] = [];
      const keep = (): void => {
        if (records.length > 0) this.options.onRecords(records.splice(0), ending.cost);
      };
      for (const effect of effects) {
        if (effect.type === "record") {
          records.push(effect.result);
          continue;
        }
        keep();
        this.carryOut(effect, ending);
      }
      keep();
    });
    this.arm();
    this.options.onChange();
  }

  private carryOut(effect: Exclude<QueueEffect, { type: "record" }>, { cost, asked }: Ending): void {
    const { recorder, clock, onStarved, onReturned } = this.options;
    switch (effect.type) {
      case "send":
        return void this.send(effect);
      case "cancel":
        this.underWay.get(effect.message)?.abort(new Error(`no longer waited for: ${effect.reason}`));
        return;
      case "failed": {
        const { type: _, question, ...failed } = effect;
        recorder.event({ ev: "queue.failed", ...failed, questions: [question.id], ...cost });
        return;
      }
      case "duplicate": {
        const { worker, seq, same } = effect;
        const again = asked.find((question) => question.seq === seq);
        const { id: question = `#${seq}`, attempt = 1 } = again ?? {};
        recorder.event({ ev: "queue.duplicate", question, worker, attempt, same: same ?? false });
        return;
      }
      case "quarantine": {
        const { worker, reason, failures } = effect;
        recorder.event({ ev: "worker.quarantined", worker, reason, failures });
        return;
      }
      case "returned": {
        const { worker, afterMs, probes } = effect;
        recorder.event({ ev: "worker.returned", worker, afterMs: round(afterMs), probes });
        onReturned(worker);
        return;
      }
      case "probe":
        return void this.probe(effect.worker, effect.probe, effect.deadlineAt - clock.now());
      case "starved":
        onStarved(effect.open, effect.sinceMs);
    }
  }

  private async send({ message, worker, questions }: Extract<QueueEffect, { type: "send" }>): Promise<void> {
    const { recorder, takesBatches } = this.options;
    const abort = new AbortController();
    this.underWay.set(message, abort);
    const attempt = Math.max(...questions.map((sent) => sent.attempt));
    const ids = questions.map(({ question }) => question.id);
    recorder.event({ ev: "queue.dispatched", message, worker, questions: ids, attempt });
    // A stranger gets one question at a time, in words.
    const groups = takesBatches(worker) ? [questions] : questions.map((question) => [question]);
    await Promise.all(groups.map((group) => this.ask(message, worker, group, abort.signal)));
    this.underWay.delete(message);
  }

  private async ask(message: number, worker: AgentId, group: readonly SentQuestion[], signal: AbortSignal): Promise<void> {
    const asked = group.map(({ question: { seq, id, q }, attempt }): AskedQuestion => ({ seq, id, q, attempt }));
    const ended = await this.exchange(worker, asked, signal);
    if (this.stopped) return;
    const seqs = asked.map(({ seq }) => seq);
    const ending = { cost: perQuestion(ended.cost, asked.length), asked };
    if (ended.failure !== null) return this.failed(message, ended.failure, seqs, ending);
    const read = readAnswer(asked, ended.parts, ended.text);
    if ("garbage" in read) return this.failed(message, { code: "garbage", detail: read.garbage }, seqs, ending);
    const { engine, clock } = this.options;
    const now = clock.now();
    // What one message has answered is kept in one write.
    this.apply(
      read.answers.flatMap(({ seq, answer }) => engine.answered({ message, worker, seq, answer }, now)),
      ending,
    );
    const answered = new Set(read.answers.map(({ seq }) => seq));
    const missing = seqs.filter((seq) => !answered.has(seq));
    const detail = "the answer is not about this question";
    if (missing.length > 0) this.failed(message, { code: "missing", detail }, missing, ending);
  }

  private failed(
    message: number,
    failure: { readonly code: FailureCode; readonly detail: string },
    seqs: readonly number[],
    ending: Ending,
  ): void {
    const { engine, clock } = this.options;
    this.apply(engine.failed({ message, ...failure, seqs }, clock.now()), ending);
  }

  /** One message and its answer. Never rejects: whatever the protocol throws is `{raw, text: ""}` and a failure. */
  private async exchange(worker: AgentId, asked: readonly AskedQuestion[], signal: AbortSignal): Promise<Degraded> {
    const { network, clock, recorder, takesBatches } = this.options;
    const [first] = asked;
    const attempt = Math.max(...asked.map((question) => question.attempt));
    const cause = attempt > 1 ? "retry" : "work";
    const startedAt = clock.now();
    const ends = (traffic: Traffic, error: string | null): Cost => {
      const { bytesSent, bytesReceived, roundTrips, protocol } = traffic;
      const ms = clock.now() - startedAt;
      const measured = { bytesSent, bytesReceived, roundTrips, ms, protocol };
      recorder.message({ kind: "question", cause, to: worker, task: null, step: null, attempt, error, ...measured });
      return { ms: round(ms), bytesSent, bytesReceived };
    };
    const payload = takesBatches(worker) ? questionsPayload(asked) : { text: first?.q ?? "" };
    const idempotencyKey = `${asked.map(({ id }) => id).join("+")}/answer/${this.options.run}`;
    try {
      const { raw, text, parts, traffic } = await network.send(worker, payload, {
        kind: "question",
        cause,
        signal,
        idempotencyKey,
      });
      return { raw, text, parts, failure: null, cost: ends(traffic, null) };
    } catch (error) {
      const failure = toCommError(error, worker, signal);
      const { traffic = NO_TRAFFIC } = error as { traffic?: Traffic };
      const raw = error instanceof CommError ? error.detail : null;
      return {
        raw,
        text: "",
        parts: [],
        failure: { code: failure.code, detail: failure.message },
        cost: ends(traffic, failure.code),
      };
    }
  }

  private async probe(worker: AgentId, probe: number, withinMs: number): Promise<void> {
    const { network, engine, clock } = this.options;
    const signal = AbortSignal.timeout(Math.max(1, Math.ceil(withinMs)));
    const { alive } = await network.probe(worker, { signal, cause: "excess_heartbeat" });
    if (!this.stopped) this.apply(engine.probed(worker, probe, alive, clock.now()));
  }

  /** One timer, for whatever is due first; one that fires too early finds nothing to do, and is set again. */
  private arm(): void {
    const { engine, clock } = this.options;
    const at = engine.nextDueAt();
    if (at === null || (this.timer !== null && this.timer.at <= at)) return;
    this.timer?.cancel();
    const cancel = clock.after(at - clock.now(), () => {
      this.timer = null;
      this.apply(engine.tick(clock.now()));
    });
    this.timer = { at, cancel };
  }
}
