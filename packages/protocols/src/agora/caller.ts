import {
  type Address,
  type AgentId,
  type CallOptions,
  CommError,
  type MeteredClient,
  type MeteredResponse,
  type Traffic,
  toCommError,
} from "@failstorm/core";
import { type AgoraAnswer, readAnswer } from "./envelope.ts";
import { baseUrlOf } from "./server.ts";

type CallDefaults = { readonly kind: "handshake" | "probe" | "tool"; readonly cause: "setup" | "heartbeat" | "work" };

/** The requests of one operation to one peer; all are counted into its traffic. */
export interface Line {
  readonly peer: AgentId;
  /** GET of a path under the peer's base. */
  get(path: string): Promise<MeteredResponse>;
  /** POST of an Agora request to a path under the peer's base, "" = the base. Throws CommError when the answer is not Agora's. */
  post(path: string, request: unknown): Promise<AgoraAnswer>;
}

/** The client's side of HTTP: registered endpoints, measured operations, failures as CommError. */
export class Caller {
  private readonly endpoints = new Map<AgentId, Address>();
  private readonly client: MeteredClient;

  constructor(client: MeteredClient) {
    this.client = client;
  }

  register(agentId: AgentId, address: Address): void {
    this.endpoints.set(agentId, address);
  }

  hosts(): ReadonlySet<string> {
    return new Set([...this.endpoints.values()].map(({ host }) => host.toLowerCase()));
  }

  forgetAll(): void {
    this.endpoints.clear();
  }

  /** Runs an operation of one or more requests to `peer`. Throws CommError, with the traffic so far. */
  async operation<T>(
    peer: AgentId,
    options: CallOptions,
    defaults: CallDefaults,
    run: (line: Line) => Promise<T>,
  ): Promise<{ value: T; traffic: Traffic }> {
    const address = this.endpoints.get(peer);
    if (address === undefined) throw new CommError("unknown_agent", peer, `${peer}: no endpoint registered`);
    const tag = { peer, kind: options.kind ?? defaults.kind, cause: options.cause ?? defaults.cause };
    const line = this.line(peer, baseUrlOf(address), options.signal);
    try {
      return await this.client.measure(tag, () => run(line));
    } catch (error) {
      const { traffic } = error as { traffic?: Traffic };
      const failure = toCommError(error, peer, options.signal);
      throw traffic === undefined ? failure : Object.assign(failure, { traffic });
    }
  }

  private line(peer: AgentId, base: string, signal: AbortSignal | undefined): Line {
    const abort = signal === undefined ? {} : { signal };
    return {
      peer,
      get: (path) => this.client.request(base + path, { method: "GET", ...abort }),
      post: async (path, request) => {
        const body = JSON.stringify(request);
        const headers = { "content-type": "application/json" };
        return readAnswer(await this.client.request(base + path, { method: "POST", headers, body, ...abort }), peer);
      },
    };
  }
}
