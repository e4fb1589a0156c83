import type { AgentId, AgentSpec, Roster } from "@failstorm/core";
import { buildLinks, type Link, type MembershipView, monitoredBy, monitorsSuccessors, repairedLinks } from "@failstorm/network";

/** The present links of the topology, remembered per view. */
export function createTopology({ spec, roster }: { readonly spec: AgentSpec; readonly roster: Roster }) {
  const { topology, customEdges, monitors } = spec.config.network;
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
    return monitoredBy({ self: spec.agentId, monitors, ids, live, initialLinks, links: linksIn(view) });
  };
  return { ids, linksIn, monitored, isOverlay: monitors === "all" || monitorsSuccessors(monitors, ids.length) };
}
