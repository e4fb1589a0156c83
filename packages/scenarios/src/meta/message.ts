import { type AgentId, type Clock, type CommErrorCode, type SendResult, toCommError, type Traffic } from "@failstorm/core";
import type { Tally } from "./tally.ts";

/** What came of a message; a failure is a value: no text, no data, and its code. */
export interface TaskResult {
  readonly worker: AgentId;
  /** The protocol it went by. */
  readonly protocol: string;
  /** The answer as the protocol delivered it; the error where there was none. */
  readonly raw: unknown;
  readonly text: string;
  /** What the worker answered; null after a failure. */
  readonly data: unknown;
  readonly ms: number;
  readonly error: CommErrorCode | null;
  /** Says what the error was; "" without one. */
  readonly message: string;
}

interface Message {
  /** What the sender hosts, or who it is. */
  readonly caller: string;
  readonly worker: AgentId;
  /** Whose answer is wanted, where the worker only passes the message on; null: its own. */
  readonly target: AgentId | null;
  readonly send: (signal: AbortSignal) => Promise<SendResult>;
  /** What an agent hosts, joined by `+`. */
  readonly label: (agent: AgentId) => string;
  readonly clock: Clock;
  readonly tally: Tally;
  readonly attemptTimeoutMs: number;
  /** Aborts when nobody waits for answers any more. */
  readonly end?: AbortSignal;
}

type Answer = Pick<TaskResult, "raw" | "text" | "data" | "error" | "message">;

/** Sends one message, and takes down what came of it. Never throws. */
export async function sendMessage(options: Message): Promise<TaskResult> {
  const { worker, target, clock, tally, caller, end } = options;
  const startedAt = clock.now();
  // A time-out of the platform is whole milliseconds; a scaled time need not be.
  const deadline = AbortSignal.timeout(Math.ceil(options.attemptTimeoutMs));
  const signal = end === undefined ? deadline : AbortSignal.any([deadline, end]);
  let traffic: Traffic | undefined;
  let answer: Answer;
  try {
    const result = await options.send(signal);
    traffic = result.traffic;
    answer = answerIn(result, target);
  } catch (error) {
    const failure = toCommError(error, worker, signal);
    traffic = (error as { traffic?: Traffic }).traffic;
    answer = { raw: failure, text: "", data: null, error: failure.code, message: failure.message };
  }
  const ms = clock.now() - startedAt;
  const protocol = traffic?.protocol ?? options.label(worker);
  const { bytesSent = 0, bytesReceived = 0 } = traffic ?? {};
  tally.add({ caller, callee: protocol, to: worker, ms, bytesSent, bytesReceived, error: answer.error });
  return { worker, protocol, ms, ...answer };
}

type Reply =
  | { readonly ok: true; readonly data: unknown }
  | { readonly ok: false; readonly code: string; readonly message: string };

const isReply = (value: unknown): value is Reply => typeof (value as { ok?: unknown } | undefined)?.ok === "boolean";

/** What the worker's data part says. */
function answerIn({ parts, raw, text }: SendResult, target: AgentId | null): Answer {
  const part = parts.find((candidate) => candidate.kind === "data");
  if (part === undefined) return { raw, text: "", data: null, error: "protocol", message: "the answer has no data part" };
  const reply = target === null ? part.data : (part.data as Record<string, unknown> | null)?.[target];
  if (target !== null && !isReply(reply))
    return { raw, text: "", data: null, error: "protocol", message: `the answer says nothing of ${target}` };
  if (!isReply(reply)) return { raw, text, data: part.data, error: null, message: "" };
  if (reply.ok) return { raw, text, data: reply.data, error: null, message: "" };
  return { raw, text: "", data: null, error: "remote", message: `${reply.code}: ${reply.message}` };
}
