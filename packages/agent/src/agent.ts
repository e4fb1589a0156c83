import {
  type AgentSpec,
  type Clock,
  type CommBackend,
  noticedWithinMs,
  type Prng,
  type Roster,
  type Sender,
  type ToAgent,
} from "@failstorm/core";
import { decodeGossip, type HomeTools, stabilise } from "@failstorm/network";
import type { OwnMeteredClient } from "@failstorm/protocols";
import { pullDocument } from "./documentPull.ts";
import { DocumentStore } from "./documentStore.ts";
import { type Handlers, serveWith } from "./inbox.ts";
import { Refusal } from "./messenger.ts";
import { createNetworking, type Networking } from "./networking.ts";
import type { Recorder } from "./recorder.ts";
import { createWork, type Work } from "./work.ts";

/** What the process gives the agent. */
export interface AgentParts {
  readonly spec: AgentSpec;
  readonly self: Sender;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly recorder: Recorder;
  readonly client: OwnMeteredClient;
  readonly backend: CommBackend;
}

/** So many of the first write the whole ledger at the end: one of them may have died in the last moment. */
const LEDGER_SPEAKERS = 2;
/** So often the last ledger entries are pushed to those who have not answered. */
const FINAL_PUSHES = 5;
const RETRY_MS = 100;
/** A hop of a ledger push takes a few ms; a ring has half as many as agents. */
const SETTLE_MS_PER_AGENT = 10;
const MAX_SETTLE_MS = 1_000;

/** The agent itself, from the roster on: stores and indexes the document, joins the network, works, takes over, hands back. */
export class Agent {
  private serving = false;
  private t0: number | null = null;
  readonly networking: Networking;
  private readonly parts: AgentParts;
  private readonly roster: Roster;
  private readonly document: DocumentStore;
  private readonly work: Work;
  private readonly stopping = new AbortController();
  private readonly handlers: Handlers;

  constructor(parts: AgentParts, roster: Roster) {
    this.parts = parts;
    this.roster = roster;
    this.document = new DocumentStore(parts.spec.workspaceDir);
    const homeTools: HomeTools = new Map(roster.agents.map(({ agentId, homeTool }) => [agentId, homeTool]));
    this.handlers = this.createHandlers();
    this.networking = createNetworking({ ...parts, roster, homeTools, serve: serveWith(this.handlers) });
    this.work = createWork({ parts, roster, homeTools, networking: this.networking, document: () => this.document.stored });
    this.networking.onChange((view, changes) => {
      const { hooks } = parts.backend;
      for (const { peer, incarnation, state } of changes) {
        if (state === "dead") hooks?.peerDown?.(peer, incarnation);
        else hooks?.peerUp?.(peer, incarnation);
      }
      if (!this.serving) return;
      this.work.holdings.follow(view);
      this.work.runner.sweepSoon();
    });
  }

  get tasksInFlight(): number {
    return this.work.runner.inFlight;
  }

  get capabilities(): readonly string[] {
    return this.work.holdings.capabilities();
  }

  /** Serves a request addressed to this agent. */
  serve = (request: Parameters<ReturnType<typeof serveWith>>[0], from: Sender): Promise<unknown> =>
    serveWith(this.handlers)(request, from);

  /** The t=0 broadcast: links are made, the document is pulled over them until it is stored, the home shard is indexed. */
  async broadcast(t0: number): Promise<{ sha256: string; passages: number }> {
    this.setEpoch(t0);
    const { hooks } = this.parts.backend;
    const { sha256, bytes } = this.roster.document;
    const linked = this.networking.links.setUp(this.networking.membership.view, this.stopping.signal);
    const setUp = linked.then(() => hooks?.meshSetUp?.(this.networking.neighbours()));
    await this.obtainDocument("broadcast");
    await hooks?.broadcast?.({ sha256, bytes });
    await setUp;
    // Last, so that these streams are the first that the kernel closes (see LowDescriptors).
    await this.networking.hold();
    return { sha256, passages: this.work.holdings.indexOwn() };
  }

  /** Work begins; after a restart only once anti-entropy with a live peer is done. */
  async start(message: Extract<ToAgent, { type: "start" }>): Promise<void> {
    this.setEpoch(message.t0);
    this.networking.start();
    if (message.rejoin) await this.rejoin();
    this.serving = true;
    this.work.holdings.follow(this.networking.membership.view);
    this.work.ledgerSync.start();
    this.work.runner.start(message.tasks, message.t0);
    this.parts.backend.hooks?.normalPhase?.();
  }

  /**
   * Resolves when every task due has an outcome, or an owner that is somebody else, and the others have been told. Whoever died last may not
   * have been noticed yet, and its tasks are nobody's until then: so long, an owner that is somebody else is not enough.
   */
  async drain(): Promise<void> {
    const noticedAt = this.parts.clock.now() + noticedWithinMs(this.parts.spec.config.network);
    const { runner } = this.work;
    while (!runner.idle || (!runner.settled && this.parts.clock.now() < noticedAt))
      await this.parts.clock.sleep(RETRY_MS * this.parts.spec.config.scenario.timeScale);
    this.work.ledgerSync.hurry();
    // On a machine that has too much to do a push may time out; the ledgers of a run are to end equal all the same.
    for (let attempt = 1; attempt <= FINAL_PUSHES && !(await this.work.ledgerSync.pushAll()); attempt++)
      await this.parts.clock.sleep(RETRY_MS * this.parts.spec.config.scenario.timeScale);
    await this.work.ledgerSync.compareAll();
  }

  /** Lets the last ledger entries travel: where links are few they go hop by hop. */
  async settle(): Promise<void> {
    const { spec, clock } = this.parts;
    if (spec.config.network.topology === "mesh") return;
    await clock.sleep(Math.min(MAX_SETTLE_MS, SETTLE_MS_PER_AGENT * this.roster.agents.length));
  }

  /** The last events. */
  stop(): void {
    this.stopping.abort(new Error("the agent stops"));
    this.work.runner.stop();
    this.work.ledgerSync.stop();
    this.networking.stop();
    const { live } = this.networking.membership.view;
    const speaks = live.slice(0, LEDGER_SPEAKERS).some(({ id }) => id === this.parts.self.agentId);
    const outcomes = this.work.ledger
      .outcomes()
      .map(({ task, status, owner, incarnation, attempt }) => [task, `${status}|${owner}|${incarnation}|${attempt}`] as const);
    this.parts.recorder.event({
      ev: "ledger.final",
      digest: this.work.ledger.finalDigest(),
      entries: this.work.ledger.size,
      conflicts: this.work.ledger.conflicts,
      outcomes: speaks ? Object.fromEntries(outcomes) : null,
    });
  }

  private setEpoch(t0: number): void {
    if (this.t0 !== null) return;
    this.t0 = t0;
    this.parts.recorder.setEpoch(t0);
  }

  private async obtainDocument(cause: "broadcast" | "rereplication"): Promise<void> {
    const { spec } = this.parts;
    const { networking, stopping } = this;
    const { document, agents } = this.roster;
    if (this.document.load(document) || (spec.documentPath !== null && this.document.load(document, spec.documentPath))) {
      this.parts.recorder.event({ ev: "document.stored", sha256: document.sha256, bytes: document.bytes, from: null, ms: 0 });
      return;
    }
    await pullDocument({
      ...this.parts,
      store: this.document,
      expected: document,
      signal: stopping.signal,
      retryMs: RETRY_MS * spec.config.scenario.timeScale,
      waitMs: spec.config.network.connectionTimeoutMs / 2,
      candidates: () => {
        const neighbours = networking.neighbours();
        return neighbours.length > 0 ? neighbours : agents.map(({ agentId }) => agentId).filter((id) => id !== spec.agentId);
      },
      ask: (peer, part) => {
        const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(spec.config.network.connectionTimeoutMs)]);
        const request = { op: "document", ...part } as const;
        return networking.messenger.ask({ agentId: peer, request }, { kind: "document", cause, signal });
      },
    });
  }

  /** A restarted agent: document and index, who lives, anti-entropy with one of them; only then does it serve. */
  private async rejoin(): Promise<void> {
    const { clock, recorder, spec } = this.parts;
    const startedAt = clock.now();
    await this.obtainDocument("rereplication");
    this.work.holdings.indexOwn();
    await this.greetAll();
    void this.networking.links.setUp(this.networking.membership.view, this.stopping.signal);
    for (;;) {
      for (const peer of this.networking.membership.view.liveIds) {
        if (peer === spec.agentId) continue;
        try {
          const signal = AbortSignal.any([this.stopping.signal, AbortSignal.timeout(spec.config.network.connectionTimeoutMs)]);
          const entries = await this.work.ledgerSync.reconcile(peer, "rereplication", signal);
          recorder.event({ ev: "agent.rejoined", peer, entries, ms: clock.now() - startedAt });
          return;
        } catch {
          this.stopping.signal.throwIfAborted();
        }
      }
      await clock.sleep(RETRY_MS * spec.config.scenario.timeScale, this.stopping.signal);
    }
  }

  /** Says who this is now to everybody, and learns from the answers who lives. */
  private async greetAll(): Promise<void> {
    const { spec } = this.parts;
    const { messenger, membership } = this.networking;
    const peers = this.roster.agents.filter(({ agentId }) => agentId !== spec.agentId);
    const signal = AbortSignal.any([this.stopping.signal, AbortSignal.timeout(spec.config.network.connectionTimeoutMs)]);
    await Promise.all(
      peers.map(async ({ agentId: peer }) => {
        const request = { op: "hello", rejoin: true } as const;
        const answer = (await messenger
          .ask({ agentId: peer, request }, { kind: "hello", cause: "handshake", signal })
          .catch(() => null)) as {
          members?: unknown[];
        } | null;
        if (Array.isArray(answer?.members))
          membership.feed({ kind: "gossip", from: peer, entries: decodeGossip(answer.members) });
      }),
    );
  }

  private createHandlers(): Handlers {
    const { self } = this.parts;
    const served = (): void => {
      if (!this.serving) throw new Refusal("not_ready", `${self.agentId} is not ready yet`);
    };
    return {
      tool: async (request, from) => {
        served();
        return this.work.tools.execute({ ...request, caller: from.agentId });
      },
      lookup: async ({ shards, query, topK }) => {
        served();
        return this.work.holdings.lookup(shards, query, topK);
      },
      document: async ({ offset, length, waitMs = 0 }) => {
        if (waitMs > 0) await this.document.arrival(waitMs, this.parts.clock);
        return this.document.chunk(offset, length);
      },
      hello: async (_request, from) => ({
        agentId: self.agentId,
        incarnation: self.incarnation,
        members: this.networking.members(),
        closer: stabilise(self.agentId, from.agentId, this.networking.membership.view.liveIds),
      }),
      "ledger.push": async ({ entries }, from) => this.work.ledgerSync.accept(entries, from.agentId),
      "ledger.sync": async ({ digest }) => this.work.ledgerSync.answerDigest(digest),
      gossip: async ({ entries }, from) => {
        this.networking.membership.feed({ kind: "gossip", from: from.agentId, entries: decodeGossip(entries) });
        return {};
      },
    };
  }
}
