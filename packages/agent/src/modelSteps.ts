import { createHash } from "node:crypto";
import type { Tool } from "@failstorm/core";
import { type Hit, mergeHits, openModel, runToolWithModel, takeLlmKey } from "@failstorm/qa";
import type { AgentParts } from "./agent.ts";
import type { Holdings } from "./holdings.ts";
import type { Steps } from "./steps.ts";
import type { StepRequest } from "./toolServer.ts";

/** Does tool steps with a model. */
export interface ModelSteps {
  /**
   * `result`: whether the model gave one; if not, `output` is what the tool gives when it finds nothing. Rejects with the signal's reason
   * when it aborts first, with ToolInputError when the input is not the tool's.
   */
  run(
    request: StepRequest,
    options: { readonly signal: AbortSignal; readonly lookup: (query: string, topK: number) => Promise<Hit[]> },
  ): Promise<{ readonly output: unknown; readonly result: boolean }>;
}

/** Between a step and the message its model sends; a step with it in its name sends none, so that models do not set each other off for ever. */
const MESSAGE = ">";

/** The same message in a further attempt at the step has the same name, and another message another: idempotency goes by it. */
const messageStep = (step: string, tool: Tool, input: unknown): string =>
  `${step}${MESSAGE}${tool}.${createHash("sha256").update(JSON.stringify(input)).digest("hex").slice(0, 8)}`;

/** The model of this agent, with its key out of the environment; null when the configuration has none. */
export function createModelSteps(
  { spec, self, clock, prng, recorder }: Pick<AgentParts, "spec" | "self" | "clock" | "prng" | "recorder">,
  work: { readonly holdings: Holdings; readonly steps: Steps; readonly shardCount: number },
): ModelSteps | null {
  const { llm, scenario } = spec.config;
  if (llm === null) return null;
  const model = openModel({
    config: llm,
    apiKey: takeLlmKey(process.env),
    clock,
    prng: prng.fork(`llm/${self.agentId}/${self.incarnation}`),
    share: { index: spec.index, of: scenario.agentCount },
    onCall: (event) => recorder.event(event),
    onProblem: (message) => recorder.event({ ev: "log", level: "warning", message }),
  });
  const shards = Array.from({ length: work.shardCount }, (_, shard) => shard);
  return {
    async run({ tool, task, step, attempt, takeover, budgetMs, input }, { signal, lookup }) {
      const deadlineAt = clock.now() + budgetMs;
      const ended = await runToolWithModel(tool, input, {
        model,
        purpose: { task, step },
        signal,
        ports: {
          lookupFragment: lookup,
          lookupOwn: async (query, topK) => mergeHits(work.holdings.lookup(shards, query, topK).hits, topK),
          sendMessage: step.includes(MESSAGE)
            ? null
            : (to, message) =>
                work.steps.callTool(to, messageStep(step, to, message), message, { task, attempt, takeover, deadlineAt, signal }),
        },
      });
      const { output, outcome, rounds, calls, unknownCalls } = ended;
      recorder.event({ ev: "llm.step", task, step, outcome, rounds, calls, unknownCalls });
      signal.throwIfAborted();
      return { output, result: outcome === "ok" };
    },
  };
}
