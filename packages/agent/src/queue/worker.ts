import type { AgentExecutor, FromAgent, Part, QueueSpec, ToAgent } from "@failstorm/core";
import { Refusal } from "../messenger.ts";
import type { Role, RoleParts } from "../role.ts";
import type { AnswerEngine } from "./answerEngine.ts";
import { answersPart, type AskedQuestion, type GivenAnswer, readIncoming } from "./wire.ts";

/** What a worker of a queue says it can; a coordinator sends batches to those that do, single words to others. */
export const ANSWERS = "answers:questions";

/** The tool in the events of an answer: the worker goes through all of them by itself. */
const TOOL = "reason";

/** A worker of a queue: answers questions, and knows nothing of queues. */
export class Worker implements Role {
  readonly up: Role["up"] = { homeTool: null, shard: null, role: "worker" };
  readonly routes = [];
  readonly inStorm = false;
  private readonly parts: RoleParts<QueueSpec>;
  private readonly load: () => Promise<AnswerEngine>;
  private engine: Promise<AnswerEngine> | null = null;
  private executions = 0;
  private inFlight = 0;

  constructor(parts: RoleParts<QueueSpec>, load: () => Promise<AnswerEngine>) {
    this.parts = parts;
    this.load = load;
    // Nobody sends a network to an agent that stands alone.
    if (parts.spec.control === undefined) this.loaded().catch((error: unknown) => parts.fail(error));
  }

  readonly executor: AgentExecutor = {
    execute: async ({ payload, from, signal }, queue) => {
      const incoming = readIncoming(payload);
      if (incoming === null) throw new Refusal("bad_request", "expected words, or a data part {questions: [{seq, id, q}]}");
      const caller = from ?? "a stranger";
      if (incoming.kind === "command") queue.enqueue({ type: "agent_parts_message", parts: this.status() });
      else if (incoming.kind === "text") {
        const asked = { seq: 0, id: `words-${this.executions}`, q: incoming.text, attempt: 1 };
        queue.enqueue({ type: "agent_text_message", text: (await this.answer(asked, caller, signal)).answer ?? "" });
      } else {
        const ended = await Promise.allSettled(incoming.questions.map((question) => this.answer(question, caller, signal)));
        const answers = ended.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
        const failed = ended.find((one) => one.status === "rejected");
        // One that cannot be answered does not cost the batch its other answers; it is asked again.
        if (answers.length === 0 && failed !== undefined) throw failed.reason;
        queue.enqueue({ type: "agent_parts_message", parts: [answersPart(answers)] });
      }
    },
    cancel: async () => undefined,
  };

  capabilities = (): readonly string[] => [ANSWERS];

  tasksInFlight = (): number => this.inFlight;

  async handle(message: Exclude<ToAgent, { type: "stop" }>): Promise<FromAgent | null> {
    if (message.type === "network") {
      await this.loaded();
      return { type: "prepared" };
    }
    if (message.type === "feed") this.parts.recorder.setEpoch(message.t0);
    return null;
  }

  async stop(): Promise<void> {
    // What is under way is asked of another worker.
  }

  private loaded(): Promise<AnswerEngine> {
    return (this.engine ??= this.load());
  }

  private status(): Part[] {
    const { agentId, incarnation } = this.parts.self;
    return [{ kind: "data", data: { agentId, incarnation, role: "worker", inFlight: this.inFlight, answered: this.executions } }];
  }

  private async answer(question: AskedQuestion, caller: string, signal: AbortSignal): Promise<GivenAnswer> {
    const { recorder } = this.parts;
    const exec = this.executions++;
    const { id: task, attempt, seq } = question;
    const step = "answer";
    recorder.event({ ev: "step.started", exec, task, step, tool: TOOL, attempt, caller });
    this.inFlight += 1;
    let ok = false;
    try {
      const answer = await (await this.loaded())(question, signal);
      ok = true;
      return { seq, answer };
    } finally {
      this.inFlight -= 1;
      recorder.counters.stepsExecuted += 1;
      recorder.event({ ev: "step.finished", exec, task, step, attempt, ok });
    }
  }
}
