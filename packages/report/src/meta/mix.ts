import { type AgentId, hostedById, type MessageKind, type RunEventOf } from "@failstorm/core";
import { measureDetection } from "../detection.ts";
import { measureRecovery, measureRejoin } from "../reconnection.ts";
import type { RunRecord } from "../run.ts";
import { spreadOf, summarise, toMicroseconds } from "../spread.ts";
import { measureServiceGap, measureTakeover } from "../takeover.ts";
import { affectedTasks, type Goodput, goodputIn, type TaskResult } from "../tasks.ts";
import type { Storm, Timeline } from "../timeline.ts";
import type { MixMetrics } from "./mixSchema.ts";

/** Requests for work: their latency holds the callee's think time, the same for all protocols. */
const WORK: ReadonlySet<MessageKind> = new Set(["tool", "lookup", "relay"]);
/** So many choices of the router are listed; there may be more. A large mesh has as many first choices as links: they give way to changes. */
const MAX_ROUTES = 1000;

type PairRow = MixMetrics["pairs"][number];
type Latencies = PairRow["work_ms"];
type RecoveryRow = MixMetrics["recovery"][number];

type Hosts = (agent: AgentId) => readonly string[];

/** The measures of a network of several protocols, by protocol and by pair of them; null where all agents speak the same one. */
export function measureMix(run: RunRecord, timeline: Timeline, tasks: readonly TaskResult[]): MixMetrics | null {
  const hosts = hostedById(run.config.scenario);
  if (hosts === null) return null;
  const hostedBy: Hosts = (agent) => hosts.get(agent) ?? [];
  const names = [...new Set([...hosts.values()].flat())].toSorted();
  const messages = timeline.index.of("msg").map((event) => pairOf(event, hostedBy));
  const chosen = timeline.index.of("route.chosen");
  return {
    protocols: names.map((protocol) => ({
      protocol,
      agents: [...hosts.values()].filter((own) => own.includes(protocol)).length,
      goodput: goodputOf(tasks.filter(({ task }) => hostedBy(task.homeOwner).includes(protocol))),
    })),
    recovery: timeline.storms.flatMap((storm) => recoveryRows({ run, timeline, storm, tasks, names, hostedBy })),
    pairs: pairRows(messages),
    crossed: {
      n: messages.filter(({ event }) => crosses(event, hostedBy)).length,
      total: messages.length,
    },
    routes: listedRoutes(chosen).map(({ t, src, peer, protocol, before, reason }) => ({
      at_ms: toMicroseconds(t - timeline.t0),
      agent: src,
      peer,
      protocol,
      before,
      reason,
    })),
    routes_total: chosen.length,
  };
}

function listedRoutes(chosen: readonly RunEventOf<"route.chosen">[]): readonly RunEventOf<"route.chosen">[] {
  if (chosen.length <= MAX_ROUTES) return chosen;
  const [changes, firsts] = [chosen.filter(({ before }) => before !== null), chosen.filter(({ before }) => before === null)];
  return [...changes, ...firsts].slice(0, MAX_ROUTES).toSorted((a, b) => a.t - b.t);
}

const goodputOf = (tasks: readonly TaskResult[]): Goodput => goodputIn(tasks, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY);

/** A message that failed before its protocol was chosen counts under what the callee hosts. */
const pairOf = (event: RunEventOf<"msg">, hostedBy: Hosts): Message => ({
  event,
  caller: hostedBy(event.src).join("+"),
  callee: event.protocol ?? hostedBy(event.to).join("+"),
});

function crosses({ src, to, protocol }: RunEventOf<"msg">, hostedBy: Hosts): boolean {
  const own = hostedBy(src);
  return protocol === undefined ? hostedBy(to).every((other) => !own.includes(other)) : !own.includes(protocol);
}

interface Message {
  readonly event: RunEventOf<"msg">;
  readonly caller: string;
  readonly callee: string;
}

function pairRows(messages: readonly Message[]): PairRow[] {
  const byPair = Map.groupBy(messages, ({ caller, callee }) => `${caller} ${callee}`);
  return [...byPair]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([, own]) => {
      const sum = (pick: (event: RunEventOf<"msg">) => number): number =>
        own.reduce((total, { event }) => total + pick(event), 0);
      return {
        caller: own[0]?.caller ?? "",
        callee: own[0]?.callee ?? "",
        n: own.length,
        failed: sum((event) => (event.error === null ? 0 : 1)),
        bytes_sent: sum((event) => event.bytesSent),
        bytes_received: sum((event) => event.bytesReceived),
        work_ms: latencies(own, (event) => WORK.has(event.kind)),
        probe_ms: latencies(own, (event) => event.kind === "probe"),
        handshake_ms: latencies(own, (event) => event.kind === "handshake"),
      };
    });
}

function latencies(messages: readonly Message[], wanted: (event: RunEventOf<"msg">) => boolean): Latencies {
  const ms = messages.filter(({ event }) => event.error === null && wanted(event)).map(({ event }) => event.ms);
  const { n, p50, p95 } = summarise(ms);
  return { n, p50, p95 };
}

interface RecoveryInput {
  readonly run: RunRecord;
  readonly timeline: Timeline;
  readonly storm: Storm;
  readonly tasks: readonly TaskResult[];
  readonly names: readonly string[];
  readonly hostedBy: Hosts;
}

/** The storm's own measures, over the victims that host a protocol; an agent that hosts several counts under each. */
function recoveryRows({ run, timeline, storm, tasks, names, hostedBy }: RecoveryInput): RecoveryRow[] {
  const affected = affectedTasks(timeline, storm, tasks);
  return names.flatMap((protocol) => {
    const victims = storm.victims.filter(({ agent }) => hostedBy(agent).includes(protocol));
    if (victims.length === 0) return [];
    const struck = new Set(victims.map(({ agent }) => agent));
    const own: Storm = { ...storm, victims };
    const ownAffected = affected.filter(({ victim }) => struck.has(victim));
    const detection = measureDetection(timeline, own);
    return [
      {
        cycle: storm.cycle,
        protocol,
        victims: victims.length,
        detection_ms: spreadOf(detection.pairs.map(({ ms }) => ms)),
        recovery_ms: measureRecovery(timeline, own).value,
        takeover_ms: measureTakeover(timeline, own, ownAffected),
        service_gap_ms: measureServiceGap(own, ownAffected).value,
        rejoin_ms: spreadOf(measureRejoin(run, timeline, own).victims.map(([, ms]) => ms)),
        takeovers: countTakeovers(timeline, own, hostedBy),
      },
    ];
  });
}

/** What was taken over from the victims and served, until the storm's end: in all, and by agents that share no protocol with the dead. */
function countTakeovers(timeline: Timeline, storm: Storm, hostedBy: Hosts): RecoveryRow["takeovers"] {
  const dead = new Set(storm.victims.map(({ agent, inc }) => `${agent}/${inc}`));
  const served = timeline.index
    .of("takeover.served")
    .filter((event) => dead.has(`${event.from}/${event.fromInc}`) && event.t >= storm.at && event.t <= storm.until);
  const across = served.filter(({ src, from }) => hostedBy(src).every((protocol) => !hostedBy(from).includes(protocol)));
  return { served: served.length, across: across.length };
}
