import { type AgentId, type Clock, CommError, type MeteredClient, type MeteredResponse } from "@failstorm/core";
import { acceptedComponents, type SigningKey, signRequest } from "./httpSignature.ts";
import { isObject, type JsonObject, parseJson } from "./json.ts";

interface Token {
  readonly value: string;
  /** On the clock's `now`. */
  readonly expiresAt: number;
}

/** A caller's standing with one endpoint. */
export interface Access {
  readonly peer: AgentId;
  readonly endpoint: string;
  token: Token | null;
}

export interface RpcCall {
  readonly id: string;
  /** The whole request as JSON. */
  readonly text: string;
}

export interface RpcClientOptions {
  readonly client: MeteredClient;
  readonly clock: Clock;
  /** Whether bearer tokens are used. */
  readonly accessToken: boolean;
}

/** Settles with the promise, or rejects when the signal aborts first. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

const header = (response: MeteredResponse, name: string): string => {
  const value = response.headers[name];
  return Array.isArray(value) ? value.join(", ") : (value ?? "");
};

const parameter = (field: string, name: string): string | undefined =>
  field === ""
    ? undefined
    : new RegExp(`(?:^|[,\\s])${name}=(?:"([^"]*)"|([^,\\s]+))`)
        .exec(field)
        ?.slice(1)
        .find((value) => value !== undefined);

/** A token is given up this long before it expires. */
const EXPIRY_MARGIN_MS = 5_000;
/** A refused token is answered with a signature, and a refused signature with one more, for the nonce that the peer gave. */
const MAX_TRIES = 3;

/** What a peer asked for in its 401 (ANP-02 §3.2.4.1). */
interface Challenge {
  readonly nonce: string | undefined;
  readonly wanted: readonly string[];
}

/** Reads a JSON-RPC response: its result. Throws CommError: `remote` for an error of the peer's, `protocol` for anything else. */
export function readResult(peer: AgentId, id: string, answer: unknown, status: number | null): JsonObject {
  const how = status === null ? "the answer" : `HTTP ${status}`;
  if (!isObject(answer) || answer["jsonrpc"] !== "2.0")
    throw new CommError("protocol", peer, `${peer}: ${how} is not a JSON-RPC response`);
  const { error, result } = answer;
  if (isObject(error) && (answer["id"] === id || answer["id"] === null)) {
    const message = typeof error["message"] === "string" ? error["message"] : "an error without words";
    throw new CommError("remote", peer, `${peer}: ${message}`, { detail: error });
  }
  if (answer["id"] !== id || !isObject(result)) throw new CommError("protocol", peer, `${peer}: ${how} answers something else`);
  return result;
}

/** JSON-RPC over HTTP with ANP-02 authentication: a bearer token while one is good, else a signed request. */
export class RpcClient {
  private readonly options: RpcClientOptions;

  constructor(options: RpcClientOptions) {
    this.options = options;
  }

  /** Rejects with CommError, or with what undici throws. */
  async call(access: Access, key: SigningKey, { id, text }: RpcCall, signal?: AbortSignal): Promise<JsonObject> {
    let challenge: Challenge | undefined;
    for (let tries = 1; ; tries++) {
      const token = this.usableToken(access);
      const response = await this.post(access.endpoint, text, signal, this.credentials(access, key, text, challenge));
      this.keepToken(access, response);
      const isMet = token === null && challenge?.nonce !== undefined;
      const nonce = parameter(header(response, "www-authenticate"), "nonce");
      if (response.status === 401 && tries < MAX_TRIES && (token !== null || (nonce !== undefined && !isMet))) {
        challenge = { nonce, wanted: acceptedComponents(header(response, "accept-signature")) };
        // Unless another call got a new one meanwhile.
        if (access.token === token) access.token = null;
        continue;
      }
      return readResult(access.peer, id, parseJson(response.body.toString("utf8")), response.status);
    }
  }

  /** `Authorization` if there is a good token, else a signature. */
  credentials(access: Access, key: SigningKey, body: string | undefined, challenge?: Challenge): Record<string, string> {
    const token = this.usableToken(access);
    if (token !== null) return { authorization: `Bearer ${token.value}` };
    const request = {
      method: body === undefined ? "GET" : "POST",
      url: access.endpoint,
      ...(body === undefined ? {} : { body }),
    };
    return signRequest(key, request, { nowS: Math.floor(this.options.clock.wall() / 1000), ...challenge });
  }

  private usableToken({ token }: Access): Token | null {
    return token !== null && token.expiresAt > this.options.clock.now() ? token : null;
  }

  private post(
    url: string,
    body: string,
    signal: AbortSignal | undefined,
    headers: Record<string, string>,
  ): Promise<MeteredResponse> {
    return this.options.client.request(url, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body,
      ...(signal ? { signal } : {}),
    });
  }

  private keepToken(access: Access, response: MeteredResponse): void {
    if (!this.options.accessToken) return;
    const info = header(response, "authentication-info");
    const [value, type] = [parameter(info, "access_token"), parameter(info, "token_type") ?? "Bearer"];
    if (value === undefined || type.toLowerCase() !== "bearer") return;
    const lifetimeMs = Number(parameter(info, "expires_in") ?? 60) * 1000;
    if (lifetimeMs > EXPIRY_MARGIN_MS)
      access.token = { value, expiresAt: this.options.clock.now() + lifetimeMs - EXPIRY_MARGIN_MS };
  }
}
