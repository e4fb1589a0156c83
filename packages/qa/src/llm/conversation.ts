import type { ModelOutcome } from "@failstorm/core";
import type { FunctionCall, Message, OfferedFunction } from "./endpoint.ts";
import type { Model, Purpose } from "./model.ts";

/** A function the model may call. What `run` throws is told to the model. */
export interface ModelFunction extends OfferedFunction {
  run(input: unknown): Promise<unknown>;
}

interface Task<T> {
  readonly model: Model;
  readonly purpose: Purpose;
  readonly signal: AbortSignal;
  readonly instructions: string;
  readonly input: string;
  readonly functions: readonly ModelFunction[];
  /** Checks the model's last message, as JSON; throws, for the model to read, when it is not what was asked for. */
  readonly read: (value: unknown) => T;
}

export interface Ended<T> {
  /** null unless the outcome is `ok`. */
  readonly result: T | null;
  readonly outcome: ModelOutcome;
  /** Replies of the model. */
  readonly rounds: number;
  readonly calls: number;
  /** Calls of functions that are not there. */
  readonly unknownCalls: number;
}

const MAX_CALLS_PER_ROUND = 8;
/** Characters of what a function gives back; more would crowd the model's context. */
const MAX_RESULT = 16_000;
/** Of a function's name, by OpenAI's rules. */
const MAX_NAME = 64;

/**
 * Lets the model work on a task: it may call functions, sees what they give, and ends with a result, within the rounds it has. A
 * message that is no result is answered with why, and counts as a round. Never rejects.
 */
export async function converse<T>(task: Task<T>): Promise<Ended<T>> {
  const { model, purpose, signal, functions } = task;
  const { maxRounds } = model.config;
  const messages: Message[] = [
    { role: "system", content: task.instructions },
    { role: "user", content: task.input },
  ];
  const counts = { rounds: 0, calls: 0, unknownCalls: 0 };
  const without = (outcome: ModelOutcome): Ended<T> => ({ result: null, outcome, ...counts });
  for (;;) {
    const isLast = counts.rounds + 1 >= maxRounds;
    const reply = await model.ask({ messages, functions, mayCall: !isLast, purpose, signal });
    counts.rounds += 1;
    if (reply.status !== "ok") return without(reply.status);
    if (reply.calls.length === 0) {
      const result = readResult(task, reply.text);
      if ("value" in result) return { result: result.value, outcome: "ok", ...counts };
      if (isLast) return without("nonsense");
      messages.push({ role: "assistant", content: reply.text }, { role: "user", content: result.problem });
      continue;
    }
    if (isLast) return without("endless");
    counts.calls += reply.calls.length;
    counts.unknownCalls += reply.calls.filter(({ name }) => !functions.some((known) => known.name === name)).length;
    messages.push({
      role: "assistant",
      content: reply.text === "" ? null : reply.text,
      tool_calls: reply.calls.map(asHistory),
    });
    for (const [index, call] of reply.calls.entries()) {
      const content = index < MAX_CALLS_PER_ROUND ? await runCall(functions, call) : problem("too many calls at a time");
      if (signal.aborted) return without("aborted");
      messages.push({ role: "tool", tool_call_id: call.id, content });
    }
  }
}

/**
 * A call as the provider takes it back. Some refuse the whole conversation for a name or an input that is none, although it was their model
 * that made it up.
 */
function asHistory({ id, name, input }: FunctionCall) {
  const named = name.replaceAll(/[^\w-]/g, "_").slice(0, MAX_NAME) || "unnamed";
  return { id, type: "function" as const, function: { name: named, arguments: isJson(input) ? input : "{}" } };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function readResult<T>({ read }: Task<T>, text: string): { value: T } | { problem: string } {
  try {
    return { value: read(parseJson(text)) };
  } catch (error) {
    return { problem: `That is not the result that was asked for (${messageOf(error)}). Send the one JSON object.` };
  }
}

/** Models like to wrap JSON: in a fence, in words. Throws SyntaxError when there is none. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1)) as unknown;
  }
}

async function runCall(functions: readonly ModelFunction[], { name, input }: FunctionCall): Promise<string> {
  const known = functions.find((candidate) => candidate.name === name);
  if (known === undefined) return problem(`there is no such function; there are ${functions.map((one) => one.name).join(", ")}`);
  try {
    const text = JSON.stringify((await known.run(JSON.parse(input === "" ? "{}" : input))) ?? null);
    return text.length <= MAX_RESULT ? text : `${text.slice(0, MAX_RESULT)} … (cut)`;
  } catch (error) {
    return problem(messageOf(error));
  }
}

const problem = (message: string): string => JSON.stringify({ error: message });
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
