import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock, LlmConfig } from "@failstorm/core";

/** What the server was asked. */
export interface Asked {
  readonly at: number;
  readonly authorization: string | undefined;
  readonly path: string;
  readonly body: {
    readonly model: string;
    readonly stream?: boolean;
    readonly max_tokens?: number;
    readonly max_completion_tokens?: number;
    readonly temperature?: number;
    readonly tool_choice?: string;
    readonly tools?: readonly { readonly function: { readonly name: string } }[];
    readonly messages: readonly { readonly role: string; readonly content: string | null }[];
  };
}

/** One turn of the scripted server: what it does with a request. */
export type Turn = (response: ServerResponse, asked: Asked) => void;

interface FunctionCall {
  readonly name: string;
  readonly input: unknown;
}

const USAGE = { prompt_tokens: 100, completion_tokens: 20, total_tokens: 120 };

const sse = (response: ServerResponse, data: unknown): void => {
  response.write(`data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`);
};
const chunk = (delta: unknown, finish: string | null = null): unknown => ({
  id: "c1",
  object: "chat.completion.chunk",
  choices: [{ index: 0, delta, finish_reason: finish }],
});

export const json =
  (status: number, body: unknown, headers: Record<string, string> = {}): Turn =>
  (response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  };

export const failing = (status: number, headers: Record<string, string> = {}, code = "broken"): Turn =>
  json(status, { error: { message: `no: ${status}`, type: "server", code } }, headers);

const toolCalls = (calls: readonly FunctionCall[]) =>
  calls.map(({ name, input }, index) => ({
    index,
    id: `call-${index}`,
    type: "function",
    function: { name, arguments: typeof input === "string" ? input : JSON.stringify(input) },
  }));

/** A whole reply, streamed or not, as it was asked for. */
function reply(content: string | null, calls: readonly FunctionCall[], finish: string): Turn {
  return (response, asked) => {
    const made = toolCalls(calls);
    if (asked.body.stream !== true) {
      const message = { role: "assistant", content, ...(made.length > 0 ? { tool_calls: made } : {}) };
      json(200, { id: "c1", choices: [{ index: 0, message, finish_reason: finish }], usage: USAGE })(response, asked);
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    sse(response, chunk({ role: "assistant", content: "" }));
    for (const piece of (content ?? "").match(/[\s\S]{1,7}/g) ?? []) sse(response, chunk({ content: piece }));
    for (const { function: called, ...call } of made) {
      // Half of the input comes later, without id and name, as the real one does it.
      const half = Math.floor(called.arguments.length / 2);
      sse(response, chunk({ tool_calls: [{ ...call, function: { ...called, arguments: called.arguments.slice(0, half) } }] }));
      sse(response, chunk({ tool_calls: [{ index: call.index, function: { arguments: called.arguments.slice(half) } }] }));
    }
    sse(response, chunk({}, finish));
    sse(response, { id: "c1", choices: [], usage: USAGE });
    sse(response, "[DONE]");
    response.end();
  };
}

export const says = (content: string, finish = "stop"): Turn => reply(content, [], finish);
export const answers = (answer: string | null, evidence: readonly string[] = []): Turn =>
  says(JSON.stringify({ answer, evidence }));
export const callsFunctions = (...calls: FunctionCall[]): Turn => reply(null, calls, "tool_calls");

/** Half of a reply, then the connection is gone. */
export const cutAfter =
  (text: string): Turn =>
  (response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    sse(response, chunk({ role: "assistant", content: text }));
    // Once the bytes are out.
    response.write(": \n\n", () => response.socket?.destroy());
  };

/** A stream that ends in order, but without a word about its end. */
export const endsEarly =
  (text: string): Turn =>
  (response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    sse(response, chunk({ content: text }));
    response.end();
  };

export const raw =
  (body: string, type: string): Turn =>
  (response) => {
    response.writeHead(200, { "content-type": type });
    response.end(body);
  };

/** Headers and a first word, then nothing more. */
export const hangs: Turn = (response) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  sse(response, chunk({ content: "one moment" }));
};
export const neverAnswers: Turn = () => {};

export const floods: Turn = (response) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  const more = (): void => {
    while (!response.destroyed && response.write(`data: ${JSON.stringify(chunk({ content: "x".repeat(64_000) }))}\n\n`));
    if (!response.destroyed) response.once("drain", more);
  };
  more();
};

async function readBody(request: IncomingMessage): Promise<Asked["body"]> {
  let text = "";
  for await (const piece of request) text += String(piece);
  return JSON.parse(text) as Asked["body"];
}

/** A real HTTP server that speaks the chat-completions API by a script: one turn a request, the last one for ever. */
export async function startEndpoint(clock: Clock, ...script: Turn[]) {
  const asked: Asked[] = [];
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    response.on("error", () => {});
    const body = await readBody(request);
    const one = { at: clock.now(), authorization: request.headers.authorization, path: request.url ?? "", body };
    const turn = script[Math.min(asked.length, script.length - 1)];
    asked.push(one);
    turn?.(response, one);
  };
  const server = createServer((request, response) => void serve(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    asked,
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export const llmConfig = (baseUrl: string, more: Partial<LlmConfig> = {}): LlmConfig => ({
  type: "local",
  model: "tiny",
  baseUrl,
  maxTokens: 256,
  temperature: 0,
  // It begins before the client is loaded, which takes a while where the machine has other things to do.
  timeoutMs: 60_000,
  retries: 2,
  requestsPerMinute: null,
  stream: true,
  maxRounds: 4,
  price: { prompt: 2, completion: 10 },
  ...more,
});

/** A clock on which sleeping takes no time but passes it: what waits for answers of a real server cannot be driven step by step. */
export function instantClock(): Clock {
  let now = 1_000_000;
  return {
    now: () => now,
    wall: () => now,
    after: () => () => {},
    sleep: async (ms, signal) => {
      signal?.throwIfAborted();
      now += ms;
    },
  };
}
