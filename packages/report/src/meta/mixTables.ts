import { formatValue } from "../measures.ts";
import type { MixMetrics } from "./mixSchema.ts";

/** A table as it is shown, on a terminal or a page: the first columns are words, the others figures. */
export interface MixTable {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** What the figures are of. */
  readonly note: string;
}

type Recovery = MixMetrics["recovery"][number];
type Spread = Recovery["detection_ms"];

const kB = (bytes: number): string => formatValue(bytes / 1000);
const percent = (rate: number | null): string => formatValue(rate === null ? null : rate * 100);
/** Until the last of them; which were not reached is said. */
const last = ({ last, reached, total }: Spread): string =>
  total === 0 ? "–" : reached < total ? `${reached} of ${total}` : formatValue(last);
const ofTwo = (p50: number | null, p95: number | null): string => `${formatValue(p50)} / ${formatValue(p95)}`;

const recoveryCells = (row: Recovery): string[] => [
  String(row.victims),
  formatValue(row.detection_ms.p50),
  formatValue(row.recovery_ms),
  last(row.takeover_ms.shard),
  last(row.takeover_ms.task),
  formatValue(row.service_gap_ms),
  last(row.rejoin_ms),
  `${row.takeovers.across} of ${row.takeovers.served}`,
];
const NOT_HIT: readonly string[] = ["0", "–", "–", "–", "–", "–", "–", "–"];

/** Protocol by protocol: what its agents achieved, and how the network got over the loss of those of them that were hit. */
export function protocolTable({ protocols, recovery }: MixMetrics): MixTable {
  const rows = protocols.flatMap(({ protocol, agents, goodput }) => {
    const own = [protocol, String(agents), percent(goodput.rate)];
    const storms = recovery.filter((row) => row.protocol === protocol).map(recoveryCells);
    return (storms.length === 0 ? [NOT_HIT] : storms).map((cells) => own.concat(cells));
  });
  return {
    title: "By protocol",
    head: [
      "protocol",
      "agents",
      "goodput, %",
      "victims",
      "detection p50, ms",
      "recovery, ms",
      "shards taken over, ms",
      "tasks taken over, ms",
      "service gap, ms",
      "rejoin, ms",
      "takeovers across protocols",
    ],
    rows,
    note: "Agents that host it; the storm's measures over the victims that host it, until the last of a kind (or how many got there).",
  };
}

/** Who called whom: the caller's protocols down, the protocol the message went by across is the second column. */
export function pairTable({ pairs, crossed }: MixMetrics): MixTable {
  const share = crossed.total === 0 ? null : crossed.n / crossed.total;
  return {
    title: "By pair of protocols",
    head: [
      "caller",
      "callee",
      "messages",
      "failed",
      "work p50 / p95, ms",
      "probe p50 / p95, ms",
      "handshake p50, ms",
      "kB sent",
      "kB received",
    ],
    rows: pairs.map(({ caller, callee, n, failed, work_ms, probe_ms, handshake_ms, bytes_sent, bytes_received }) => [
      caller,
      callee,
      n.toLocaleString("en-US"),
      failed.toLocaleString("en-US"),
      ofTwo(work_ms.p50, work_ms.p95),
      ofTwo(probe_ms.p50, probe_ms.p95),
      formatValue(handshake_ms.p50),
      kB(bytes_sent),
      kB(bytes_received),
    ]),
    note: `Messages recorded singly, around the faults; work includes the callee's think time. ${crossed.n.toLocaleString("en-US")} of ${crossed.total.toLocaleString("en-US")} (${percent(share)} %) went by a protocol that the caller does not host.`,
  };
}

/** How often the router left which protocol for which, with the first reason it gave; null where it left none. */
export function changesTable({ routes, routes_total }: MixMetrics): MixTable | null {
  const changes = Map.groupBy(
    routes.filter(({ before }) => before !== null),
    ({ before, protocol }) => `${before} ${protocol}`,
  );
  if (changes.size === 0) return null;
  const changed = routes.filter(({ before }) => before !== null).length;
  const rows = [...changes.values()]
    .toSorted((a, b) => b.length - a.length)
    .map((own) => [own[0]?.before ?? "", own[0]?.protocol ?? "", String(own.length), own[0]?.reason ?? ""]);
  return {
    title: "Changes of protocol by the router",
    head: ["before", "after", "times", "the first reason"],
    rows,
    note: `Of ${routes_total} choices${routes.length < routes_total && changed === routes.length ? `, the first ${changed} changes` : ""}; each with its reason is in events.ndjson (route.chosen).`,
  };
}

/** What the router chose, and why; null where nothing was chosen. */
export function routeTable({ routes, routes_total }: MixMetrics, most: number): MixTable | null {
  if (routes.length === 0) return null;
  const shown = routes.slice(0, most);
  return {
    title: "Choices of the router",
    head: ["agent", "peer", "at, s", "protocol", "before", "reason"],
    rows: shown.map(({ at_ms, agent, peer, protocol, before, reason }) => [
      agent,
      peer,
      (at_ms / 1000).toFixed(2),
      protocol,
      before ?? "–",
      reason,
    ]),
    note: routes_total > shown.length ? `${routes_total - shown.length} more are in events.ndjson (route.chosen).` : "",
  };
}
