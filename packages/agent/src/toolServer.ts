import type { AgentId, Clock, Prng, Tool } from "@failstorm/core";
import { type Hit, runTool } from "@failstorm/qa";
import type { Holdings } from "./holdings.ts";
import type { ModelSteps } from "./modelSteps.ts";
import type { Recorder } from "./recorder.ts";

export interface StepRequest {
  readonly tool: Tool;
  readonly task: string;
  readonly step: string;
  readonly attempt: number;
  readonly budgetMs: number;
  readonly takeover: boolean;
  readonly input: unknown;
  readonly caller: AgentId;
}

/**
 * Executes tool steps: think time (what an LLM call would take, no CPU), then the tool; or, where a model is configured, the model. Each
 * execution is recorded before it begins.
 */
export class ToolServer {
  private executions = 0;
  private readonly options: {
    readonly clock: Clock;
    readonly prng: Prng;
    readonly recorder: Recorder;
    readonly holdings: Holdings;
    readonly thinkTimeMs: number;
    /** null: the deterministic tools. */
    readonly model: ModelSteps | null;
    readonly lookup: (
      query: string,
      topK: number,
      options: { task: string; step: string; attempt: number; takeover: boolean; signal: AbortSignal },
    ) => Promise<Hit[]>;
  };

  constructor(options: ToolServer["options"]) {
    this.options = options;
  }

  /** Throws a Refusal when the tool is not served here, and what the tool throws. */
  async execute(request: StepRequest): Promise<unknown> {
    const { recorder, holdings } = this.options;
    const { tool, task, step, attempt, caller } = request;
    const done = holdings.useTool(tool);
    const exec = this.executions++;
    recorder.event({ ev: "step.started", exec, task, step, tool, attempt, caller });
    let ok = false;
    try {
      const { output, result } = await this.produce(request);
      ok = result;
      if (result) done();
      return output;
    } finally {
      recorder.counters.stepsExecuted += 1;
      recorder.event({ ev: "step.finished", exec, task, step, attempt, ok });
    }
  }

  private async produce(request: StepRequest): Promise<{ readonly output: unknown; readonly result: boolean }> {
    const { clock, prng, thinkTimeMs, model, lookup } = this.options;
    const { tool, task, step, attempt, takeover } = request;
    const budgetSignal = (): AbortSignal => AbortSignal.timeout(Math.max(1, Math.ceil(request.budgetMs)));
    const lookupUntil =
      (signal: AbortSignal) =>
      (query: string, topK: number): Promise<Hit[]> =>
        lookup(query, topK, { task, step, attempt, takeover, signal });
    if (model !== null) {
      const signal = budgetSignal();
      return model.run(request, { signal, lookup: lookupUntil(signal) });
    }
    await clock.sleep(prng.fork(`think/${task}/${step}/${attempt}`).exponential(thinkTimeMs));
    return { output: await runTool(tool, request.input, { lookupFragment: lookupUntil(budgetSignal()) }), result: true };
  }
}
