import type { IncomingHttpHeaders } from "node:http";
import type { Socket } from "node:net";
import { type AgentId, type Clock, CommError, type Sender, toCommError } from "@failstorm/core";
import type { MembershipView } from "@failstorm/network";
import type { Closing, OwnMeteredClient } from "@failstorm/protocols";
import type { FastifyPluginAsync } from "fastify";
import { Leftovers } from "./leftovers.ts";
import { Lull } from "./lull.ts";
import type { Recorder } from "./recorder.ts";

export const HELD_PATH = "/_failstorm/held";
/** Of both sides: who holds it, who answers. */
export const INCARNATION_HEADER = "x-failstorm-incarnation";
const AGENT_HEADER = "x-failstorm-agent";
/** Closed streams are opened again when none was closed for so long, ms, longer where many are held: what many closed ones mean takes longer to find out. */
const REOPEN_MS = 200;
const REOPEN_EACH_MS = 5;
/** But so many times that after the first in any case. */
const MOST_SILENCES = 5;

/** Calls `onEnd` instead of what Node's server would do: say goodbye to a client that is gone, a shutdown and its two turns of the loop for each of many. */
export function onClientEnd(socket: Socket, onEnd: () => void): void {
  socket.removeAllListeners("end").once("end", onEnd);
}

/** Who says that it holds a stream; null for anybody that is no agent. */
function holderOf(headers: IncomingHttpHeaders): Pick<Sender, "agentId" | "incarnation"> | null {
  const { [AGENT_HEADER]: agent, [INCARNATION_HEADER]: said } = headers;
  const incarnation = Number(said);
  return typeof agent === "string" && Number.isInteger(incarnation) ? { agentId: agent, incarnation } : null;
}

/**
 * The server's side of a held-open stream: headers that say who answers, then nothing, for as long as the process lives. `onHeld` is called with who
 * holds it, and what that returns when the stream is ended in order.
 */
export function heldStreamHost({
  incarnation,
  clock,
  onHeld,
}: {
  readonly incarnation: number;
  readonly clock: Clock;
  readonly onHeld: (holder: AgentId, incarnation: number) => (() => void) | undefined;
}): FastifyPluginAsync {
  const leftovers = new Leftovers(clock);
  return async (server) => {
    server.addHook("onClose", async () => leftovers.free());
    server.get(HELD_PATH, (request, reply) => {
      reply.hijack();
      const { socket } = request.raw;
      const holder = holderOf(request.headers);
      const onEnd = holder === null ? undefined : onHeld(holder.agentId, holder.incarnation);
      // A request that was read to its end is not broken off with its connection: no error is made of each of many closed at once.
      request.raw.resume();
      reply.raw.writeHead(200, { [INCARNATION_HEADER]: String(incarnation), "content-type": "application/octet-stream" });
      reply.raw.flushHeaders();
      onClientEnd(socket, () => {
        onEnd?.();
        leftovers.add(socket);
      });
    });
  };
}

interface Held {
  readonly incarnation: number;
  readonly abort: AbortController;
}

/**
 * One dedicated held-open connection to each of those that it is told to follow: the monitored, and others whose deaths are to be
 * signalled. When the kernel closes it, that is recorded (`transport.notice`); whether anybody acts upon it is the detector's affair. A stream that we end ourselves says nothing. One that is refused says the same
 * as a closed one, though it is no notice: who comes to be followed may be dead already.
 */
export class HeldStreams {
  private readonly held = new Map<AgentId, Held>();
  /** Incarnations whose streams were closed or refused, and are opened again in a while. */
  private reopening = new Map<AgentId, number>();
  private readonly lull: Lull;
  private readonly leftovers: Leftovers;
  private followed: ReadonlySet<AgentId> = new Set();
  private readonly options: {
    readonly client: OwnMeteredClient;
    readonly clock: Clock;
    readonly recorder: Recorder;
    readonly urlOf: (peer: AgentId) => string;
    /** Who holds them. */
    readonly self: Pick<Sender, "agentId" | "incarnation">;
    readonly onStanding: (peer: AgentId) => void;
    readonly onClosed: (peer: AgentId, incarnation: number, how: Closing) => void;
    readonly isAlive: (peer: AgentId, incarnation: number) => boolean;
    /** Somebody is finding out already whether it can be connected to. */
    readonly isAsked: (peer: AgentId) => boolean;
  };

  constructor(options: HeldStreams["options"]) {
    this.options = options;
    this.lull = new Lull(options.clock, () => this.reopenAll());
    this.leftovers = new Leftovers(options.clock);
  }

  /** Holds streams to the live ones of `peers`, and to nobody else; resolves when each new one stands, or has failed to. */
  async follow(view: MembershipView, peers: readonly AgentId[]): Promise<void> {
    this.followed = new Set(peers);
    const opening: Promise<void>[] = [];
    for (const { id, incarnation } of view.live) {
      if (!this.followed.has(id)) this.close(id);
      else if (!this.holds(id, incarnation) && this.reopening.get(id) !== incarnation) opening.push(this.open(id, incarnation));
    }
    await Promise.all(opening);
  }

  /** A stream to this incarnation of the peer, or a newer one. */
  private holds(peer: AgentId, incarnation: number): boolean {
    const present = this.held.get(peer);
    return present !== undefined && present.incarnation >= incarnation;
  }

  private async open(peer: AgentId, incarnation: number): Promise<void> {
    this.held.get(peer)?.abort.abort();
    const held = { incarnation, abort: new AbortController() };
    this.held.set(peer, held);
    await new Promise<void>((settled) => void this.hold(peer, held, settled).finally(settled));
  }

  private readonly discard = (socket: Socket): void => this.leftovers.add(socket);

  /** Ends the stream to a peer that is no longer followed. */
  private close(peer: AgentId): void {
    this.held.get(peer)?.abort.abort();
    this.held.delete(peer);
  }

  closeAll(): void {
    this.followed = new Set();
    for (const peer of this.held.keys()) this.close(peer);
    this.leftovers.free();
  }

  /** `onStanding`: the peer has answered. */
  private async hold(peer: AgentId, held: Held, onStanding: () => void): Promise<void> {
    const { client, recorder, urlOf, self } = this.options;
    const { signal } = held.abort;
    const headers = { [AGENT_HEADER]: self.agentId, [INCARNATION_HEADER]: String(self.incarnation) };
    try {
      const stream = await client.measure({ peer, kind: "probe", cause: "heartbeat" }, () =>
        client.hold(urlOf(peer) + HELD_PATH, signal, { headers, discard: this.discard }),
      );
      onStanding();
      this.options.onStanding(peer);
      const { bytesSent, bytesReceived, roundTrips } = stream.traffic;
      recorder.residual("probe", "heartbeat", bytesSent, bytesReceived, roundTrips);
      const answering = Number(stream.value.headers[INCARNATION_HEADER]);
      const how = await stream.value.closed;
      if (signal.aborted) return;
      if (!Number.isInteger(answering)) throw new CommError("protocol", peer, `${peer}: who answered is no agent`);
      recorder.event({ ev: "transport.notice", peer, peerInc: answering });
      this.forget(peer, held);
      this.options.onClosed(peer, answering, how);
    } catch (error) {
      // Cut before it stood: no stream, no signal. Try again for as long as the peer is believed alive.
      this.forget(peer, held);
      if (toCommError(error, peer, signal).code === "refused") this.options.onClosed(peer, held.incarnation, "broken");
    }
    if (signal.aborted) return;
    this.reopen(peer, held.incarnation);
  }

  private reopen(peer: AgentId, incarnation: number): void {
    const silenceMs = Math.max(REOPEN_MS, REOPEN_EACH_MS * this.followed.size);
    this.reopening.set(peer, incarnation);
    this.lull.sign(silenceMs, MOST_SILENCES * silenceMs);
  }

  private reopenAll(): void {
    const { isAlive, isAsked } = this.options;
    const closed = this.reopening;
    this.reopening = new Map();
    for (const [peer, incarnation] of closed) {
      if (!this.followed.has(peer) || !isAlive(peer, incarnation)) continue;
      if (isAsked(peer)) this.reopen(peer, incarnation);
      else if (!this.holds(peer, incarnation)) void this.open(peer, incarnation);
    }
  }

  private forget(peer: AgentId, held: Held): void {
    if (this.held.get(peer) === held) this.held.delete(peer);
  }
}
