import { randomBytes } from "node:crypto";
import { accessSync, constants } from "node:fs";
import path from "node:path";
import {
  type AgentId,
  type Clock,
  InputError,
  makeFolder,
  type ProcessSpec,
  RunError,
  type RunEvent,
  type RunEventOf,
} from "@failstorm/core";
import { startControlServer } from "./control/server.ts";
import type { Flow } from "./flow.ts";
import type { Launcher } from "./launcher/launcher.ts";
import { localLauncher } from "./launcher/local.ts";
import { sampleMachine } from "./machine.ts";
import { startMetricsServer } from "./metricsServer.ts";
import { AGENT_HOST, checkPorts } from "./ports.ts";
import { openRecorder, ORCHESTRATOR_EVENTS, type Recorder, remedySuffix } from "./recorder.ts";
import { registerRun, stopAll } from "./shutdown.ts";
import { createStorm } from "./storm.ts";
import { Supervisor } from "./supervisor.ts";
import { createWaiting } from "./waiting.ts";

export interface ExecuteOptions {
  /** The run's folder; made when it is not there. Its name is the run id. */
  readonly runDir: string;
  /** Path of the agent's main.ts. */
  readonly agentEntry: string;
  /** Run once before the agents, with the protocol's name, to fill node's compile cache; null = not at all. */
  readonly agentWarmUp: string | null;
  readonly clock: Clock;
  /** Where agents run; default: this machine. One that is given is not closed. */
  readonly launcher?: Launcher;
  /** Abort = orderly end. */
  readonly signal: AbortSignal;
  /** The live view: own events as written, the agents' as they come in (without the finest). */
  readonly onEvent: (event: RunEvent) => void;
  readonly timeouts?: Partial<Timeouts>;
}

/** Patience, ms; not scaled with the timeline, since processes start and end as fast as the machine lets them. */
export interface Timeouts {
  /** From an agent's spawn to its `ready`. */
  readonly startMs: number;
  /** From `stop` to SIGTERM; STOP_MS_PER_AGENT is added for each agent. */
  readonly stopMs: number;
  /** The same when the run was interrupted or has failed. */
  readonly abortMs: number;
  /** From SIGTERM to SIGKILL. */
  readonly termMs: number;
}

export interface Outcome {
  readonly status: RunEventOf<"run.finished">["status"];
  readonly reason: string | null;
}

const TIMEOUTS: Timeouts = { startMs: 30_000, stopMs: 5000, abortMs: 2000, termMs: 1000 };
/** Two hundred agents that write their last events share a few cores. */
const STOP_MS_PER_AGENT = 100;
const SAMPLE_INTERVAL_MS = 1000;
const MIN_SAMPLE_INTERVAL_MS = 200;
const INTERRUPTED = Symbol("interrupted");

/**
 * Carries out a flow: starts its processes, lets it do with them what it is for, ends everything. Resolves only after every child is
 * gone, however the run went. Own events are in `<runDir>/orchestrator.ndjson`, the agents' in their
 * workspaces (see `mergeEvents`).
 *
 * Throws InputError before anything was started (ports, metrics port, run folder). A run that fails is an outcome, not an
 * error; what is thrown beside that is a bug, here or in `onEvent`, and every child is gone by then too.
 */
export async function carryOut(flow: Flow, options: ExecuteOptions): Promise<Outcome> {
  const { clock, runDir } = options;
  const { config } = flow;
  const choice = await checkPorts(config);
  await using cleanup = new AsyncDisposableStack();
  const end = new AbortController();
  const onFatal = (error: unknown): void => end.abort(error);
  const metrics = config.output.metricsPort === null ? null : await startMetricsServer(config.output.metricsPort);
  cleanup.defer(async () => metrics?.close());
  prepareFolders(runDir, flow.agents);
  const recorder = openRecorder({
    path: path.join(runDir, ORCHESTRATOR_EVENTS),
    clock,
    onFatal,
    onEvent: (event) => {
      metrics?.observe(event);
      options.onEvent(event);
    },
  });
  cleanup.defer(() => recorder.close());
  recorder.write({ ev: "run.started", runId: path.basename(runDir), wallMs: clock.wall(), config: { ...config } });
  for (const { port, reason } of choice.skipped) recorder.write({ ev: "port.skipped", port, reason });
  const onAbort = (): void => end.abort(INTERRUPTED);
  if (options.signal.aborted) onAbort();
  options.signal.addEventListener("abort", onAbort, { once: true });
  cleanup.defer(() => options.signal.removeEventListener("abort", onAbort));
  const parts: RunParts = { flow, options, recorder, ports: choice.ports, end, onFatal };
  await supervise(parts).catch(onFatal);
  return conclude(recorder, end.signal);
}

interface RunParts {
  readonly flow: Flow;
  readonly options: ExecuteOptions;
  readonly recorder: Recorder;
  readonly ports: readonly number[];
  /** Aborted when the run has to end early; the reason says why. */
  readonly end: AbortController;
  readonly onFatal: (error: unknown) => void;
}

/** Everything between the first event and the last; when it is over, however, every child is gone. */
async function supervise({ flow, options, recorder, ports, end, onFatal }: RunParts): Promise<void> {
  const { clock } = options;
  const { signal } = end;
  const { config } = flow;
  const timeouts = { ...TIMEOUTS, ...options.timeouts };
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(startSampler(config.scenario.timeScale, clock, recorder));
  const token = randomBytes(24).toString("hex");
  const server = await startControlServer(AGENT_HOST, token);
  cleanup.defer(() => server.close());
  const launcher = options.launcher ?? ownLauncher(flow, options, recorder);
  if (options.launcher === undefined) cleanup.defer(() => launcher.close());

  const control = { host: AGENT_HOST, port: server.port, token };
  const specs = processSpecs(flow, options.runDir, ports, control);
  const waiting = createWaiting(clock);
  const supervisor = new Supervisor({ specs, launcher, clock, recorder, waiting, onFatal });
  const storm = createStorm({ supervisor, recorder, clock });
  server.attach(supervisor.handlers);
  cleanup.defer(registerRun(supervisor));
  try {
    if (options.agentWarmUp !== null) {
      const { protocol, protocolModule = protocol, hosts = [] } = config.scenario;
      await launcher.warmUp?.(options.agentWarmUp, [...new Set([protocolModule, ...hosts.flat()])], signal);
    }
    await flow.run({ supervisor, storm, recorder, clock, startTimeoutMs: timeouts.startMs, signal, onFatal });
  } catch (error) {
    onFatal(error);
  }
  recorder.write({ ev: "run.phase", phase: "end" });
  const stopMs = signal.aborted ? timeouts.abortMs : timeouts.stopMs + STOP_MS_PER_AGENT * flow.agents.length;
  await stopAll(supervisor, storm, { stopMs, termMs: timeouts.termMs });
}

/** Says how the run ended, as its last event. Throws what is no failure of the run but a bug. */
function conclude(recorder: Recorder, end: AbortSignal): Outcome {
  const said = outcomeOf(end);
  recorder.write({ ev: "run.finished", ...said });
  // Writing that may itself have been what failed.
  const outcome = outcomeOf(end);
  if (end.aborted && end.reason !== INTERRUPTED && !(end.reason instanceof RunError)) throw end.reason;
  return outcome;
}

function outcomeOf(end: AbortSignal): Outcome {
  if (!end.aborted) return { status: "done", reason: null };
  if (end.reason === INTERRUPTED) return { status: "interrupted", reason: "interrupted before its end" };
  return { status: "failed", reason: end.reason instanceof Error ? end.reason.message : String(end.reason) };
}

function startSampler(timeScale: number, clock: Clock, recorder: Recorder): () => void {
  const stop = new AbortController();
  const intervalMs = Math.max(MIN_SAMPLE_INTERVAL_MS, SAMPLE_INTERVAL_MS * timeScale);
  sampleMachine({ clock, intervalMs, signal: stop.signal, onSample: (sample) => recorder.write(sample) });
  return () => stop.abort();
}

/** The compile cache lies beside the runs (`results/.cache/node`), so that every run but the first starts agents fast. */
const ownLauncher = (flow: Flow, { agentEntry }: ExecuteOptions, recorder: Recorder): Launcher =>
  localLauncher({
    agentEntry,
    compileCacheDir: path.resolve(flow.config.output.dir, ".cache", "node"),
    onWardenLost: () => {
      const message = "the warden is gone: agents that hang would outlive a killed orchestrator";
      recorder.write({ ev: "log", level: "warning", message });
    },
  });

const workspaceOf = (runDir: string, agent: AgentId): string => path.resolve(runDir, "workspaces", agent);

/** Throws InputError when the run's folder cannot be made. */
function prepareFolders(runDir: string, agents: readonly AgentId[]): void {
  try {
    makeFolder(path.resolve(runDir, "logs"));
    for (const agent of agents) makeFolder(workspaceOf(runDir, agent));
    accessSync(runDir, constants.W_OK);
  } catch (error) {
    const { code = "", message } = error as NodeJS.ErrnoException;
    throw new InputError(`output.dir (--results): ${runDir} cannot be written to: ${message}${remedySuffix(code)}`, {
      cause: error,
    });
  }
}

/** What each process is started with. Throws InputError or RunError. */
const processSpecs = (
  flow: Flow,
  runDir: string,
  ports: readonly number[],
  control: NonNullable<ProcessSpec["control"]>,
): ProcessSpec[] =>
  flow.agents.map((agentId, index) =>
    flow.specOf({
      agentId,
      index,
      host: AGENT_HOST,
      port: ports[index] ?? 0,
      workspaceDir: workspaceOf(runDir, agentId),
      logFile: path.resolve(runDir, "logs", `${agentId}.log`),
      control,
      config: flow.config,
      fullRecording: flow.fullRecording,
    }),
  );
