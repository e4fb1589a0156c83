import { ContentTypeNotSupportedError, RequestMalformedError, VersionNotSupportedError } from "@a2a-js/sdk/errors";
import { ServerCallContext, type User } from "@a2a-js/sdk/server";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { A2aConfig } from "./config.ts";
import type { TaskService } from "./taskService.ts";
import { EXTENSION_URI } from "./wire.ts";

/** A body that is no JSON: each binding answers it in its own way. */
export const NOT_JSON = Symbol("not JSON");

/** What both bindings need of the host. */
export interface Binding {
  readonly service: TaskService;
  /** The caller of a request; null when it must authenticate and did not. */
  readonly userOf: (request: FastifyRequest) => User | null;
}

const ANONYMOUS: User = { isAuthenticated: false, userName: "" };

/** `Authorization: Bearer …` against the configured tokens; without tokens everybody is the anonymous user. */
export function userOf({ bearerTokens }: A2aConfig): Binding["userOf"] {
  if (bearerTokens.size === 0) return () => ANONYMOUS;
  const users = new Map([...bearerTokens].map(([userName, token]) => [`Bearer ${token}`, { isAuthenticated: true, userName }]));
  return ({ headers }) => users.get((headers.authorization ?? "").replace(/^bearer /i, "Bearer ")) ?? null;
}

/**
 * The version a request speaks (spec §3.6): header or query parameter, patch numbers ignored, none = 0.3. VersionNotSupportedError for
 * any but `supported`.
 */
export function versionOf(request: FastifyRequest, supported: readonly string[]): string {
  const query = (request.query as Record<string, unknown>)["A2A-Version"];
  const given = request.headers["a2a-version"] ?? query;
  const asked = typeof given === "string" && given.trim() !== "" ? given.trim() : "0.3";
  const version = /^(\d+\.\d+)(\.\d+)?$/.exec(asked)?.[1];
  if (version === undefined || !supported.includes(version))
    throw new VersionNotSupportedError(`A2A ${asked} is not spoken here; supported: ${supported.join(", ")}`);
  return version;
}

export const callContext = (user: User, requestedVersion: string, tenant?: string, state?: Map<string, unknown>) =>
  new ServerCallContext({ user, requestedVersion, ...(tenant === undefined ? {} : { tenant }), ...(state ? { state } : {}) });

/** Throws ContentTypeNotSupportedError unless the body, if there is one, was declared as one of these. */
export function checkContentType({ headers, body }: FastifyRequest, accepted: readonly string[]): void {
  const given = headers["content-type"];
  if (given !== undefined && body !== undefined && !accepted.includes(given.split(";", 1)[0]?.trim().toLowerCase() ?? ""))
    throw new ContentTypeNotSupportedError(`Content-Type ${given} is not supported; expected ${accepted.join(" or ")}`);
}

/** Tells a caller that asked for our extension that it is active (spec §4.6.1); in 0.3 the header was called otherwise. */
export function confirmExtension({ headers }: FastifyRequest, reply: FastifyReply): void {
  for (const name of ["a2a-extensions", "x-a2a-extensions"]) {
    const asked = headers[name];
    if (typeof asked === "string" && asked.split(",").some((uri) => uri.trim() === EXTENSION_URI))
      reply.header(name, EXTENSION_URI);
  }
}

/** A body that is an object, or nothing. RequestMalformedError for any other. */
export function objectBody(body: unknown): Record<string, unknown> {
  if (body === undefined || body === null) return {};
  if (body === NOT_JSON || typeof body !== "object" || Array.isArray(body))
    throw new RequestMalformedError("The body is no JSON object");
  return body as Record<string, unknown>;
}

/** What a codec of the SDK makes of JSON. RequestMalformedError for what it stumbles over. */
export function decoded<T>(codec: { fromJSON(json: Record<string, unknown>): T }, json: Record<string, unknown>): T {
  try {
    return codec.fromJSON(json);
  } catch (cause) {
    throw new RequestMalformedError({ message: "Invalid parameters", cause });
  }
}
