import {
  type AgentId,
  type CallOptions,
  type CommBackend,
  CommError,
  type CommErrorCode,
  type ConnectResult,
  type HealthResult,
  type Payload,
  type RouteChoice,
  type SendOptions,
  type SendResult,
  type Traffic,
} from "@failstorm/core";
import type { Adapters } from "./adapters.ts";
import { memberConfig, type MetaConfig } from "./config.ts";
import { charsOf, demandOf } from "./demand.ts";
import type { Sample } from "./measurements.ts";
import { capabilitiesOf, isMember, type MemberName } from "./members.ts";
import type { Mesh } from "./mesh.ts";
import type { Decision, Router } from "./router.ts";
import { Sessions } from "./sessions.ts";
import { markFailure, together, trafficOf } from "./traffic.ts";
import { readWorkId, workIdOf } from "./workIds.ts";

export interface CallsOptions {
  readonly mesh: Mesh;
  readonly adapters: Adapters;
  readonly router: Router;
  readonly config: MetaConfig;
  readonly now: () => number;
  readonly onRoute: (choice: RouteChoice) => void;
}

/** After these the peer lives, and another of its protocols may do better. Not after `refused`: all of them share one port. */
const ANOTHER_MAY_CONNECT: ReadonlySet<CommErrorCode> = new Set(["protocol", "remote", "reset"]);
/** After a probe that was cut the peer's life is for the detector to judge. */
const ANOTHER_MAY_PROBE: ReadonlySet<CommErrorCode> = new Set(["protocol", "remote"]);
/** What says nothing of the protocol: its caller gave up, or nobody was there to answer. */
const NO_VERDICT: ReadonlySet<CommErrorCode> = new Set(["aborted", "refused", "unknown_agent"]);

interface Attempts<T> {
  readonly name: MemberName;
  /** Its traffic is that of all attempts. */
  readonly value: T;
  /** Of the attempt that succeeded. */
  readonly ms: number;
  readonly failed: readonly { readonly protocol: string; readonly code: CommErrorCode }[];
}

/** One operation by one protocol. */
interface Operation<T> {
  readonly kind: string;
  readonly timed: boolean;
  /** Characters of what it carried, both ways; as absent: none. */
  readonly carried?: (value: T) => number;
}

/** What a failure says of the protocol. */
function outcomeOf(code: CommErrorCode, timed: boolean): Sample["outcome"] {
  if (code === "remote") return "answered";
  return code === "timeout" && !timed ? "overdue" : "lost";
}

const codeOf = (error: unknown): CommErrorCode | null => (error instanceof CommError ? error.code : null);

/** What goes out to peers: each operation by one of the peer's protocols, as the router says. */
export class Calls {
  private readonly options: CallsOptions;
  private readonly sessions = new Sessions();

  constructor(options: CallsOptions) {
    this.options = options;
  }

  readonly connect = async (src: AgentId, dst: AgentId, options: CallOptions = {}): Promise<ConnectResult> => {
    const { mesh, router, now, onRoute } = this.options;
    const { order, choice } = router.handshake(dst, mesh.dialled(dst), now());
    if (choice !== null) onRoute(choice);
    const run = async (backend: CommBackend) => introduced(await backend.connect(src, dst, options));
    const { name, value, ms, failed } = await this.inTurn(
      dst,
      order.filter(isMember),
      { kind: "handshake", another: ANOTHER_MAY_CONNECT, options },
      run,
    );
    this.sessions.met(dst, name, value.peer.incarnation);
    const moved = router.connected(dst, name, { ms, failed }, now());
    if (moved !== null) onRoute(moved);
    if (value.recovered === undefined) return value;
    const recovered = value.recovered.map(({ workId, state }) => ({ workId: workIdOf(name, workId), state }));
    return { ...value, recovered };
  };

  readonly healthCheck = async (peer: AgentId, options: CallOptions = {}): Promise<HealthResult> => {
    const { mesh, router, now } = this.options;
    const hosted = mesh.dialled(peer);
    const first = this.settle(peer, router.probe(peer, hosted, now()));
    const order = [first, ...hosted.filter((name) => name !== first)];
    const run = (backend: CommBackend) => backend.healthCheck(peer, options);
    return (await this.inTurn(peer, order, { kind: "probe", another: ANOTHER_MAY_PROBE, options }, run)).value;
  };

  /** By this protocol and no other. */
  readonly healthOf = async (peer: AgentId, protocol: string, options: CallOptions = {}): Promise<HealthResult> => {
    const name = this.options.mesh.dialled(peer).find((other) => other === protocol);
    if (name === undefined) throw new CommError("protocol", peer, `${peer} does not host ${protocol}`);
    return this.by(peer, name, { kind: "probe", timed: true }, (backend) => backend.healthCheck(peer, options));
  };

  readonly send = async (src: AgentId, dst: AgentId, payload: Payload, options: SendOptions = {}): Promise<SendResult> => {
    const { mesh, router, config, now } = this.options;
    const hosted = mesh.dialled(dst);
    const chars = hosted.length > 1 ? charsOf(payload) : null;
    const demand = demandOf(chars, options, config.router.largeChars);
    const name = this.settle(dst, router.message(dst, hosted, demand, now()));
    const mustMeet = this.sessions.mustMeet(dst, name);
    // It takes reading the answer once more, and of large messages, or where routes are not for kinds, nobody asks.
    const isCounted = config.router.per === "kind" && !demand.large;
    const carried = ({ parts }: SendResult): number => (isCounted ? (chars ?? 0) + charsOf({ parts }) : 0);
    return this.by(dst, name, { kind: demand.kind, timed: demand.timed && !mustMeet, carried }, async (backend) => {
      const before = mustMeet ? await this.meetAgain(backend, name, { src, dst, options }) : undefined;
      this.sessions.carries(dst, name);
      const result = await backend.send(src, dst, payload, named(name, options)).catch((error: unknown) => {
        throw markFailure(error, name, [before]);
      });
      return before === undefined ? result : { ...result, traffic: together(name, [before, result.traffic]) ?? result.traffic };
    });
  };

  readonly cancel = async (src: AgentId, dst: AgentId, workId: string, options: CallOptions = {}): Promise<void> => {
    const { name, id } = this.workAt(dst, workId, "cancel");
    const backend = await this.options.adapters.get(name);
    try {
      await backend.cancel?.(src, dst, id, options);
    } catch (error) {
      throw markFailure(error, name);
    }
  };

  readonly resume = async (src: AgentId, dst: AgentId, workId: string, options: SendOptions = {}): Promise<SendResult> => {
    const { name, id } = this.workAt(dst, workId, "resume");
    const backend = await this.options.adapters.get(name);
    try {
      const result = (await backend.resume?.(src, dst, id, named(name, options))) as SendResult;
      return { ...result, traffic: { ...result.traffic, protocol: name } };
    } catch (error) {
      throw markFailure(error, name);
    }
  };

  /** The handshake that a message has to wait for; its traffic is the message's. */
  private async meetAgain(
    backend: CommBackend,
    name: MemberName,
    { src, dst, options }: { readonly src: AgentId; readonly dst: AgentId; readonly options: SendOptions },
  ): Promise<Traffic> {
    const { signal, cause = "work", kind = "tool" } = options;
    const { peer, traffic } = await backend.connect(src, dst, { cause, kind, ...(signal ? { signal } : {}) });
    this.sessions.met(dst, name, peer.incarnation);
    return traffic;
  }

  /** Says what was chosen, and what it is. */
  private settle(peer: AgentId, decision: Decision): MemberName {
    if (decision.kind === "refused") throw new CommError("protocol", peer, decision.reason);
    for (const choice of decision.choices) this.options.onRoute(choice);
    return decision.protocol as MemberName;
  }

  /** One operation by one protocol, observed. */
  private async by<T extends { readonly traffic: Traffic }>(
    peer: AgentId,
    name: MemberName,
    { kind, timed, carried = () => 0 }: Operation<T>,
    run: (backend: CommBackend) => Promise<T>,
  ): Promise<T> {
    const { mesh, adapters, router, now } = this.options;
    // Where there is no choice nothing is compared.
    const isChosen = mesh.hosted(peer).length > 1;
    const observe = (sample: Sample): void => {
      if (isChosen) router.observe(peer, name, sample, now());
    };
    const its = adapters.get(name);
    const backend = its instanceof Promise ? await its : its;
    try {
      const value = await run(backend);
      const { traffic } = value;
      const bytes = traffic.bytesSent + traffic.bytesReceived;
      if (isChosen) observe({ kind, ms: traffic.ms, outcome: "answered", timed, moved: { bytes, carried: carried(value) } });
      return { ...value, traffic: { ...traffic, protocol: name } };
    } catch (error) {
      const code = codeOf(error);
      if (code === "refused") router.died(peer);
      if (code !== null && !NO_VERDICT.has(code)) observe({ kind, ms: 0, outcome: outcomeOf(code, timed), timed: false });
      throw markFailure(error, name);
    }
  }

  /** By one protocol after the other until one succeeds; when none does, the first failure, with all that was moved. */
  private async inTurn<T extends { readonly traffic: Traffic }>(
    peer: AgentId,
    order: readonly MemberName[],
    {
      kind,
      another,
      options,
    }: { readonly kind: string; readonly another: ReadonlySet<CommErrorCode>; readonly options: CallOptions },
    run: (backend: CommBackend) => Promise<T>,
  ): Promise<Attempts<T>> {
    const failed: { protocol: MemberName; code: CommErrorCode }[] = [];
    const moved: (Traffic | undefined)[] = [];
    let failure: unknown;
    for (const name of order) {
      try {
        const value = await this.by(peer, name, { kind, timed: true }, run);
        const traffic = together(name, [...moved, value.traffic]) ?? value.traffic;
        return { name, value: { ...value, traffic }, ms: value.traffic.ms, failed };
      } catch (error) {
        failure ??= error;
        const code = codeOf(error);
        if (code === null) throw error;
        failed.push({ protocol: name, code });
        moved.push(trafficOf(error));
        if (!another.has(code) || options.signal?.aborted) break;
      }
    }
    const traffic = together(failed[0]?.protocol ?? "", moved);
    throw traffic === null || !(failure instanceof Error) ? failure : Object.assign(failure, { traffic });
  }

  /** Which protocol does this work at a peer: the one that the id names, else the first that can do this with work. */
  private workAt(peer: AgentId, workId: string, operation: "cancel" | "resume"): { name: MemberName; id: string } {
    const { mesh, config } = this.options;
    const able = mesh.dialled(peer).filter((name) => capabilitiesOf(name, memberConfig(config, name))[operation]);
    const { name, id } = readWorkId(workId);
    const found = name === null ? able[0] : able.find((other) => other === name);
    if (found !== undefined) return { name: found, id };
    const hosted = mesh.dialled(peer).join(", ");
    throw new CommError("protocol", peer, `${peer}: no ${operation} of ${workId}: of what it hosts (${hosted}) none can do that`);
  }
}

/**
 * That the peer has said who it is. Some protocols let a stranger say nothing; in a mix the host of another protocol looks the same, so
 * whoever says nothing is not taken for a peer.
 */
function introduced(result: ConnectResult): ConnectResult {
  const { peer, traffic } = result;
  if (peer.incarnation > 0) return result;
  const words = `${peer.agentId}: whoever answers does not say who it is; it may speak another protocol`;
  throw Object.assign(new CommError("protocol", peer.agentId, words, { detail: peer }), { traffic });
}

/** The same options, with work known by its protocol too. */
function named(name: MemberName, options: SendOptions): SendOptions {
  const { onAccepted } = options;
  if (onAccepted === undefined) return options;
  return { ...options, onAccepted: (workId) => onAccepted(workIdOf(name, workId)) };
}
