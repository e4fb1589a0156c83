import { type AgentId, agentId, type Clock, TOOLS, type Tool } from "@failstorm/core";
import { type HomeTools, type MembershipView, shardOwner, shardReplicas, toolAdoptions, toolHolders } from "@failstorm/network";
import { type Hit, parseDocument, type ShardRole, ShardStore } from "@failstorm/qa";
import { Refusal } from "./messenger.ts";
import type { Recorder } from "./recorder.ts";

/** Whose something was before it was taken over. */
interface Origin {
  readonly from: AgentId;
  readonly fromInc: number;
  served: boolean;
}

/**
 * What this agent serves: shards and tools, at home or taken over. A change of view claims what has become ours and releases what
 * is somebody else's again; claims and the first service are recorded before they take effect.
 */
export class Holdings {
  private readonly store = new ShardStore();
  private readonly activeShards = new Map<number, Origin | null>();
  private readonly activeTools = new Map<Tool, Origin | null>();
  private passages: ReturnType<typeof parseDocument> | null = null;
  private readonly options: {
    readonly self: AgentId;
    readonly homeShard: number;
    readonly homeTools: HomeTools;
    readonly shardCount: number;
    readonly ids: readonly AgentId[];
    readonly redundancyLevel: number;
    readonly takeover: boolean;
    readonly clock: Clock;
    readonly recorder: Recorder;
    /** The stored document; null while there is none. */
    readonly document: () => Uint8Array | null;
  };

  constructor(options: Holdings["options"]) {
    this.options = options;
  }

  /** Indexes the home shard and the warm spares. Returns the number of passages of the home shard. */
  indexOwn(): number {
    const { homeShard, ids, redundancyLevel, self, shardCount } = this.options;
    const count = this.index(homeShard, "home");
    for (let shard = 0; shard < shardCount; shard++)
      if (shardReplicas(shard, ids, redundancyLevel).includes(self)) this.index(shard, "warm");
    this.passages = null;
    return count;
  }

  /** `shard:3`, `tool:search`, …: what the protocol's own description says of this agent. */
  capabilities(): string[] {
    return [
      ...[...this.activeTools.keys()].map((tool) => `tool:${tool}`),
      ...[...this.activeShards.keys()].map((shard) => `shard:${shard}`),
    ].toSorted();
  }

  /** Claims and releases until what is served is what this view says. */
  follow(view: MembershipView): void {
    this.followShards(view);
    this.followTools(view);
  }

  /** Looks up in those of `shards` that are served here; names the others. */
  lookup(shards: readonly number[], query: string, topK: number): { hits: Hit[][]; missing: number[] } {
    const hits: Hit[][] = [];
    const missing: number[] = [];
    for (const shard of shards) {
      const origin = this.activeShards.get(shard);
      if (origin === undefined) missing.push(shard);
      else {
        hits.push(this.store.lookup(shard, query, topK));
        this.noteService("shard", String(shard), origin);
      }
    }
    return { hits, missing };
  }

  /** Throws a Refusal when the tool is not served here; else returns what to call when its step is done. */
  useTool(tool: Tool): () => void {
    const origin = this.activeTools.get(tool);
    if (origin === undefined) throw new Refusal("not_holder", `${this.options.self} does not serve ${tool}`);
    return () => this.noteService("tool", origin === null ? tool : `${tool}/${origin.from}`, origin);
  }

  private noteService(kind: "shard" | "tool", id: string, origin: Origin | null): void {
    if (origin === null || origin.served) return;
    origin.served = true;
    this.options.recorder.event({ ev: "takeover.served", kind, id, from: origin.from, fromInc: origin.fromInc });
  }

  private followShards(view: MembershipView): void {
    const { self, shardCount, homeShard, takeover, recorder } = this.options;
    for (let shard = 0; shard < shardCount; shard++) {
      const owner = shardOwner(shard, view);
      const ours = owner === self && (shard === homeShard || takeover);
      if (ours && !this.activeShards.has(shard)) this.claimShard(shard, view);
      if (!ours && this.activeShards.has(shard)) {
        recorder.event({ ev: "takeover.released", kind: "shard", id: String(shard), to: owner ?? "nobody" });
        this.activeShards.delete(shard);
      }
    }
  }

  private claimShard(shard: number, view: MembershipView): void {
    if (shard === this.options.homeShard) {
      this.activeShards.set(shard, null);
      return;
    }
    const origin = this.claim("shard", String(shard), agentId(shard), view);
    if (!this.store.has(shard)) {
      this.index(shard, "cold");
      this.passages = null;
    }
    this.activeShards.set(shard, origin);
  }

  private followTools(view: MembershipView): void {
    const { self, homeTools, takeover, recorder } = this.options;
    for (const tool of TOOLS) {
      const adoption = toolAdoptions(tool, view, homeTools).find(({ by }) => by === self);
      const atHome = homeTools.get(self) === tool;
      // A tool that never had a home agent (fewer agents than tools) is adopted in every mode: nothing died.
      const ours = toolHolders(tool, view, homeTools).includes(self) && (atHome || takeover || adoption?.from === null);
      const held = this.activeTools.get(tool);
      // Held on for another of the dead: whose place it was is taken by somebody else in this view.
      if (ours && held && held.from !== adoption?.from) {
        const to = toolAdoptions(tool, view, homeTools).find(({ from }) => from === held.from)?.by ?? held.from;
        recorder.event({ ev: "takeover.released", kind: "tool", id: `${tool}/${held.from}`, to });
        this.activeTools.delete(tool);
      }
      if (ours && !this.activeTools.has(tool)) {
        const from = atHome ? null : (adoption?.from ?? null);
        this.activeTools.set(tool, from === null ? null : this.claim("tool", `${tool}/${from}`, from, view));
      }
      if (!ours && this.activeTools.has(tool)) {
        const origin = this.activeTools.get(tool);
        recorder.event({
          ev: "takeover.released",
          kind: "tool",
          id: origin ? `${tool}/${origin.from}` : tool,
          to: origin?.from ?? "nobody",
        });
        this.activeTools.delete(tool);
      }
    }
  }

  private claim(kind: "shard" | "tool", id: string, from: AgentId, view: MembershipView): Origin {
    const fromInc = view.incarnationOf(from) ?? 0;
    this.options.recorder.event({ ev: "takeover.claimed", kind, id, from, fromInc, view: view.hash });
    return { from, fromInc, served: false };
  }

  private index(shard: number, role: ShardRole): number {
    const document = this.options.document();
    if (document === null) throw new Refusal("not_stored", "the document is not here yet");
    const startedAt = this.options.clock.now();
    this.passages ??= parseDocument(document);
    const passages = this.passages[shard] ?? [];
    this.store.add(shard, passages, role);
    this.options.recorder.event({
      ev: "shard.indexed",
      shard,
      passages: passages.length,
      ms: Math.round((this.options.clock.now() - startedAt) * 1000) / 1000,
      role,
    });
    return passages.length;
  }
}
