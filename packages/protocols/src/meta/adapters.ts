import path from "node:path";
import type { Address, AgentId, BackendContext, CommBackend } from "@failstorm/core";
import { memberConfig, type MetaConfig } from "./config.ts";
import { MEMBERS, type MemberName } from "./members.ts";

export interface AdaptersOptions {
  readonly context: BackendContext;
  readonly config: MetaConfig;
  /** Where the agent's own host of a protocol is reached. */
  readonly addressOf: (name: MemberName) => Address;
  /** Where a peer's host of a protocol is reached; null: it hosts no such thing, or is not registered. */
  readonly endpointOf: (peer: AgentId, name: MemberName) => Address | null;
  readonly peers: () => Iterable<AgentId>;
}

/**
 * The backends of the mix, one per protocol, each with its own folder and section, all over the one counted client. One is loaded and made
 * when something is first asked of it: loading takes an `import`, which is asynchronous as are all the operations that need it, while
 * `createBackend` is not. Whoever registers a peer may have it loaded ahead.
 */
export class Adapters {
  private readonly options: AdaptersOptions;
  private readonly made = new Map<MemberName, CommBackend>();
  private readonly making = new Map<MemberName, Promise<CommBackend>>();

  constructor(options: AdaptersOptions) {
    this.options = options;
  }

  /** Those that are there. */
  get present(): ReadonlyMap<MemberName, CommBackend> {
    return this.made;
  }

  /** Not to be awaited when it is there: a message costs no more turns than it must. */
  get(name: MemberName): CommBackend | Promise<CommBackend> {
    const made = this.made.get(name);
    if (made !== undefined) return made;
    let making = this.making.get(name);
    if (making === undefined) {
      making = this.make(name);
      this.making.set(name, making);
      // What failed (out of descriptors, perhaps) is tried again by whoever needs it next.
      making.catch(() => this.making.delete(name));
    }
    return making;
  }

  /** Loads what will be needed; that it cannot be loaded is said by whatever needs it. */
  ahead(name: MemberName): void {
    if (!this.made.has(name) && !this.making.has(name)) void Promise.resolve(this.get(name)).catch(() => {});
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.making.values());
    await Promise.all(Array.from(this.made.values(), (backend) => backend.close()));
  }

  private async make(name: MemberName): Promise<CommBackend> {
    const { context, config, addressOf, endpointOf, peers } = this.options;
    const protocol = await MEMBERS[name].load();
    const backend = protocol.createBackend({
      ...context,
      selfAddress: () => addressOf(name),
      prng: context.prng.fork(name),
      workspaceDir: path.join(context.workspaceDir, "meta", name),
      config: memberConfig(config, name),
    });
    // In the turn in which it is made, so that nobody registers in between unseen.
    this.made.set(name, backend);
    for (const peer of peers()) {
      const endpoint = endpointOf(peer, name);
      if (endpoint !== null) backend.registerEndpoint(peer, endpoint);
    }
    return backend;
  }
}
