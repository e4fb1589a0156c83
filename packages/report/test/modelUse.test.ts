import type { NewEvent } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { computeMetrics } from "../src/metrics.ts";
import { resultRows } from "../src/rows.ts";
import { metricsSchema } from "../src/schema.ts";
import { isRight } from "../src/tasks.ts";
import { RunBuilder } from "./builder.ts";

type Call = Extract<NewEvent, { ev: "llm.call" }>;

const call = (more: Partial<Call> = {}): Call => ({
  ev: "llm.call",
  task: "t-000001",
  step: "1.search",
  model: "tiny",
  attempt: 1,
  status: "ok",
  code: 200,
  promptTokens: 100,
  completionTokens: 20,
  cost: 0.0004,
  ms: 300,
  ...more,
});
const failed = (status: Call["status"], code: number | null, attempt = 1): Call =>
  call({ status, code, attempt, promptTokens: null, completionTokens: null, cost: null, ms: 40 });

const metricsOf = (run: RunBuilder) => metricsSchema.parse(JSON.parse(JSON.stringify(computeMetrics(run.build()))));

describe("a run with a model", () => {
  const run = new RunBuilder()
    .at(2_000, failed("rate_limited", 429), "agent-0")
    .at(2_400, call({ attempt: 2, ms: 300 }), "agent-0")
    .at(
      2_500,
      { ev: "llm.step", task: "t-000001", step: "1.search", outcome: "ok", rounds: 1, calls: 0, unknownCalls: 0 },
      "agent-0",
    )
    .at(3_000, call({ ms: 500 }), "agent-1")
    .at(3_500, failed("cut", 200, 1), "agent-1")
    .at(
      3_600,
      { ev: "llm.step", task: "t-000002", step: "reason", outcome: "cut", rounds: 2, calls: 3, unknownCalls: 1 },
      "agent-1",
    );

  it("sums attempts, tokens and cost, and says what is in no sum", () => {
    expect(metricsOf(run).llm).toEqual({
      models: ["tiny"],
      calls: 4,
      failed: 2,
      by_status: { ok: 2, rate_limited: 1, cut: 1 },
      retries: 1,
      prompt_tokens: 200,
      completion_tokens: 40,
      calls_without_tokens: 1,
      cost: 0.0008,
      latency_ms: { n: 2, mean: 400, p50: 400, p90: null, p95: null, p99: null, p99_9: null, max: 500 },
      steps: 2,
      by_outcome: { ok: 1, cut: 1 },
      rounds: 3,
      function_calls: 3,
      unknown_function_calls: 1,
    });
  });

  it("has lines in the result table", () => {
    const rows = resultRows(metricsOf(run));
    expect(rows.find(({ measure }) => measure === "model tokens")).toMatchObject({
      value: "200 + 40",
      note: "tiny: 4 requests, 2 failed (1 rate limited, 1 cut); cost 0.0008; tokens of 1 not known",
    });
    expect(rows.find(({ measure }) => measure === "model steps")).toMatchObject({
      value: "2",
      note: "1 without a result (1 cut); 3 function calls, 1 of unknown functions",
    });
  });

  it("without a price costs null, not 0", () => {
    const unpriced = new RunBuilder().at(2_000, call({ cost: null }), "agent-0");
    expect(metricsOf(unpriced).llm).toMatchObject({ cost: null, prompt_tokens: 100 });
  });
});

it("a run without a model says nothing of one", () => {
  const metrics = metricsOf(new RunBuilder());
  expect(metrics).not.toHaveProperty("llm");
  expect(resultRows(metrics).filter(({ measure }) => measure.startsWith("model"))).toEqual([]);
});

it("a model's wording of the right answer is right; the deterministic workers' is held against theirs as it stands", () => {
  const said = (answer: string) => ({ status: "answered", answer }) as const;
  expect(isRight(said("the Santiago."), { expected: "Santiago", graded: "normalised" })).toBe(true);
  expect(isRight(said("Lima"), { expected: "Santiago", graded: "normalised" })).toBe(false);
  expect(isRight({ status: "no_answer", answer: null }, { expected: "Santiago", graded: "normalised" })).toBe(false);
  expect(isRight(said("the Santiago."), { expected: "Santiago" })).toBe(false);
  expect(isRight(said("Santiago"), { expected: "Santiago" })).toBe(true);
});
