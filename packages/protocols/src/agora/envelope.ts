import { type AgentId, CommError, type MeteredResponse } from "@failstorm/core";
import { normalHash } from "./document.ts";

export type Json = Record<string, unknown>;
export type Body = string | Json;

/** An object, and no array: what Agora calls a JSON object. */
export const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);

/** The Python library's name of the protocol in which protocols are negotiated, used in place of a hash. */
export const LIBRARY_NEGOTIATION = "negotiation";

export interface AgoraRequest {
  /** In the spec's form where it is a hash at all; null = no protocol. */
  readonly protocolHash: string | null;
  readonly sources: readonly string[];
  readonly body: Body;
  readonly multiround: boolean;
}

/** An answer that is none: `http` 200 for errors of the Agora level (spec 10.2), 4xx and 5xx for those of the transport (10.1). */
export interface Failure {
  readonly http: number;
  readonly error: string;
}

export const failureBody = (error: string) => ({ status: "failure", error }) as const;

const malformed = (error: string): Failure => ({ http: 400, error });
export const isFailure = (value: object): value is Failure => "http" in value;

/** The sources that are texts. What the spec's "optional format" may be is anybody's guess: passed over, like the demo's `[null]`. */
function sourcesOf(value: unknown): readonly string[] | null {
  if (value === undefined || value === null || isObject(value)) return [];
  if (typeof value === "string") return [value];
  if (!Array.isArray(value)) return null;
  const texts = value.filter((source) => source !== null && !isObject(source));
  return texts.every((source) => typeof source === "string") ? texts : null;
}

/** Reads a request (spec 6.1), in either dialect. Fields that are not known are ignored. */
export function readRequest(value: unknown): AgoraRequest | Failure {
  if (!isObject(value)) return malformed("the request is not a JSON object");
  const { protocolHash, protocolSources, body, multiround } = value;
  if (protocolHash !== undefined && protocolHash !== null && typeof protocolHash !== "string")
    return malformed("protocolHash is neither a string nor null");
  const sources = sourcesOf(protocolSources);
  if (sources === null) return malformed("protocolSources is not a list of strings");
  if (multiround !== undefined && multiround !== null && typeof multiround !== "boolean")
    return malformed("multiround is neither true nor false");
  if (body === undefined) return { http: 200, error: "Missing field 'body'" };
  if (typeof body !== "string" && !isObject(body)) return malformed("body is neither a string nor an object");
  return {
    protocolHash: typeof protocolHash === "string" ? normalHash(protocolHash) : null,
    sources,
    body,
    multiround: multiround === true,
  };
}

/** What a server answered. */
export type AgoraAnswer =
  | {
      readonly status: "success";
      readonly raw: Json;
      readonly body: unknown;
      readonly conversationId: string | null;
      /** Unix seconds, or null when the server does not say. */
      readonly conversationExpires: number | null;
    }
  | { readonly status: "failure"; readonly raw: Json; readonly error: string; readonly http: number };

/**
 * Reads an answer: the spec's (`failure`, `error`), the library's (`error`, `message`) or that of older drafts (`rejected`). An error of
 * the transport is its HTTP status, and need not be JSON (spec 10.1). Throws CommError `protocol` when a success is no JSON object, or
 * has no `status`.
 */
export function readAnswer(response: MeteredResponse, peer: AgentId): AgoraAnswer {
  const succeeded = response.status >= 200 && response.status < 300;
  let raw: unknown = null;
  try {
    raw = JSON.parse(response.body.toString("utf8"));
  } catch (cause) {
    if (succeeded)
      throw new CommError("protocol", peer, `${peer}: HTTP ${response.status} with a body that is not JSON`, { cause });
  }
  if (!isObject(raw)) {
    if (succeeded) throw new CommError("protocol", peer, `${peer}: the answer is not a JSON object`, { detail: raw });
    return { status: "failure", raw: {}, error: `HTTP ${response.status}`, http: response.status };
  }
  const { status, body, conversationId, conversationExpires } = raw;
  if (succeeded && status === "success")
    return {
      status,
      raw,
      body,
      conversationId: typeof conversationId === "string" ? conversationId : null,
      conversationExpires: typeof conversationExpires === "number" ? conversationExpires : null,
    };
  if (succeeded && status !== "failure" && status !== "error" && status !== "rejected")
    throw new CommError("protocol", peer, `${peer}: the answer has no Agora status`, { detail: raw });
  const words = [raw["error"], raw["message"]].find((text) => typeof text === "string");
  return { status: "failure", raw, error: typeof words === "string" ? words : String(status), http: response.status };
}

/** A failure as the caller's error. */
export const remoteError = (peer: AgentId, { error, http }: { error: string; http: number }): CommError =>
  new CommError("remote", peer, `${peer}: ${error}`, { detail: { http, error } });

/** Whether the failure says that the peer does not have, or does not want, the protocol: in the spec's words, or the library's. */
export const isUnsupported = (answer: AgoraAnswer): boolean =>
  answer.status === "failure" &&
  answer.http === 200 &&
  (answer.raw["status"] === "rejected" ||
    /unsupported protocol|protocol rejected|not suitable for execution|failed to download protocol/i.test(answer.error));

/** Whether the failure says that the conversation is gone: unknown (404; the library: HTTP 200), or expired, in words of the server's own (spec 7.3). */
export const isConversationLost = (answer: AgoraAnswer): boolean =>
  answer.status === "failure" && (answer.http === 404 || (answer.http === 200 && /conversation|expired/i.test(answer.error)));
