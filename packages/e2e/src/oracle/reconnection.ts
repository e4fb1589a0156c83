import type { Claims } from "./claims.ts";
import { type Exchange, HELD_PATH } from "./connections.ts";
import type { OwnedConnection, Outside } from "./outside.ts";
import { median, type Row, row, SHOWN, TIME, type Tolerance } from "./row.ts";
import { bySurvivors, type Storm, type Victim } from "./storm.ts";

const HANDSHAKE_PATH = "/agent";

/** Notice and recovery: FINs and handshakes on the wire against the recorded events and the measures. */
export const compareReconnection = (claims: Claims, outside: Outside, storm: Storm | null): Row[] => [
  ...compareNotice(claims, outside, storm),
  row("recovery_ms", "ms", claims.metrics.recovery_ms, storm === null ? null : firstReconnect(claims, outside, storm), TIME),
];

/**
 * A survivor's notice is the first instruction that could act upon the FIN: never before the FIN, and after it by however long the
 * survivor waited for a core and for its own event loop. That wait is no error of measurement, but more than this is no notice.
 */
const NOTICE_LAG_MS = 500;
const NOTICE: Tolerance = { kind: "after", least: -NOTICE_LAG_MS, most: 2 };

/** When the victim's kernel closed each held-open stream, against the survivor's recorded notice. */
function compareNotice(claims: Claims, outside: Outside, storm: Storm | null): Row[] {
  const closed = storm === null ? [] : closedStreams(outside, storm);
  const claimed = claims.metrics.transport_notice_ms;
  const values = closed.map(({ at, victim }) => at - victim.fault.before).toSorted((a, b) => a - b);
  const delays = closed.map(({ at, victim, survivor }) => {
    const notice = claims.events.find(
      ({ ev, src, peer, peerInc }) =>
        ev === "transport.notice" && src === survivor && peer === victim.fault.agent && peerInc === victim.fault.agentInc,
    );
    return notice === undefined ? Number.POSITIVE_INFINITY : notice.t - at;
  });
  const rows = [
    row("transport_notice_ms.first", "ms", claimed?.first ?? null, values[0] ?? null, NOTICE),
    row("transport_notice_ms.p50", "ms", claimed?.p50 ?? null, median(values), NOTICE),
    row("transport_notice_ms.last", "ms", claimed?.last ?? null, values.at(-1) ?? null, SHOWN),
  ];
  if (closed.length === 0) return rows;
  return [
    ...rows,
    row(`FIN to notice, soonest of ${closed.length}`, "ms", Math.min(...delays), 0, NOTICE),
    row("FIN to notice, median", "ms", median(delays), 0, SHOWN),
    row("FIN to notice, worst", "ms", Math.max(...delays), 0, SHOWN),
  ];
}

interface ClosedStream {
  readonly survivor: string;
  readonly victim: Victim;
  readonly at: number;
}

/** The streams that survivors held open to victims at the fault, the first of each pair. */
function closedStreams(outside: Outside, storm: Storm): ClosedStream[] {
  const pairs = new Map<string, ClosedStream>();
  for (const { client, serverPort, openedAt, serverClosedAt, exchanges } of bySurvivors(storm, outside)) {
    const victim = storm.victims.find(({ process }) => process.port === serverPort);
    const at = serverClosedAt ?? Number.NEGATIVE_INFINITY;
    if (victim === undefined || openedAt > storm.at || at < victim.fault.before) continue;
    if (!exchanges.some(({ path, status }) => path === HELD_PATH && status === 200)) continue;
    const survivor = client?.agent ?? "";
    const known = pairs.get(`${survivor} ${victim.fault.agent}`);
    if (known === undefined || at < known.at) pairs.set(`${survivor} ${victim.fault.agent}`, { survivor, victim, at });
  }
  return [...pairs.values()];
}

interface Description {
  readonly agentId: string;
  readonly incarnation: number;
  readonly capabilities: readonly string[];
}

/**
 * The first byte of the first reconnect handshake that completed, from the *before* stamp of the victim concerned: a survivor's
 * `GET /agent` answered by a victim's next incarnation, or by an agent that describes itself with a shard or tool that is by
 * right that of a victim which the survivor had lost, or (a repaired ring or star) by somebody it had never greeted. Whom a
 * survivor has lost is a belief, not to be seen from outside: that alone is read from its own detections.
 */
function firstReconnect(claims: Claims, outside: Outside, storm: Storm): number | null {
  const greetings = bySurvivors(storm, outside).flatMap((connection) =>
    connection.exchanges.filter(({ path }) => path === HANDSHAKE_PATH).map((exchange) => ({ connection, exchange })),
  );
  const greeted = new Set(
    greetings.filter(({ exchange }) => exchange.firstByteAt < storm.at).map(({ connection }) => pairOf(connection)),
  );
  const homes = new Map(outside.processes.map(({ agent, home }) => [agent, home]));
  const delays = greetings.flatMap(({ connection, exchange }) => {
    const { firstByteAt, lastByteAt } = exchange;
    const said = describe(exchange);
    if (firstByteAt < storm.at || said === null || lastByteAt > storm.until) return [];
    const lost = lostBy(claims, connection.client?.agent, firstByteAt);
    const since = greeted.has(pairOf(connection)) ? lossMadeGood(storm, said, homes, lost) : storm.at;
    return since === null || firstByteAt < since ? [] : [firstByteAt - since];
  });
  return delays.length === 0 ? null : Math.min(...delays);
}

const pairOf = ({ client, serverPort }: OwnedConnection): string => `${client?.pid}>${serverPort}`;

function describe({ status, answer }: Pick<Exchange, "status" | "answer">): Description | null {
  if (status !== 200) return null;
  try {
    return JSON.parse(answer.slice(answer.indexOf("\r\n\r\n") + 4)) as Description;
  } catch {
    return null;
  }
}

/** The victims that this survivor had declared dead by then. */
const lostBy = (claims: Claims, survivor: string | undefined, at: number): ReadonlySet<unknown> =>
  new Set(claims.events.filter(({ ev, src, t }) => ev === "detect.dead" && src === survivor && t <= at).map(({ peer }) => peer));

/** The stamp of the victim whose loss this description makes good; null when it makes good none. */
function lossMadeGood(
  storm: Storm,
  said: Description,
  homes: ReadonlyMap<string, readonly string[]>,
  lost: ReadonlySet<unknown>,
): number | null {
  const own = new Set(homes.get(said.agentId));
  const gained = new Set(said.capabilities.filter((capability) => !own.has(capability)));
  for (const { fault, process } of storm.victims) {
    if (said.agentId === fault.agent && said.incarnation > fault.agentInc) return fault.before;
    if (lost.has(fault.agent) && process.home.some((capability) => gained.has(capability))) return fault.before;
  }
  return null;
}
