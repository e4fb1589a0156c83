import type { AgentId } from "@failstorm/core";
import { isMetOnce, type MemberName } from "./members.ts";

/**
 * Which incarnation of a peer each protocol has dealt with. A peer that hosts several protocols is met again in one of them after its
 * death; what the others still know of it (an identity, agreements) is of its former life, and they must meet it again before they
 * carry a message.
 */
export class Sessions {
  private readonly incarnations = new Map<AgentId, number>();
  private readonly used = new Map<string, number>();

  /** A peer was met in this protocol. */
  met(peer: AgentId, protocol: MemberName, incarnation: number): void {
    this.incarnations.set(peer, incarnation);
    this.used.set(`${peer} ${protocol}`, incarnation);
  }

  /** The protocol is about to carry a message to the peer, and learns of it what it needs. */
  carries(peer: AgentId, protocol: MemberName): void {
    const incarnation = this.incarnations.get(peer);
    if (incarnation !== undefined) this.used.set(`${peer} ${protocol}`, incarnation);
  }

  /** The protocol has to meet the peer before it carries a message: what it knows of it is of a former life, or would be of use. */
  mustMeet(peer: AgentId, protocol: MemberName): boolean {
    const used = this.used.get(`${peer} ${protocol}`);
    if (isMetOnce(protocol)) return used === undefined;
    return used !== undefined && used !== this.incarnations.get(peer);
  }
}
