import { readFileSync } from "node:fs";
import type { CaptureTotals } from "./capture.ts";
import { type Connection, followConnections } from "./connections.ts";
import { readSegments } from "./pcap.ts";
import type { Sighting } from "./watcher.ts";

/** One agent process as the kernel showed it. Instants: CLOCK_MONOTONIC ms. */
export interface AgentProcess {
  readonly agent: string;
  readonly pid: number;
  readonly seenAt: number;
  /** The shard and the tool it was started with, as descriptions name them. */
  readonly home: readonly string[];
  port: number | null;
  /** The kernel's stamp of its first thread's end; null where the process connector is not to be had. */
  firstThreadExitAt: number | null;
  /** Signal that ended it, 0 for none; null where the process connector is not to be had. */
  signal: number | null;
  /** Its pidfd became readable: memory, sockets and all its threads are gone. */
  exitedAt: number | null;
}

/** A connection to an agent's port, and the process that opened it: null when that was nobody's or could not be told. */
export interface OwnedConnection extends Connection {
  readonly client: AgentProcess | null;
}

/** All that was seen from outside the harness. */
export interface Outside {
  readonly capture: CaptureTotals;
  readonly notes: readonly string[];
  readonly runDir: string;
  readonly processes: readonly AgentProcess[];
  readonly connections: readonly OwnedConnection[];
  /** How far the offset between the capture's clock and CLOCK_MONOTONIC moved during the run, ms. */
  readonly clockDriftMs: number;
}

/** A socket may be seen this long before or after its packets. */
const SLACK_MS = 500;

/** Puts together what the watcher and the capture saw. Throws when no agent was seen. */
export function readOutside(sightings: readonly Sighting[], captureFile: string, capture: CaptureTotals): Outside {
  const processes = readProcesses(sightings);
  const [spec] = sightings.filter((sighting) => sighting.ev === "agent").map((sighting) => sighting.spec);
  if (spec === undefined) throw new Error("no agent process was ever seen: the run did not start");
  const ports = new Set(processes.map((process) => process.port).filter((port) => port !== null));
  const clock = readOffsets(sightings);
  const connections = followConnections(readSegments(captureFile), ports, clock.toMonotonic);
  return {
    capture,
    notes: sightings.filter((sighting) => sighting.ev === "note").map((sighting) => sighting.text),
    runDir: spec.slice(0, spec.indexOf("/workspaces/")),
    processes,
    connections: nameOwners(connections, processes, sightings),
    clockDriftMs: clock.driftMs,
  };
}

function readProcesses(sightings: readonly Sighting[]): AgentProcess[] {
  const byPid = new Map<number, AgentProcess>();
  for (const sighting of sightings) {
    if (sighting.ev === "agent") {
      const { agent, pid, t, spec } = sighting;
      const home = readHome(spec);
      byPid.set(pid, { agent, pid, seenAt: t, home, port: null, firstThreadExitAt: null, signal: null, exitedAt: null });
    } else if (sighting.ev === "listen") {
      const process = byPid.get(sighting.pid);
      if (process !== undefined) process.port ??= sighting.port;
    } else if (sighting.ev === "exit") {
      const process = byPid.get(sighting.pid);
      if (process !== undefined) process.exitedAt = sighting.t;
    }
  }
  for (const sighting of sightings) {
    const process = sighting.ev === "thread_exit" ? byPid.get(sighting.pid) : undefined;
    if (process === undefined || sighting.ev !== "thread_exit") continue;
    // Threads come and go in a living process too; those of its end bear its signal.
    const signal = sighting.code & 0x7f;
    if (signal === 0 && sighting.thread !== sighting.pid) continue;
    if (process.firstThreadExitAt === null || sighting.t < process.firstThreadExitAt) process.firstThreadExitAt = sighting.t;
    process.signal = Math.max(process.signal ?? 0, signal);
  }
  return [...byPid.values()];
}

function readHome(specFile: string): string[] {
  const { shard, homeTool } = JSON.parse(readFileSync(specFile, "utf8")) as { shard: number; homeTool: string };
  return [`shard:${shard}`, `tool:${homeTool}`];
}

/** CLOCK_REALTIME → CLOCK_MONOTONIC, by linear interpolation between the offsets read during the run. */
function readOffsets(sightings: readonly Sighting[]): { toMonotonic: (realtimeMs: number) => number; driftMs: number } {
  const samples = sightings
    .filter((sighting) => sighting.ev === "offset")
    .map(({ t, offsetNs }) => ({ real: t + toMs(offsetNs), offset: toMs(offsetNs) }));
  const [first] = samples;
  if (first === undefined) throw new Error("the process watcher read no clock offsets");
  const offsets = samples.map((sample) => sample.offset);
  let at = 0;
  const offsetAt = (real: number): number => {
    while (at + 1 < samples.length && (samples[at + 1]?.real ?? Number.POSITIVE_INFINITY) <= real) at += 1;
    while (at > 0 && (samples[at]?.real ?? 0) > real) at -= 1;
    const from = samples[at] ?? first;
    const to = samples[at + 1];
    if (to === undefined || real <= from.real) return from.offset;
    return from.offset + ((to.offset - from.offset) * (real - from.real)) / (to.real - from.real);
  };
  return { toMonotonic: (real) => real - offsetAt(real), driftMs: Math.max(...offsets) - Math.min(...offsets) };
}

const toMs = (nanoseconds: string): number => Number(BigInt(nanoseconds) / 1000n) / 1000;

/**
 * Which process opened which connection: by the socket's inode where it was seen, else (it lived shorter than a tick) by the sender
 * that the requests on it name.
 */
function nameOwners(
  connections: readonly Connection[],
  processes: readonly AgentProcess[],
  sightings: readonly Sighting[],
): OwnedConnection[] {
  const byPid = new Map(processes.map((process) => [process.pid, process]));
  const seen = Map.groupBy(
    sightings.filter((sighting) => sighting.ev === "socket"),
    ({ local, remote }) => `${local}>${remote}`,
  );
  return connections.map((connection) => {
    const { clientPort, serverPort, openedAt, lastAt } = connection;
    const sighting = (seen.get(`${clientPort}>${serverPort}`) ?? []).find(
      ({ t }) => t >= openedAt - SLACK_MS && t <= lastAt + SLACK_MS,
    );
    const client = sighting === undefined ? senderOf(connection, processes) : (byPid.get(sighting.pid) ?? null);
    return { ...connection, client };
  });
}

function senderOf({ exchanges, openedAt }: Connection, processes: readonly AgentProcess[]): AgentProcess | null {
  const named = exchanges.map(({ request }) => /"from":"(agent-\d+)"/.exec(request)?.[1]).find((name) => name !== undefined);
  const lives = processes.filter(({ agent, seenAt }) => agent === named && seenAt <= openedAt);
  return lives.at(-1) ?? null;
}
