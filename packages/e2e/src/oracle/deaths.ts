import type { Claims } from "./claims.ts";
import type { AgentProcess, OwnedConnection, Outside } from "./outside.ts";
import { EQUAL, type Row, row, SHOWN, TIME } from "./row.ts";
import { type Storm, successorOf, type Victim } from "./storm.ts";

/**
 * The kernel frees a process's memory before it closes its sockets and reports its exit; with load beside, it takes its time, on the same
 * cores for which the survivors wait before they notice.
 */
const EXIT_WITHIN_MS = 500;
const SIGKILL = 9;

/** Who died, when, and who came back: processes and packets against the schedule and the recorded stamps. */
export function compareDeaths(claims: Claims, outside: Outside, storm: Storm | null): Row[] {
  const end = claims.t0 + claims.runtimeMs;
  const dead = outside.processes.filter(({ exitedAt }) => exitedAt !== null && exitedAt < end);
  const planned = claims.schedule.faults.filter(({ fake }) => !fake).flatMap(({ victims }) => victims);
  const struck = claims.faults.filter(({ fake }) => !fake);
  const rows = [
    row("killed: schedule", "agents", names(planned), names(dead.map(({ agent }) => agent)), EQUAL),
    row("killed: recorded", "pids", names(struck.map(({ pid }) => pid)), names(dead.map(({ pid }) => pid)), EQUAL),
  ];
  if (storm === null) return rows;
  const byKill = dead.filter(({ signal }) => signal === SIGKILL || signal === null);
  if (storm.victims[0]?.fault.kind === "sigkill")
    rows.push(row("ended by SIGKILL", "processes", struck.length, byKill.length, EQUAL));
  const firstKill = Math.min(...storm.victims.map(({ process }) => process.firstThreadExitAt ?? Number.NaN));
  rows.push(row("fault, after t=0", "ms", claims.metrics.at_ms, orNull(firstKill - claims.t0), TIME));
  return [...rows, ...storm.victims.flatMap((victim) => compareDeath(claims, outside, storm, victim))];
}

function compareDeath(claims: Claims, outside: Outside, storm: Storm, victim: Victim): Row[] {
  const { fault, process } = victim;
  const own = bySender(outside.connections, process);
  const last = Math.max(...own.filter((t) => t < (process.exitedAt ?? Number.POSITIVE_INFINITY)));
  const late = answersAfterDeath(outside, victim);
  const said = claims.events.filter((event) => event.src === fault.agent && event.inc === fault.agentInc);
  const told = said.filter((event) => event.t > (process.exitedAt ?? Number.POSITIVE_INFINITY)).length;
  const rows = [
    ...(process.firstThreadExitAt === null
      ? []
      : [row(`${fault.agent}: kill`, "ms", 0, process.firstThreadExitAt - fault.before, TIME)]),
    row(`${fault.agent}: last byte it sent`, "ms", 0, last - fault.before, {
      kind: "after",
      least: Number.NEGATIVE_INFINITY,
      most: fault.after - fault.before + 2,
    }),
    row(`${fault.agent}: process gone`, "ms", 0, (process.exitedAt ?? Number.NaN) - fault.before, {
      kind: "after",
      least: 0,
      most: EXIT_WITHIN_MS,
    }),
    row(`${fault.agent}: bytes from its port while dead`, "bytes", 0, late, EQUAL),
    row(`${fault.agent}: events stamped after its death`, "events", 0, told, EQUAL),
  ];
  return [...rows, ...compareRestart(claims, outside, storm, victim)];
}

/** A victim that comes back is a new process that listens on the same port. */
function compareRestart(claims: Claims, outside: Outside, storm: Storm, victim: Victim): Row[] {
  const { fault, process } = victim;
  const ready = claims.events.find(
    (event) => event.ev === "agent.ready" && event["agent"] === fault.agent && event.t > fault.before && event.t < storm.until,
  );
  const successor = successorOf(victim, outside);
  const seen = successor !== undefined && successor.seenAt < storm.until ? successor : undefined;
  const shown = (pid: unknown, port: unknown): string => `${String(pid)} on ${String(port)}`;
  const rows = [
    row(
      `${fault.agent}: restarted as`,
      "pid, port",
      ready === undefined ? null : shown(ready["pid"], ready["port"]),
      seen === undefined ? null : shown(seen.pid, seen.port),
      EQUAL,
    ),
  ];
  if (seen !== undefined) rows.push(row(`${fault.agent}: same port as before`, "port", process.port, seen.port, EQUAL));
  const planned = claims.schedule.faults.find(({ victims }) => victims.includes(fault.agent))?.restartAtMs ?? null;
  if (planned !== null && seen !== undefined)
    rows.push(row(`${fault.agent}: restart, after t=0`, "ms", planned, seen.seenAt - claims.t0, SHOWN));
  return rows;
}

/** Instants of every payload that a process sent, as client or as server. */
function bySender(connections: readonly OwnedConnection[], process: AgentProcess): number[] {
  return connections.flatMap((connection) => {
    const isServer = connection.serverPort === process.port;
    const isClient = connection.client === process;
    if (!isServer && !isClient) return [];
    return connection.moved.filter(({ byServer }) => (byServer ? isServer : isClient)).map(({ t }) => t);
  });
}

/**
 * Payload bytes from a victim's port between its death and its successor: on connections of its lifetime, and answers to our agents.
 * (A free port may be taken by programs that are none of ours.)
 */
function answersAfterDeath(outside: Outside, victim: Victim): number {
  const { port, exitedAt } = victim.process;
  const from = exitedAt ?? Number.POSITIVE_INFINITY;
  const until = successorOf(victim, outside)?.seenAt ?? Number.POSITIVE_INFINITY;
  return outside.connections
    .filter(({ serverPort, openedAt, client }) => serverPort === port && (openedAt < from || client !== null))
    .flatMap(({ moved }) => moved.filter(({ t, byServer }) => byServer && t > from && t < until))
    .reduce((sum, { bytes }) => sum + bytes, 0);
}

const names = (values: readonly (string | number)[]): string => values.map(String).toSorted().join(" ");
const orNull = (value: number): number | null => (Number.isFinite(value) ? value : null);
