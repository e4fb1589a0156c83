import { InputError, LLM_KEY_VARIABLE, LLM_TYPES, type LlmConfig, type LlmType } from "@failstorm/core";
import { z } from "zod";
import { DEFAULTS } from "./defaults.ts";
import { type Entry, nameEntry, nameOrigin, redact } from "./entry.ts";
import type { ResolvedSettings } from "./settings.ts";

const { llm } = DEFAULTS;

/** Where a provider is reached unless `llm.base_url` says otherwise, and the variable that its users keep their key in. */
const PROVIDERS: Readonly<Record<LlmType, { baseUrl: string | null; keyVariable: string | null }>> = {
  openai: { baseUrl: "https://api.openai.com/v1", keyVariable: "OPENAI_API_KEY" },
  nvidia: { baseUrl: "https://integrate.api.nvidia.com/v1", keyVariable: "NVIDIA_API_KEY" },
  local: { baseUrl: null, keyVariable: null },
};

const typeError = `must be one of ${LLM_TYPES.join(", ")}, or off`;
const type = z.union(
  [z.enum(LLM_TYPES), z.null(), z.union([z.literal("off"), z.literal("none"), z.literal(false)]).transform(() => null)],
  { error: typeError },
);
const orNull = <T extends z.ZodType>(schema: T, error: string) => z.union([schema, z.null()], { error });
const numberOrNull = (min: number, max: number, error: string) => orNull(within(min, max, error), error);
const word = z.union([z.string().min(1), z.number().transform(String)]);
const within = (min: number, max: number, error: string) => z.number({ error }).min(min, { error }).max(max, { error });
const whole = (min: number, max: number, error: string) => within(min, max, error).int({ error });

const pricesError = "must be a list of prices per million tokens, for example [{model: my-model, prompt: 0.15, completion: 0.6}]";
const price = z.strictObject(
  {
    model: z.string({ error: pricesError }).min(1, { error: pricesError }),
    prompt: within(0, 1e6, pricesError),
    completion: within(0, 1e6, pricesError),
  },
  { error: pricesError },
);

const tokensError = "must be a whole number from 1 to 1000000, for example 1024";

/** The section `llm`. Its key never gets further than `resolveLlm`. */
export const llmSchema = z.strictObject({
  type: type.default(llm.type),
  model: orNull(word, "must be a model's name").default(llm.model),
  base_url: orNull(z.string().min(1), "must be a URL, for example http://127.0.0.1:8080/v1").default(llm.base_url),
  api_key: orNull(z.union([z.string(), z.number().transform(String)]), "must be a key, best as ${VARIABLE}").default(llm.api_key),
  max_tokens: z
    .union([whole(1, 1_000_000, tokensError), z.null().transform(() => llm.max_tokens)], { error: tokensError })
    .default(llm.max_tokens),
  temperature: numberOrNull(0, 2, "must be a number from 0 to 2, for example 0").default(llm.temperature),
  timeout: within(0.01, 3600, "must be a number of seconds from 0.01 to 3600, for example 30").default(llm.timeout),
  retries: whole(0, 20, "must be a whole number from 0 to 20, for example 2").default(llm.retries),
  requests_per_minute: numberOrNull(0.1, 1e6, "must be a number from 0.1 to 1000000, for example 60").default(
    llm.requests_per_minute,
  ),
  stream: z.boolean({ error: "must be true or false" }).default(llm.stream),
  max_rounds: whole(1, 50, "must be a whole number from 1 to 50, for example 6").default(llm.max_rounds),
  prices: z.array(price, { error: pricesError }).default([...llm.prices]),
});
export type LlmSettings = z.output<typeof llmSchema>;

interface ResolvedLlm {
  /** As recorded: without the key. */
  readonly settings: LlmSettings;
  readonly key: string | null;
  readonly notes: readonly string[];
}

type Entries = ReadonlyMap<string, Entry>;
type Environment = Readonly<Record<string, string | undefined>>;

const placeOf = (path: string, entries: Entries): string => {
  const entry = entries.get(path);
  if (entry === undefined) return path;
  return entry.origin.kind === "file" ? `${nameOrigin(entry.origin)}: ${path}` : nameOrigin(entry.origin);
};

/**
 * Fills in what the provider decides, and takes the key out of the settings: from `llm.api_key` (also as FAILSTORM_LLM_API_KEY), else from
 * the variable the provider's users keep it in. Throws InputError; no message has the key in it, nor a URL that may.
 */
export function resolveLlm(given: LlmSettings, entries: Entries, env: Environment): ResolvedLlm {
  const { type: provider } = given;
  if (provider === null) {
    rejectUnused(entries);
    return { settings: { ...given, api_key: null }, key: null, notes: [] };
  }
  if (given.model === null)
    throw new InputError(`${placeOf("llm.type", entries)} ${provider}: which model? name it as llm.model`);
  const baseUrl = checkUrl(given, provider, entries);
  const key = findKey(given, provider, entries, env);
  const settings = { ...given, api_key: null, base_url: baseUrl };
  return { settings, key, notes: notesOn(settings, key, entries) };
}

/** Keys of the section that would do nothing. A key (of a provider) that lies in the environment is nobody's mistake. */
function rejectUnused(entries: Entries): void {
  if (entries.get("llm.type")?.value !== undefined && entries.get("llm.type")?.value !== null) return;
  const stray = [...entries.values()].find(
    ({ path, value, origin }) =>
      path.startsWith("llm.") && isSaid(path, value) && !(origin.kind === "env" && path === "llm.api_key"),
  );
  if (stray !== undefined)
    throw new InputError(
      `${nameEntry(stray)}: a model needs llm.type: ${LLM_TYPES.join(", ")}; say which, or remove the section llm (or set llm.type to off)`,
    );
}

/** Whether a value differs from the default. */
const isSaid = (path: string, value: unknown): boolean => {
  const byDefault = new Map<string, unknown>(Object.entries(llm)).get(path.slice("llm.".length));
  return value !== null && JSON.stringify(value) !== JSON.stringify(byDefault);
};

function checkUrl({ base_url }: LlmSettings, provider: LlmType, entries: Entries): string {
  const place = placeOf("llm.base_url", entries);
  const text = base_url ?? PROVIDERS[provider].baseUrl;
  if (text === null)
    throw new InputError(
      `${placeOf("llm.type", entries)} ${provider}: where is it? give llm.base_url, for example http://127.0.0.1:8080/v1`,
    );
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url !== null && (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== ""))
    throw new InputError(`${place}: must have no user, password or query in it; give the key as llm.api_key`);
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new InputError(`${place} ${text}: must be a URL with http or https, for example http://127.0.0.1:8080/v1`);
  return text.replace(/\/+$/, "").replace(/\/chat\/completions$/, "");
}

function findKey({ api_key }: LlmSettings, provider: LlmType, entries: Entries, env: Environment): string | null {
  const { keyVariable } = PROVIDERS[provider];
  const place = placeOf("llm.api_key", entries);
  const said = api_key?.trim() ?? "";
  const key = said === "" && keyVariable !== null ? (env[keyVariable]?.trim() ?? "") : said;
  if (key === "") {
    if (provider === "local") return null;
    throw new InputError(
      `${placeOf("llm.type", entries)} ${provider}: needs a key; set the environment variable ${keyVariable} or ${LLM_KEY_VARIABLE}, or say llm.api_key: \${VARIABLE}`,
    );
  }
  if (key === redact("", "api_key")) throw new InputError(`${place}: *** stands for a key that was not recorded; give the key`);
  if (/^\$\{.*\}$/.test(key))
    throw new InputError(`${place}: \${VARIABLE} is replaced in files only; set the environment variable ${LLM_KEY_VARIABLE}`);
  if (!/^[\x21-\x7e]+$/.test(key))
    throw new InputError(`${place}: the key must be one word of printable ASCII characters; look for spaces or line ends in it`);
  return key;
}

/** Node's fetch gives up when the headers of a reply, or its next piece, take longer. */
const PLATFORM_PATIENCE_SECONDS = 300;
const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/;

function notesOn(settings: LlmSettings & { base_url: string }, key: string | null, entries: Entries): string[] {
  const { protocol, hostname } = new URL(settings.base_url);
  const notes: string[] = [];
  if (key !== null && protocol === "http:" && !LOOPBACK.test(hostname))
    notes.push(`${placeOf("llm.base_url", entries)} ${settings.base_url}: the key travels unencrypted; use https`);
  if (settings.prices.length > 0 && priceOf(settings) === null)
    notes.push(`${placeOf("llm.prices", entries)}: has no price for ${settings.model}: cost will be null`);
  if (settings.timeout > PLATFORM_PATIENCE_SECONDS)
    notes.push(
      `${placeOf("llm.timeout", entries)} ${settings.timeout}: a reply that says nothing for ${PLATFORM_PATIENCE_SECONDS} s is given up all the same${settings.stream ? "" : "; with llm.stream true it may take longer as a whole"}`,
    );
  const { value } = entries.get("tasks.think_time") ?? { value: undefined };
  if (value !== undefined && value !== DEFAULTS.tasks.think_time)
    notes.push(`${placeOf("tasks.think_time", entries)}: not used, as a model thinks`);
  return notes;
}

/** What a storm with a model should be told before it starts; a queue has a deadline of its own. */
export function modelWarning({ llm: { type: provider, timeout }, tasks: { deadline } }: ResolvedSettings): string | null {
  if (provider === null || deadline >= timeout) return null;
  return `tasks.deadline ${deadline}: a task of several steps has less time than one request to the model may take (llm.timeout ${timeout})`;
}

const priceOf = ({ model, prices }: LlmSettings): LlmConfig["price"] => {
  const found = prices.find((one) => one.model === model);
  return found === undefined ? null : { prompt: found.prompt, completion: found.completion };
};

/** Resolved settings → what agents are given; `ms` scales seconds. null: the deterministic workers. */
export function toLlmConfig(settings: LlmSettings, ms: (seconds: number) => number): LlmConfig | null {
  const { type: provider, model, base_url: baseUrl } = settings;
  if (provider === null || model === null || baseUrl === null) return null;
  return {
    type: provider,
    model,
    baseUrl,
    maxTokens: settings.max_tokens,
    temperature: settings.temperature,
    timeoutMs: ms(settings.timeout),
    retries: settings.retries,
    requestsPerMinute: settings.requests_per_minute,
    stream: settings.stream,
    maxRounds: settings.max_rounds,
    price: priceOf(settings),
  };
}
