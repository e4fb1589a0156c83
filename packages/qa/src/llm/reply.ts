import type { ChatCompletionChunk } from "openai/resources/chat/completions";
import type { Attempt, FunctionCall } from "./endpoint.ts";

/** What a model has said so far. */
export interface Said {
  text: string;
  calls: FunctionCall[];
  /** `stop`, `tool_calls`, `length`, …; null until the reply is whole. */
  finish: string | null;
  usage: Attempt["usage"];
  /** The provider said that it failed, with the code of a success. */
  failed: boolean;
}

const MAX_CALLS = 64;

// Whatever the types promise, a server may send anything: everything is read as unknown.
const asObject = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
const asList = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const asText = (value: unknown): string => (typeof value === "string" ? value : "");

/** `content` is a text, null, or (some servers) a list of parts. */
const contentOf = (content: unknown): string =>
  Array.isArray(content) ? content.map((part) => asText(asObject(part)["text"])).join("") : asText(content);

function usageOf(value: unknown): Attempt["usage"] {
  const { prompt_tokens: prompt, completion_tokens: completion } = asObject(value);
  const isCount = (count: unknown): count is number => Number.isSafeInteger(count) && Number(count) >= 0;
  return isCount(prompt) && isCount(completion) ? { prompt, completion } : null;
}

/** Reads an answer given in one piece. What is none leaves `said` as it was. */
export function readCompletion(completion: unknown, said: Said): void {
  const { choices, usage, error } = asObject(completion);
  const choice = asObject(asList(choices)[0]);
  const message = asObject(choice["message"]);
  said.usage = usageOf(usage);
  said.text = contentOf(message["content"]);
  said.calls = asList(message["tool_calls"])
    .slice(0, MAX_CALLS)
    .map((call, index) => {
      const { id, function: called } = asObject(call);
      const { name, arguments: input } = asObject(called);
      return { id: asText(id) || `call-${index}`, name: asText(name), input: asText(input) };
    });
  const isReply = typeof choice["message"] === "object" && choice["message"] !== null;
  said.finish = isReply ? asText(choice["finish_reason"]) || "stop" : null;
  said.failed = !isReply && error !== undefined && error !== null;
}

/** Adds what a stream brings, piece by piece, so that a stream that breaks leaves what had come. */
export async function collectStream(stream: AsyncIterable<ChatCompletionChunk>, said: Said): Promise<void> {
  for await (const chunk of stream as AsyncIterable<unknown>) {
    const { choices, usage } = asObject(chunk);
    said.usage = usageOf(usage) ?? said.usage;
    const choice = asObject(asList(choices)[0]);
    const delta = asObject(choice["delta"]);
    said.text += contentOf(delta["content"]);
    for (const piece of asList(delta["tool_calls"])) addCall(asObject(piece), said);
    said.finish = asText(choice["finish_reason"]) || said.finish;
  }
}

/**
 * The pieces of a call share its `index`; the first has id and name, the others more of the input. Some servers repeat id and name in every
 * piece, make up an id for each, or number all calls 0 or not at all: a name with an id of its own is another call.
 */
function addCall(piece: Readonly<Record<string, unknown>>, said: Said): void {
  const { index: given, id, function: called } = piece;
  const { name, arguments: input } = asObject(called);
  const at = typeof given === "number" && Number.isInteger(given) && given >= 0 ? given : Math.max(0, said.calls.length - 1);
  const { id: knownId = "", name: knownName = "" } = said.calls[at] ?? {};
  const isAnother = knownName !== "" && asText(name) !== "" && asText(id) !== "" && asText(id) !== knownId;
  const index = isAnother ? said.calls.length : at;
  if (index >= MAX_CALLS) return;
  while (said.calls.length <= index) said.calls.push({ id: `call-${said.calls.length}`, name: "", input: "" });
  const known = said.calls[index] as FunctionCall;
  const more = known.name === asText(name) ? "" : asText(name);
  said.calls[index] = { id: asText(id) || known.id, name: known.name + more, input: known.input + asText(input) };
}
