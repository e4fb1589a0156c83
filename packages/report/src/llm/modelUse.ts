import type { EventIndex } from "../run.ts";
import { summarise } from "../spread.ts";
import type { ModelUse } from "./modelUseSchema.ts";

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const counted = <Name extends string>(names: readonly Name[]): Partial<Record<Name, number>> =>
  Object.fromEntries([...Map.groupBy(names, (name) => name)].map(([name, all]) => [name, all.length])) as Partial<
    Record<Name, number>
  >;

/** Sums of doubles end in digits that mean nothing. */
const MICRO = 1e6;

/** What a run asked of a model, and what it cost; null when it asked none. */
export function measureModelUse(index: EventIndex): ModelUse | null {
  const calls = index.of("llm.call");
  const steps = index.of("llm.step");
  if (calls.length === 0 && steps.length === 0) return null;
  const costs = calls.map(({ cost }) => cost).filter((cost) => cost !== null);
  const whole = calls.filter(({ status }) => status === "ok");
  return {
    models: [...new Set(calls.map(({ model }) => model))].toSorted(),
    calls: calls.length,
    failed: calls.length - whole.length,
    by_status: counted(calls.map(({ status }) => status)),
    retries: calls.filter(({ attempt }) => attempt > 1).length,
    prompt_tokens: sum(calls.map(({ promptTokens }) => promptTokens ?? 0)),
    completion_tokens: sum(calls.map(({ completionTokens }) => completionTokens ?? 0)),
    calls_without_tokens: calls.filter(({ promptTokens }) => promptTokens === null).length,
    cost: costs.length === 0 ? null : Math.round(sum(costs) * MICRO) / MICRO,
    latency_ms: summarise(whole.map(({ ms }) => ms)),
    steps: steps.length,
    by_outcome: counted(steps.map(({ outcome }) => outcome)),
    rounds: sum(steps.map(({ rounds }) => rounds)),
    function_calls: sum(steps.map(({ calls: called }) => called)),
    unknown_function_calls: sum(steps.map(({ unknownCalls }) => unknownCalls)),
  };
}
