import type { Address, AgentExecutor, AgentId, BackendContext, LocalAgent, TrafficTag } from "@failstorm/core";
import fastify, { type FastifyPluginAsync } from "fastify";
import { createAccessTokens } from "./accessTokens.ts";
import { Authenticator, type DidLookup } from "./authenticator.ts";
import type { AnpConfig } from "./config.ts";
import type { DidDocument } from "./did.ts";
import type { DidResolver } from "./didResolver.ts";
import { SecureDevice } from "./e2ee/secureDevice.ts";
import { SecureService } from "./e2ee/secureService.ts";
import { anpHost } from "./host.ts";
import { Identity } from "./identity.ts";
import { loadOrCreateKeys } from "./keys.ts";
import { MessageService } from "./messageService.ts";
import type { Peers } from "./peers.ts";
import { Records } from "./records.ts";
import type { Replies } from "./replies.ts";

export interface LocalAgentsOptions {
  readonly context: BackendContext;
  readonly config: AnpConfig;
  readonly resolver: DidResolver;
  readonly peers: Peers;
  readonly replies: Replies;
}

const LOOPBACK = "127.0.0.1";
/** Of what is no ANP message. */
const MAX_OTHER_BODY_BYTES = 1024;

/** The agents of this process: their identities and their hosts. */
export class LocalAgents {
  /** Documents of those who ask, and of those who are asked. */
  readonly dids: DidLookup;
  private readonly options: LocalAgentsOptions;
  private readonly identities = new Map<AgentId, Identity>();
  private readonly devices = new WeakMap<Identity, SecureDevice>();
  private readonly published = new Map<AgentId, Promise<LocalAgent>>();

  constructor(options: LocalAgentsOptions) {
    this.options = options;
    this.dids = this.didLookup(options);
  }

  /** The agent's device for end-to-end encryption. */
  deviceOf(identity: Identity): SecureDevice {
    return this.devices.get(identity) as SecureDevice;
  }

  documentOf(did: string): DidDocument | undefined {
    for (const identity of this.identities.values()) if (identity.did === did) return identity.document;
    return undefined;
  }

  /**
   * The agent as a sender. One that has no host here publishes its DID document all the same, on a port of its own: nobody could
   * verify its signatures otherwise.
   */
  async identity(agentId: AgentId): Promise<Identity> {
    if (!this.identities.has(agentId)) {
      const executor: AgentExecutor = {
        execute: () => Promise.reject(new Error(`${agentId} takes no messages`)),
        cancel: async () => {},
      };
      const publishing = this.published.get(agentId) ?? this.listen(agentId, LOOPBACK, 0, executor);
      this.published.set(agentId, publishing);
      await publishing;
    }
    return this.identities.get(agentId) as Identity;
  }

  mount(agentId: AgentId, executor: AgentExecutor): FastifyPluginAsync {
    return this.plugin(this.add(agentId, this.options.context.selfAddress), executor);
  }

  async listen(agentId: AgentId, host: string, port: number, executor: AgentExecutor): Promise<LocalAgent> {
    const { context } = this.options;
    let listening: Address = { host, port };
    // The agent of this process may be reached elsewhere than where it listens; others are reached where they listen.
    const address = (): Address => {
      const self = context.selfAddress();
      return agentId === context.describeSelf().agentId && self.port !== 0 ? self : listening;
    };
    const identity = this.add(agentId, address);
    const server = fastify({ bodyLimit: MAX_OTHER_BODY_BYTES });
    await server.register(this.plugin(identity, executor));
    const baseUrl = await server.listen({ host, port });
    listening = { host, port: Number(new URL(baseUrl).port) };
    return {
      baseUrl,
      close: async () => {
        if (this.identities.get(agentId) === identity) this.identities.delete(agentId);
        await server.close();
      },
    };
  }

  /** Closes what was published by `identity`; hosts are their owners' to close. */
  async close(): Promise<void> {
    const published = [...this.published.values()];
    this.published.clear();
    for (const publishing of published) await (await publishing).close();
  }

  private add(agentId: AgentId, address: () => Address): Identity {
    const { context, config } = this.options;
    const keys = loadOrCreateKeys(context.workspaceDir, agentId);
    const now = (): string => new Date(context.clock.wall()).toISOString();
    const identity = new Identity({ agentId, keys, address, form: config.did, e2ee: config.e2ee, now });
    this.identities.set(agentId, identity);
    this.devices.set(identity, new SecureDevice({ identity, dids: this.dids, wall: () => context.clock.wall() }));
    return identity;
  }

  private didLookup({ context, peers, resolver }: LocalAgentsOptions): DidLookup {
    // A restarted agent asks for the documents of its callers again because of the fault.
    const tag = (did: string): TrafficTag => ({
      peer: peers.agentIdOf(did) ?? did,
      kind: "handshake",
      cause: context.describeSelf().incarnation > 1 ? "handshake" : "setup",
    });
    return { resolve: (did) => resolver.resolve(did, tag), refresh: (did) => resolver.refresh(did, tag) };
  }

  private plugin(identity: Identity, executor: AgentExecutor): FastifyPluginAsync {
    const { context, config, peers, replies } = this.options;
    const { clock, describeSelf, workspaceDir, onDeduplicated } = context;
    const [now, wall] = [() => clock.now(), () => clock.wall()];
    const { dids } = this;
    const secure = config.e2ee ? new SecureService({ identity, device: this.deviceOf(identity) }) : null;
    return async (server) => {
      const records = new Records({ workspaceDir, agentId: identity.agentId, rememberMs: config.rememberMs, now });
      server.addHook("onClose", async () => records.close());
      const { nonces, operations } = records;
      const authenticator = new Authenticator({
        tokens: createAccessTokens(config.tokenLifetimeMs, wall),
        nonces,
        dids,
        isOwnAuthority: (authority) => identity.isOwnAuthority(authority),
        challenge: config.challenge,
        wall,
      });
      const service = new MessageService({
        identity,
        executor,
        describeSelf,
        config,
        dids,
        secure,
        nonces,
        operations,
        onDeduplicated,
        onReply: (did, messageId, content) => replies.deliver(did, messageId, content),
        agentIdOf: (did) => peers.agentIdOf(did),
        wall,
      });
      const webSocket = config.transport === "websocket";
      await anpHost({ identity, describeSelf, authenticator, service, records, webSocket })(server, {});
    };
  }
}
