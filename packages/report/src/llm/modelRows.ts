import type { ResultRow } from "../rows.ts";
import type { ModelUse } from "./modelUseSchema.ts";

const named = (counts: Readonly<Record<string, number | undefined>>): string => {
  const failures = Object.entries(counts).filter(([name]) => name !== "ok");
  return failures.length === 0 ? "" : ` (${failures.map(([name, n]) => `${n ?? 0} ${name.replace("_", " ")}`).join(", ")})`;
};

/** What the model was asked and what it cost, in plain words; no lines for a run without one. */
export function modelRows(use: ModelUse | undefined): ResultRow[] {
  if (use === undefined) return [];
  const requests = `${use.models.join(", ")}: ${use.calls} requests, ${use.failed} failed${named(use.by_status)}`;
  const cost = use.cost === null ? "cost not known" : `cost ${use.cost}`;
  const unknown = use.calls_without_tokens === 0 ? "" : `; tokens of ${use.calls_without_tokens} not known`;
  const without = use.steps - (use.by_outcome.ok ?? 0);
  return [
    {
      measure: "model tokens",
      value: `${use.prompt_tokens.toLocaleString("en-US")} + ${use.completion_tokens.toLocaleString("en-US")}`,
      unit: "prompt + completion",
      note: `${requests}; ${cost}${unknown}`,
      key: "llm.prompt_tokens",
    },
    {
      measure: "model steps",
      value: String(use.steps),
      unit: "steps",
      note: `${without} without a result${named(use.by_outcome)}; ${use.function_calls} function calls, ${use.unknown_function_calls} of unknown functions`,
      key: "llm.steps",
    },
  ];
}
