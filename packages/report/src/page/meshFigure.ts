import { type AgentId, byAgentIndex } from "@failstorm/core";
import { isStopped, lifeAt, type Storm } from "../timeline.ts";
import { expectedLinks } from "../topology.ts";
import { type Html, html } from "./html.ts";
import { type RunView, secondsAt } from "./runView.ts";
import type { StormMetrics } from "../schema.ts";

const SIZE = 210;
/** Beyond this many lines only those that touch a victim, or that were not there before, are drawn. */
const MAX_LINES = 1200;

type LinkState = "up" | "half" | "stale";

interface Link {
  readonly a: AgentId;
  readonly b: AgentId;
  /** up: both greeted; half: one did so far; stale: somebody still holds it though the other end is dead. */
  readonly state: LinkState;
  readonly isNew: boolean;
}

interface Moment {
  readonly title: string;
  readonly at: number;
}

function moments({ timeline }: RunView, storm: Storm, metrics: StormMetrics): Moment[] {
  const struck = Math.max(...storm.victims.map((victim) => victim.after));
  const { last } = metrics.detection_ms;
  const repaired: Moment[] =
    metrics.reconnected_ms !== null
      ? [{ title: "repaired", at: storm.at + metrics.reconnected_ms }]
      : last === null
        ? []
        : [{ title: "all had noticed", at: storm.at + last }];
  return [
    { title: "before the storm", at: storm.at - 0.001 },
    { title: "at the storm", at: struck + 0.001 },
    ...repaired,
    { title: storm.until >= timeline.endAt ? "at the end" : "before the next storm", at: storm.until - 0.001 },
  ];
}

/** The links that the agents held at the instant `at`, by replaying their events. */
export function linksAt({ run, timeline }: RunView, at: number): { a: AgentId; b: AgentId; state: LinkState }[] {
  const held = new Map<string, { src: AgentId; inc: number; peer: AgentId; peerInc: number }>();
  const { topology, customEdges } = run.config.network;
  const live = new Set(timeline.ids.filter((id) => lifeAt(timeline, id, at) !== null));
  const wanted = new Set(
    expectedLinks(topology, timeline.ids, live, customEdges).flatMap(([a, b]) => [`${a}>${b}`, `${b}>${a}`]),
  );
  const changes = [...timeline.index.of("link.up"), ...timeline.index.of("link.down")]
    .filter((event) => event.t <= at)
    .sort((x, y) => x.t - y.t);
  for (const change of changes) {
    const key = `${change.src}>${change.peer}`;
    if (change.ev === "link.down") {
      if (held.get(key)?.peerInc === change.peerInc) held.delete(key);
      // A greeting of a replacement that is no neighbour makes no link.
    } else if (change.reason !== "replacement" || wanted.has(key)) {
      held.set(key, { src: change.src, inc: change.inc, peer: change.peer, peerInc: change.peerInc });
    }
  }
  const ends = new Map<string, { a: AgentId; b: AgentId; fresh: number; stale: number }>();
  for (const { src, inc, peer, peerInc } of held.values()) {
    if (lifeAt(timeline, src, at)?.inc !== inc) continue;
    const [a, b] = byAgentIndex(src, peer) < 0 ? [src, peer] : [peer, src];
    const link = ends.get(`${a} ${b}`) ?? { a, b, fresh: 0, stale: 0 };
    if (lifeAt(timeline, peer, at)?.inc === peerInc) link.fresh += 1;
    else link.stale += 1;
    ends.set(`${a} ${b}`, link);
  }
  return [...ends.values()].map(({ a, b, fresh }) => ({ a, b, state: fresh === 2 ? "up" : fresh === 1 ? "half" : "stale" }));
}

type NodeState = "dead" | "stopped" | "again" | "alive";

/** How an agent is drawn at the instant `at`. A stopped process (SIGSTOP) lives, and does as little as a dead one. */
export function nodeAt(
  { timeline }: RunView,
  id: AgentId,
  at: number,
): { readonly id: AgentId; readonly state: NodeState; readonly sign: string; readonly says: string } {
  const life = lifeAt(timeline, id, at);
  if (life === null) return { id, state: "dead", sign: "✕", says: `${id}: dead` };
  const stopped = isStopped(timeline, life, at);
  const state = stopped ? "stopped" : life.inc > 1 ? "again" : "alive";
  const home = life.homeTool === null ? "" : `, ${life.homeTool}, shard ${life.shard}`;
  const says = `${id}: incarnation ${life.inc}${home}${stopped ? ", stopped" : ""}`;
  return { id, state, sign: stopped ? "‖" : id.replace("agent-", ""), says };
}

function drawing(view: RunView, storm: Storm, moment: Moment, before: ReadonlySet<string>): Html {
  const { ids } = view.timeline;
  const victims = new Set(storm.victims.map((victim) => victim.agent));
  const px = (value: number | undefined): string => (value ?? 0).toFixed(1);
  const centre = SIZE / 2;
  // Of neighbours on the circle the line between them must be seen.
  const spacing = (2 * Math.PI * (centre - 14)) / ids.length;
  const radius = Math.max(2.5, Math.min(11, spacing * 0.28));
  const place = new Map(
    ids.map((id, i) => {
      const angle = (2 * Math.PI * i) / ids.length - Math.PI / 2;
      const ring = centre - radius - 6;
      return [id, { x: centre + ring * Math.cos(angle), y: centre + ring * Math.sin(angle) }] as const;
    }),
  );
  const all: Link[] = linksAt(view, moment.at).map(({ a, b, state }) => ({ a, b, state, isNew: !before.has(`${a} ${b}`) }));
  const links =
    all.length <= MAX_LINES
      ? all
      : all.filter((link) => link.isNew || victims.has(link.a) || victims.has(link.b)).slice(0, MAX_LINES);
  const counts = { up: 0, half: 0, stale: 0 };
  for (const link of all) counts[link.state] += 1;
  const nodes = ids.map((id) => nodeAt(view, id, moment.at));
  const count = (wanted: NodeState): number => nodes.filter(({ state }) => state === wanted).length;
  const [dead, stopped] = [count("dead"), count("stopped")];
  return html`<figure class="mesh-moment">
    <svg viewBox="0 0 ${SIZE} ${SIZE}" role="img" aria-label="Links ${moment.title}">
      ${links.map(({ a, b, state, isNew }) => html`<line class="link ${state}${isNew && " new"}" x1="${px(place.get(a)?.x)}" y1="${px(place.get(a)?.y)}" x2="${px(place.get(b)?.x)}" y2="${px(place.get(b)?.y)}"/>`)}
      ${nodes.map(({ id, state, sign, says }) => {
        const at = place.get(id);
        return html`<g class="node ${state}${victims.has(id) && " victim"}" aria-label="${says}"><circle cx="${px(at?.x)}" cy="${px(at?.y)}" r="${px(radius)}"/>${radius > 4 && html`<text x="${px(at?.x)}" y="${px((at?.y ?? 0) + radius / 3)}" font-size="${px(radius)}">${sign}</text>`}</g>`;
      })}
    </svg>
    <figcaption><strong>${moment.title}</strong><br>${secondsAt(view.timeline, moment.at).toFixed(2)} s · ${counts.up} links${counts.half > 0 && `, ${counts.half} half`}${counts.stale > 0 && html`, <span class="bad">${counts.stale} to the dead</span>`}${dead > 0 && html` · ${dead} dead`}${stopped > 0 && html` · ${stopped} stopped`}</figcaption>
  </figure>`;
}

/** The links before, at and after a storm, as the agents held them. */
export function meshFigure(view: RunView, storm: Storm, metrics: StormMetrics): Html {
  const shown = moments(view, storm, metrics);
  const before = new Set(linksAt(view, shown[0]?.at ?? storm.at).map((link) => `${link.a} ${link.b}`));
  return html`<div id="chart-mesh-${storm.cycle}" class="mesh">${shown.map((moment) => drawing(view, storm, moment, before))}</div>
    <p class="caption">A line is a link that both ends hold; thin: one end so far. Red and dashed: a survivor still counts on an agent that is
    dead. Orange: a link that was not there before. A ring around an agent: it was started again. ✕: dead; ‖: stopped (SIGSTOP).</p>`;
}
