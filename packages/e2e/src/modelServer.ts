import fastify, { type FastifyReply } from "fastify";

/** What a request to the chat-completions API is read for. */
interface ChatRequest {
  readonly stream?: boolean;
  readonly tools?: readonly { readonly function: { readonly name: string } }[];
  readonly messages: readonly { readonly role: string; readonly content: string | null }[];
}

interface Say {
  readonly content?: string;
  readonly call?: { readonly name: string; readonly input: string };
}

/** A way of going wrong: what is sent in place of the reply. */
type Fault = (reply: FastifyReply, authorization: string) => unknown;

const USAGE = { prompt_tokens: 200, completion_tokens: 30, total_tokens: 230 };

const chunk = (delta: unknown, finish: string | null): string =>
  `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;

function stream(reply: FastifyReply, text: string, cut: boolean): void {
  reply.hijack();
  reply.raw.writeHead(200, { "content-type": "text/event-stream" });
  if (cut) reply.raw.write(text, () => reply.raw.socket?.destroy());
  else reply.raw.end(text);
}

const sayStreamed = ({ content, call }: Say): string => {
  const delta =
    call === undefined
      ? { content }
      : {
          tool_calls: [{ index: 0, id: "call-0", type: "function", function: { name: call.name, arguments: call.input } }],
        };
  const usage = `data: ${JSON.stringify({ id: "c", choices: [], usage: USAGE })}\n\n`;
  return `${chunk(delta, null)}${chunk({}, call === undefined ? "stop" : "tool_calls")}${usage}data: [DONE]\n\n`;
};

/** What goes wrong, in turn; a server that repeats the key it was sent is among it. */
const FAULTS: readonly Fault[] = [
  (reply) =>
    reply
      .code(429)
      .header("retry-after", "0.1")
      .send({ error: { message: "slow down" } }),
  (reply) => reply.code(500).send({ error: { message: "broken" } }),
  (reply) => stream(reply, chunk({ content: '{"answer": "half a' }, null), true),
  (reply) => reply.type("application/json").send('{"choices": ['),
  (reply) => stream(reply, sayStreamed({ call: { name: "launch_missiles", input: "{}" } }), false),
  (reply, authorization) => reply.code(400).send({ error: { message: `what is ${authorization}?` } }),
  (reply, authorization) => stream(reply, sayStreamed({ content: `{"answer": "you sent ${authorization}"}` }), false),
];

const OTHERS = new Set(["lookup_fragment", "send_message"]);

/** The home tool's output in the form in which a model gives its result. */
function resultOf(tool: string, output: string): string {
  const { hits } = JSON.parse(output) as { hits?: readonly { id: string }[] };
  return tool === "search" && hits !== undefined ? JSON.stringify({ passages: hits.map(({ id }) => id) }) : output;
}

/** Answers a question with the title of the best passage it finds: an answer, mostly a wrong one. */
function answerFrom({ messages }: ChatRequest, names: readonly string[]): Say {
  const last = messages.at(-1);
  if (last?.role !== "tool" && names.includes("lookup_fragment"))
    return { call: { name: "lookup_fragment", input: JSON.stringify({ query: messages[1]?.content ?? "", top_k: 1 }) } };
  const found = last?.role === "tool" && last.content?.startsWith("[") === true ? (JSON.parse(last.content) as unknown[]) : [];
  const [best] = found as { id: string; title: string }[];
  return { content: JSON.stringify(best === undefined ? { answer: null } : { answer: best.title, evidence: [best.id] }) };
}

/** A model that knows two things: to ask a search agent before it extracts, and to repeat what its home tool gave. */
function think(request: ChatRequest): Say {
  const { tools = [], messages } = request;
  const names = tools.map(({ function: one }) => one.name);
  const tool = names.find((name) => !OTHERS.has(name));
  if (tool === undefined) return answerFrom(request, names);
  const last = messages.at(-1);
  const isFirst = !messages.some(({ role }) => role === "tool");
  if (tool === "extract" && isFirst && names.includes("send_message")) {
    const { entity = "where", question = entity } = JSON.parse(messages[1]?.content ?? "{}") as Record<string, string>;
    return { call: { name: "send_message", input: JSON.stringify({ tool: "search", input: { query: question, topK: 1 } }) } };
  }
  const output = last?.role === "tool" ? (last.content ?? "") : "";
  const isOutput = output !== "" && !output.startsWith('{"error"') && !(tool === "extract" && output.startsWith('{"hits"'));
  return isOutput ? { content: resultOf(tool, output) } : { call: { name: tool, input: "{}" } };
}

export interface ModelServer {
  readonly baseUrl: string;
  /** Requests so far, and the different `Authorization` headers among them. */
  readonly requests: () => number;
  readonly authorizations: ReadonlySet<string | undefined>;
  close(): Promise<void>;
}

/**
 * A server with OpenAI's chat completions and no model behind it: it lets the deterministic tools answer, so that a run with it has
 * right answers. Each `faultEvery`-th request goes wrong in another way (0 = none).
 */
export async function startModelServer(options: { readonly faultEvery: number }): Promise<ModelServer> {
  const server = fastify({ forceCloseConnections: true });
  const authorizations = new Set<string | undefined>();
  let requests = 0;
  let faults = 0;
  server.post<{ Body: ChatRequest }>("/v1/chat/completions", async (request, reply) => {
    const { authorization } = request.headers;
    authorizations.add(authorization);
    requests += 1;
    if (options.faultEvery > 0 && requests % options.faultEvery === 0)
      return FAULTS[faults++ % FAULTS.length]?.(reply, authorization ?? "");
    const said = think(request.body);
    if (request.body.stream === true) return stream(reply, sayStreamed(said), false);
    const { content = null, call } = said;
    const calls =
      call === undefined ? [] : [{ id: "call-0", type: "function", function: { name: call.name, arguments: call.input } }];
    const message = { role: "assistant", content, ...(calls.length > 0 ? { tool_calls: calls } : {}) };
    return { id: "c", choices: [{ index: 0, message, finish_reason: calls.length > 0 ? "tool_calls" : "stop" }], usage: USAGE };
  });
  const url = await server.listen({ host: "127.0.0.1", port: 0 });
  return {
    baseUrl: `${url}/v1`,
    requests: () => requests,
    authorizations,
    close: () => server.close(),
  };
}
