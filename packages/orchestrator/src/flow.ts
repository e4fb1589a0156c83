import { type AgentId, type Clock, type PlannedFault, type ProcessSpec, type RunConfig, RunError } from "@failstorm/core";
import type { Recorder } from "./recorder.ts";
import type { Storm } from "./storm.ts";
import type { SupervisedAgent, Supervisor } from "./supervisor.ts";

/** What a flow is given to work with, once its processes may be started. */
export interface FlowParts {
  readonly supervisor: Supervisor;
  readonly storm: Storm;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly startTimeoutMs: number;
  /** Aborts when the run has to end early; its reason says why. */
  readonly signal: AbortSignal;
  readonly onFatal: (error: unknown) => void;
}

export type SupervisedSpec = ProcessSpec & { readonly control: NonNullable<ProcessSpec["control"]> };

/** What a kind of run does with its processes. A value: the orchestrator carries out any. */
export interface Flow {
  readonly config: RunConfig;
  /** Its processes, by index. */
  readonly agents: readonly AgentId[];
  readonly fullRecording: ProcessSpec["fullRecording"];
  /** What a process is started with: what all have, and what its role needs. Throws RunError. */
  specOf(base: SupervisedSpec): ProcessSpec;
  /** From the first spawn to the moment when nothing is left to do. Throws RunError, or the signal's reason. */
  run(parts: FlowParts): Promise<void>;
}

/** So many agents prepare themselves within the time that one may take to start; all do it at the same time. */
const PREPARED_AT_ONCE = 8;

/** Starts all processes. */
export async function startAll({ recorder, supervisor, startTimeoutMs, signal }: FlowParts): Promise<void> {
  recorder.write({ ev: "run.phase", phase: "spawn" });
  await supervisor.startAll(startTimeoutMs, signal);
}

/** The agents load what the work needs. Before t=0: how long a process takes to get going is no part of a protocol. */
export async function prepareAll({ supervisor, clock, startTimeoutMs, signal }: FlowParts, roster: string): Promise<void> {
  supervisor.tellAll(roster);
  const unprepared = (): string[] => supervisor.agents.filter(({ said }) => !said.has("prepared")).map(({ id }) => id);
  const limitMs = startTimeoutMs * Math.max(1, supervisor.agents.length / PREPARED_AT_ONCE);
  const inTime = await supervisor.waiting.until(() => unprepared().length === 0, clock.now() + limitMs, signal);
  if (!inTime)
    throw new RunError(
      "START_TIMEOUT",
      `${unprepared().join(", ")}: not prepared ${limitMs} ms after the roster; use fewer agents`,
    );
}

export interface Restarts {
  /** What one that was started again is told. */
  readonly briefing: (agent: SupervisedAgent) => string;
  /** It has to have exited by then (CLOCK_MONOTONIC ms). */
  readonly latestExit: number;
}

/** Takes a fault back: the stopped are continued, the dead started again. */
export function restore(parts: FlowParts, fault: PlannedFault, restarts: Restarts): void {
  const { storm, signal, onFatal } = parts;
  storm.clear(fault);
  for (const agent of storm.victimsToRestart(fault)) {
    restart(parts, agent, restarts).catch((error: unknown) => {
      if (!signal.aborted) onFatal(error);
    });
  }
}

/** The orchestrator's whole help to a victim: it is started again, and briefed like the first time. */
export async function restart(parts: FlowParts, agent: SupervisedAgent, { briefing, latestExit }: Restarts): Promise<void> {
  const { supervisor, startTimeoutMs, signal } = parts;
  const gone = await supervisor.waiting.until(() => agent.life.kind === "down", latestExit, signal);
  if (!gone) {
    supervisor.warn(`${agent.id} did not exit after the fault and was not restarted`);
    return;
  }
  await supervisor.start(agent, startTimeoutMs, signal);
  if (agent.life.kind === "live") agent.life.link.send(briefing(agent));
}

/** Strikes, with the phases that tell a reader so. */
export function strike({ recorder, storm }: FlowParts, fault: PlannedFault): void {
  recorder.write({ ev: "run.phase", phase: "fault" });
  storm.inject(fault);
  recorder.write({ ev: "run.phase", phase: "recovery" });
}
