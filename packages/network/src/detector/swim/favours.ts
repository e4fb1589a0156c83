import type { AgentId } from "@failstorm/core";

/** Indirect probes made for others, who wait for word of them. */
export interface Favours {
  /** Answers whether nobody else waits for a probe of this peer. */
  add(peer: AgentId, asker: AgentId, until: number): boolean;
  /** Who asked for a probe of this peer, taken out. */
  settle(peer: AgentId): readonly AgentId[];
  /** Whose time is up, taken out. */
  expired(now: number): readonly { readonly peer: AgentId; readonly asker: AgentId }[];
  dueAt(): number;
}

export function createFavours(): Favours {
  let open: { readonly peer: AgentId; readonly asker: AgentId; readonly until: number }[] = [];
  return {
    add(peer, asker, until) {
      const isFirst = !open.some((favour) => favour.peer === peer);
      open = [...open.filter((favour) => favour.peer !== peer || favour.asker !== asker), { peer, asker, until }];
      return isFirst;
    },
    settle(peer) {
      const settled = open.filter((favour) => favour.peer === peer);
      if (settled.length > 0) open = open.filter((favour) => favour.peer !== peer);
      return settled.map(({ asker }) => asker);
    },
    expired(now) {
      const expired = open.filter(({ until }) => until <= now);
      if (expired.length > 0) open = open.filter(({ until }) => until > now);
      return expired;
    },
    dueAt: () => open.reduce((dueAt, { until }) => Math.min(dueAt, until), Number.POSITIVE_INFINITY),
  };
}
