import type { LlmStatus } from "@failstorm/core";
import type { Attempt } from "./endpoint.ts";
import { ReplyTooLarge } from "./boundedFetch.ts";

type Failure = Omit<Attempt, "text" | "calls" | "usage">;

/** What the client's error is in our words. `began`: part of the reply had come. */
export function classify(
  error: unknown,
  context: { readonly code: number | null; readonly began: boolean; readonly wallMs: () => number },
): Failure {
  const silent = { code: context.code, retryAfterMs: null, shouldRetry: null, detail: null };
  if (hasCause(error, (cause) => cause instanceof ReplyTooLarge)) return { ...silent, status: "too_large", shouldRetry: false };
  const { status, headers, message } = error as { status?: unknown; headers?: unknown; message?: unknown };
  if (typeof status === "number") {
    const given = headers instanceof Headers ? headers : new Headers();
    return {
      status: statusOfCode(status),
      code: status,
      retryAfterMs: readRetryAfter(given, context.wallMs),
      shouldRetry: isExhausted(error) ? false : readShouldRetry(given),
      detail: `HTTP ${status}${explain(status, message)}`,
    };
  }
  // The stream itself carried an error object: the provider's, after it had said 200.
  if (isProviderError(error)) return { ...silent, status: "server_error" };
  if (error instanceof SyntaxError) return { ...silent, status: "garbage" };
  // The platform's own patience, which is 300 s for the headers and between two pieces of the body.
  const reason = causeCode(error);
  if (reason === "UND_ERR_HEADERS_TIMEOUT" || reason === "UND_ERR_BODY_TIMEOUT") return { ...silent, status: "timeout" };
  // Headers had come: it is the body that did not come to its end.
  if (context.code !== null || context.began) return { ...silent, status: "cut" };
  return { ...silent, status: isConnectionError(error) ? "unreachable" : "garbage", detail: reason };
}

function statusOfCode(code: number): LlmStatus {
  if (code === 429) return "rate_limited";
  if (code >= 500 || code === 408 || code === 409) return "server_error";
  if (code === 401 || code === 403) return "unauthorized";
  return "rejected";
}

/** What a provider says to a refused key may show parts of the key: it is not passed on. */
const explain = (code: number, message: unknown): string =>
  code === 401 || code === 403 || typeof message !== "string" ? "" : `: ${message.replace(/^\d{3} /, "")}`;

/** A 429 of another kind: there is no credit left, and waiting brings none. */
const isExhausted = (error: unknown): boolean => (error as { code?: unknown }).code === "insufficient_quota";

function readShouldRetry(headers: Headers): boolean | null {
  const said = headers.get("x-should-retry");
  return said === "true" ? true : said === "false" ? false : null;
}

/**
 * RFC 9110 §10.2.3 (seconds, or a date), and OpenAI's finer `retry-after-ms`. No time to come (0, a negative number, a date gone by) is
 * none: with it every attempt would follow the one before at once.
 */
function readRetryAfter(headers: Headers, wallMs: () => number): number | null {
  const ms = Number(headers.get("retry-after-ms") ?? Number.NaN);
  if (ms > 0) return ms;
  const said = headers.get("retry-after")?.trim() ?? "";
  const seconds = Number(said);
  const delayMs = Number.isNaN(seconds) ? Date.parse(said) - wallMs() : seconds * 1000;
  return delayMs > 0 ? delayMs : null;
}

function hasCause(error: unknown, matches: (cause: Error) => boolean): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) if (matches(cause)) return true;
  return false;
}

const nameOf = (error: unknown): string => (error instanceof Error ? error.constructor.name : "");
// By name: loading the client's classes would load the client.
const isConnectionError = (error: unknown): boolean => nameOf(error).startsWith("APIConnection");
const isProviderError = (error: unknown): boolean => nameOf(error) === "APIError";

/** ECONNREFUSED, ENOTFOUND, …: the user may be able to help. */
function causeCode(error: unknown): string | null {
  let code: string | null = null;
  hasCause(error, (cause) => {
    const found = (cause as NodeJS.ErrnoException).code;
    if (typeof found === "string") code = found;
    return false;
  });
  return code;
}
