import type { Claims } from "./claims.ts";
import type { Exchange } from "./connections.ts";
import type { OwnedConnection, Outside } from "./outside.ts";
import { BYTES, EQUAL, type Row, row, SHOWN, type Tolerance } from "./row.ts";
import { bySurvivors, type Storm } from "./storm.ts";

/** Full length of the windows before and after a fault; shorter where the run is. */
const WINDOW_SECONDS = 30;
/** Payload whose sender could not be told may make up so much of all. */
const UNKNOWN_PERCENT = 0.2;

/** TCP payload on the survivors' client sockets against the measures, and how good the capture was. */
export function compareBytes(claims: Claims, outside: Outside, storm: Storm | null): Row[] {
  const rows = compareCapture(outside);
  const claimed = claims.metrics.bytes_reconnect;
  if (storm === null || claimed === null) return rows;
  const secondOf = (at: number): number => Math.floor((at - claims.t0) / 1000);
  const faultSecond = secondOf(storm.at);
  const lastSecond = secondOf(storm.until);
  const seconds = Math.max(
    0,
    Math.min(WINDOW_SECONDS, lastSecond - faultSecond, faultSecond - Math.floor(claims.loadFromMs / 1000)),
  );
  const own = bySurvivors(storm, outside);
  const exchanges = own.flatMap((connection) => connection.exchanges);
  const isIn = (at: number, from: number, to: number): boolean => secondOf(at) >= from && secondOf(at) < to;
  const moved = (from: number, to: number): number =>
    total(own.flatMap((connection) => connection.moved.filter(({ t }) => isIn(t, from, to)).map(({ bytes }) => bytes)));
  const ended = (from: number, to: number, wanted: (exchange: Exchange) => boolean = () => true): number =>
    total(exchanges.filter((one) => isIn(one.lastByteAt, from, to) && wanted(one)).map(bytesOf));
  // A request counts where it ended: of those under way at an edge of the window, all bytes may lie on one side of it.
  const underWay = (second: number): number =>
    total(exchanges.filter((one) => secondOf(one.firstByteAt) < second && secondOf(one.lastByteAt) >= second).map(bytesOf));
  const atEdges = ([from, to]: readonly [number, number]): Tolerance => ({
    kind: "share",
    share: 0.01,
    plus: underWay(from) + underWay(to),
  });
  const before = [faultSecond - seconds, faultSecond] as const;
  const after = [faultSecond, faultSecond + seconds] as const;
  // A second in which the next storm fell is that one's: what it caused cannot be told from what the first did.
  const all = [faultSecond, storm.isFollowed ? lastSecond : lastSecond + 1] as const;
  const recordedSteps = (cause: string): number => recordedStepBytes(claims, storm, { cause, from: all[0], to: all[1] });
  const { window, by_cause } = claimed;
  return [
    ...rows,
    row("bytes_reconnect.window.seconds", "s", window.seconds, seconds, EQUAL),
    row("bytes_reconnect.window.before", "bytes", window.before, ended(...before), BYTES),
    row("bytes_reconnect.window.after", "bytes", window.after, ended(...after), BYTES),
    row("… before, whatever crossed the wire in it", "bytes", window.before, moved(...before), atEdges(before)),
    row("… after, whatever crossed the wire in it", "bytes", window.after, moved(...after), atEdges(after)),
    row("bytes_reconnect.by_cause.handshake", "bytes", by_cause["handshake"] ?? null, ended(...all, isHandshake), BYTES),
    row("steps tried again (retry)", "bytes", recordedSteps("retry"), ended(...all, isRetry), BYTES),
    row("steps of tasks taken over", "bytes", recordedSteps("takeover"), ended(...all, isTakeover), BYTES),
  ];
}

/** What the survivors recorded of tool steps under a cause: the part of it that requests on the wire show by themselves. */
function recordedStepBytes(claims: Claims, storm: Storm, wanted: { cause: string; from: number; to: number }): number {
  const survivors = new Set([...storm.survivors].map(({ agent }) => agent));
  const lines = claims.events.filter(
    ({ ev, src, kind, cause, second }) =>
      ev === "msg.second" &&
      kind === "tool" &&
      cause === wanted.cause &&
      survivors.has(src) &&
      Number(second) >= wanted.from &&
      Number(second) < wanted.to,
  );
  return total(lines.map((line) => Number(line["bytesSent"]) + Number(line["bytesReceived"])));
}

/** Descriptions asked for; on a ring, also the question who is between us. */
const isHandshake = ({ path, request }: Exchange): boolean => path === "/agent" || request.includes('"body":{"op":"hello"');
const stepOf = ({ request }: Exchange): { attempt: number; takeover: boolean } | null => {
  const [, attempt, takeover] = /"body":\{"op":"tool".*?"attempt":(\d+),.*?"takeover":(true|false)/s.exec(request) ?? [];
  return attempt === undefined ? null : { attempt: Number(attempt), takeover: takeover === "true" };
};
const isRetry = (exchange: Exchange): boolean => (stepOf(exchange)?.attempt ?? 1) > 1;
const isTakeover = (exchange: Exchange): boolean => !isRetry(exchange) && stepOf(exchange)?.takeover === true;

function compareCapture({ capture, connections }: Outside): Row[] {
  const payload = (some: readonly OwnedConnection[]): number =>
    total(some.flatMap(({ moved }) => moved.map(({ bytes }) => bytes)));
  const all = payload(connections);
  const unknown = all === 0 ? 0 : (100 * payload(connections.filter(isForeign))) / all;
  return [
    row("packets dropped by the capture", "packets", 0, capture.droppedByKernel, EQUAL),
    row("payload of unknown senders", "% of all", 0, unknown, { kind: "within", units: UNKNOWN_PERCENT }),
    row("sent again by TCP, counted once", "bytes", null, total(connections.map((one) => one.retransmittedBytes)), SHOWN),
    row("answers to closed sockets, not counted", "bytes", null, total(connections.map((one) => one.unreceivedBytes)), SHOWN),
  ];
}

/** Nobody's that we know of; scrapes of /metrics are known to come from outside. */
const isForeign = ({ client, exchanges }: OwnedConnection): boolean =>
  client === null && !exchanges.every(({ path }) => path === "/metrics");

const bytesOf = ({ bytesSent, bytesReceived }: Exchange): number => bytesSent + bytesReceived;
const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
