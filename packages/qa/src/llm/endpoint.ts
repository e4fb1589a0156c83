import type { LlmConfig, LlmStatus } from "@failstorm/core";
import type OpenAI from "openai";
import type { ChatCompletionCreateParamsNonStreaming, ChatCompletionMessageParam } from "openai/resources/chat/completions";
import { boundedFetch } from "./boundedFetch.ts";
import { classify } from "./failure.ts";
import { collectStream, readCompletion, type Said } from "./reply.ts";
import { withoutSecret } from "./secret.ts";

export type Message = ChatCompletionMessageParam;

/** A function as the model is told of it; `parameters` is a JSON schema. */
export interface OfferedFunction {
  readonly name: string;
  readonly description: string;
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** A call of a function; `input` is as the model wrote it, mostly JSON. */
export interface FunctionCall {
  readonly id: string;
  readonly name: string;
  readonly input: string;
}

/** How one request ended. */
export interface Attempt {
  readonly status: LlmStatus;
  /** What had been said, half of it when the status says so. */
  readonly text: string;
  readonly calls: readonly FunctionCall[];
  /** HTTP; null when no answer came. */
  readonly code: number | null;
  readonly usage: { readonly prompt: number; readonly completion: number } | null;
  /** From the answer's headers: how long to wait before the next attempt. */
  readonly retryAfterMs: number | null;
  /** The provider's word on whether to try again; null = it said none. */
  readonly shouldRetry: boolean | null;
  /** For the user, without secrets; null when all is well. */
  readonly detail: string | null;
}

export interface Endpoint {
  /** Never rejects. */
  ask(request: {
    readonly messages: readonly Message[];
    readonly functions: readonly OfferedFunction[];
    readonly mayCall: boolean;
    readonly signal: AbortSignal;
  }): Promise<Attempt>;
}

/** Characters of what a provider says of a failure. */
const MAX_DETAIL = 200;

/** Stands for a key where the endpoint wants none; the header that would carry it is left out. */
const NO_KEY = "none";

interface EndpointOptions {
  readonly config: LlmConfig;
  readonly apiKey: string | null;
  readonly fetch?: typeof globalThis.fetch;
  readonly wallMs: () => number;
}

/**
 * The official client, loaded in the background (it takes a quarter of a second) and stripped of what it does by itself: retries, which
 * would not be recorded; logging; and headers from variables of the environment that belong to another provider.
 */
async function createClient({ config, apiKey, fetch }: EndpointOptions): Promise<OpenAI> {
  // The client takes it from there by itself, and no option says otherwise.
  if (config.type !== "openai") delete process.env["OPENAI_CUSTOM_HEADERS"];
  const { default: Client } = await import("openai");
  return new Client({
    apiKey: apiKey ?? NO_KEY,
    adminAPIKey: null,
    ...(config.type === "openai" ? {} : { organization: null, project: null }),
    ...(apiKey === null ? { defaultHeaders: { authorization: null } } : {}),
    baseURL: config.baseUrl,
    fetch: boundedFetch(fetch ?? globalThis.fetch),
    maxRetries: 0,
    // Ours comes first: it also ends a reply that trickles.
    timeout: config.timeoutMs * 2,
    logLevel: "off",
  });
}

export function connectEndpoint(options: EndpointOptions): Endpoint {
  const { config, apiKey } = options;
  const client = createClient(options);
  client.catch(() => {});
  return {
    async ask({ messages, functions, mayCall, signal }) {
      const patience = AbortSignal.timeout(Math.max(1, Math.ceil(config.timeoutMs)));
      const said: Said = { text: "", calls: [], finish: null, usage: null, failed: false };
      const body = requestBody(config, messages, functions, mayCall);
      let code: number | null = null;
      try {
        const { completions } = (await client).chat;
        const send = { signal: AbortSignal.any([signal, patience]) };
        if (config.stream) {
          const streamed = completions.create({ ...body, stream: true, stream_options: { include_usage: true } }, send);
          const { data, response } = await streamed.withResponse();
          code = response.status;
          await collectStream(data, said);
        } else {
          const sent = completions.create(body, send);
          // Known before the body, which may break off.
          code = (await sent.asResponse()).status;
          readCompletion(await sent, said);
        }
        signal.throwIfAborted();
        patience.throwIfAborted();
        return ended(said, whole(said, code), apiKey);
      } catch (error) {
        // All that is missing is what comes after the reply, the count of its tokens or the end of the stream: asking again would cost another.
        if (said.finish !== null && !signal.aborted) return ended(said, whole(said, code), apiKey);
        const failure = signal.aborted
          ? ({ status: "aborted", code, retryAfterMs: null, shouldRetry: false, detail: null } as const)
          : patience.aborted
            ? ({ status: "timeout", code, retryAfterMs: null, shouldRetry: null, detail: null } as const)
            : classify(error, { code, began: said.text !== "" || said.calls.length > 0, wallMs: options.wallMs });
        return ended(said, failure, apiKey);
      }
    },
  };
}

function requestBody(
  config: LlmConfig,
  messages: readonly Message[],
  functions: readonly OfferedFunction[],
  mayCall: boolean,
): ChatCompletionCreateParamsNonStreaming {
  return {
    model: config.model,
    messages: [...messages],
    // OpenAI's newer models refuse the old name, most other servers do not know the new one.
    ...(config.type === "openai" ? { max_completion_tokens: config.maxTokens } : { max_tokens: config.maxTokens }),
    ...(config.temperature === null ? {} : { temperature: config.temperature }),
    ...(functions.length === 0
      ? {}
      : {
          tools: functions.map(({ name, description, parameters }) => ({
            type: "function" as const,
            function: { name, description, parameters: { ...parameters } },
          })),
          tool_choice: mayCall ? ("auto" as const) : ("none" as const),
        }),
  };
}

const whole = (said: Said, code: number | null): Omit<Attempt, "text" | "calls" | "usage"> => ({
  status: statusOf(said),
  code,
  retryAfterMs: null,
  shouldRetry: null,
  detail: null,
});

function statusOf({ finish, text, calls, failed }: Said): LlmStatus {
  if (failed || finish === "error") return "server_error";
  if (finish === "length") return "length";
  if (finish === "content_filter") return "filtered";
  if (finish !== null) return "ok";
  return text === "" && calls.length === 0 ? "garbage" : "cut";
}

/** A server may repeat what it was sent, the key included: no word of it goes further, nor the half of it that a cut would leave. */
const ended = (said: Said, how: Omit<Attempt, "text" | "calls" | "usage">, apiKey: string | null): Attempt => ({
  ...how,
  detail:
    how.detail === null
      ? null
      : withoutSecret(how.detail, apiKey)
          .replaceAll(/[\s\p{Cc}]+/gu, " ")
          .slice(0, MAX_DETAIL),
  text: withoutSecret(said.text, apiKey),
  calls: said.calls.map((call) => ({
    id: withoutSecret(call.id, apiKey),
    name: withoutSecret(call.name, apiKey),
    input: withoutSecret(call.input, apiKey),
  })),
  usage: said.usage,
});
