import type { AgentId, AgentSpec, Roster } from "@failstorm/core";
import {
  buildLinks,
  type Link,
  type MembershipView,
  monitoredBy,
  monitorsSuccessors,
  repairedLinks,
  turnsAPeriod,
} from "@failstorm/network";

/**
 * A held-open stream costs no messages. Where ring successors are monitored, whatever the links are, and closed streams are acted upon, each of
 * up to so many agents holds one to every other, so that its own kernel tells it of each death. More than that (39 800 streams) was not
 * measured: there, who is not monitored is heard of by gossip.
 */
export const MAX_SIGNALLED = 200;

/** The present links of the topology, remembered per view. */
export function createTopology({ spec, roster }: { readonly spec: AgentSpec; readonly roster: Roster }) {
  const { topology, customEdges, monitors, transportSignals } = spec.config.network;
  const ids = roster.agents.map(({ agentId }) => agentId);
  const initialLinks = buildLinks(topology, ids, customEdges);
  const remembered = new WeakMap<MembershipView, readonly Link[]>();
  const linksIn = (view: MembershipView): readonly Link[] => {
    let links = remembered.get(view);
    if (links === undefined) remembered.set(view, (links = repairedLinks(topology, ids, new Set(view.liveIds), customEdges)));
    return links;
  };
  /** `doubtful`: where ring successors are monitored, those after a suspect are too, in case it is dead and so no monitor of theirs. */
  const monitored = (view: MembershipView, doubtful: ReadonlySet<AgentId> = new Set()): AgentId[] => {
    const live = new Set(view.liveIds.filter((id) => !doubtful.has(id)));
    return monitoredBy({ self: spec.agentId, monitors, ids, live, initialLinks, links: () => linksIn(view) });
  };
  const isSuccessive = monitorsSuccessors(monitors, ids.length);
  const isOverlay = monitors === "all" || isSuccessive;
  const isAllSignalled = transportSignals && isOverlay && ids.length <= MAX_SIGNALLED;
  /** To whom streams are held. Where links are monitored they keep to the links. */
  const signalled = (view: MembershipView, doubtful?: ReadonlySet<AgentId>): AgentId[] =>
    isAllSignalled ? view.liveIds.filter((id) => id !== spec.agentId) : monitored(view, transportSignals ? doubtful : undefined);
  /** Of swim, in a period: where links are monitored some agents watch more than watch them. */
  const turns = (view: MembershipView): number => (isOverlay ? 1 : turnsAPeriod(linksIn(view), spec.agentId));
  return { ids, linksIn, monitored, signalled, turns, isSuccessive, isOverlay, isAllSignalled };
}
