import type { RunEvent, RunEventOf } from "@failstorm/core";
import type { EventIndex } from "../run.ts";
import { summarise } from "../spread.ts";
import type { ModelUse } from "./modelUseSchema.ts";

/** Sums of doubles end in digits that mean nothing. */
const MICRO = 1e6;

type Counts<Name extends string> = Partial<Record<Name, number>>;
const count = <Name extends string>(counts: Counts<Name>, name: Name): void => {
  counts[name] = (counts[name] ?? 0) + 1;
};

/** Whether the model may have worked on it: it began to reply, or nobody waited for what it did. */
const mayHaveCost = ({ status, code }: RunEventOf<"llm.call">): boolean =>
  code === 200 || status === "timeout" || status === "aborted";

/** Adds up what a run asks of a model, event by event. */
export class ModelUseTally {
  private readonly models = new Set<string>();
  private readonly latencies: number[] = [];
  private readonly byStatus: ModelUse["by_status"] = {};
  private readonly byOutcome: ModelUse["by_outcome"] = {};
  private readonly n = {
    calls: 0,
    retries: 0,
    prompt: 0,
    completion: 0,
    silent: 0,
    steps: 0,
    rounds: 0,
    functions: 0,
    unknown: 0,
  };
  private cost: number | null = null;

  /** Takes notice of `llm.call` and `llm.step`. */
  add(event: RunEvent): void {
    if (event.ev === "llm.call") this.addCall(event);
    else if (event.ev === "llm.step") {
      this.n.steps += 1;
      this.n.rounds += event.rounds;
      this.n.functions += event.calls;
      this.n.unknown += event.unknownCalls;
      count(this.byOutcome, event.outcome);
    }
  }

  /** null when no model was asked. */
  result(): ModelUse | null {
    const { n } = this;
    if (n.calls === 0 && n.steps === 0) return null;
    return {
      models: [...this.models].toSorted(),
      calls: n.calls,
      failed: n.calls - this.latencies.length,
      by_status: this.byStatus,
      retries: n.retries,
      prompt_tokens: n.prompt,
      completion_tokens: n.completion,
      calls_without_tokens: n.silent,
      cost: this.cost === null ? null : Math.round(this.cost * MICRO) / MICRO,
      latency_ms: summarise(this.latencies),
      steps: n.steps,
      by_outcome: this.byOutcome,
      rounds: n.rounds,
      function_calls: n.functions,
      unknown_function_calls: n.unknown,
    };
  }

  private addCall(call: RunEventOf<"llm.call">): void {
    const { n } = this;
    const { model, status, attempt, promptTokens, completionTokens, cost, ms } = call;
    this.models.add(model);
    n.calls += 1;
    if (attempt > 1) n.retries += 1;
    if (promptTokens === null && mayHaveCost(call)) n.silent += 1;
    n.prompt += promptTokens ?? 0;
    n.completion += completionTokens ?? 0;
    if (cost !== null) this.cost = (this.cost ?? 0) + cost;
    if (status === "ok") this.latencies.push(ms);
    count(this.byStatus, status);
  }
}

/** What a run asked of a model, and what it cost; null when it asked none. */
export function measureModelUse(index: EventIndex): ModelUse | null {
  const tally = new ModelUseTally();
  for (const call of index.of("llm.call")) tally.add(call);
  for (const step of index.of("llm.step")) tally.add(step);
  return tally.result();
}
