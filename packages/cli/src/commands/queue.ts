import path from "node:path";
import { Readable } from "node:stream";
import { hostedById, InputError, type QueueNode, systemClock } from "@failstorm/core";
import type { Outcome } from "@failstorm/orchestrator";
import { agentEntry, agentWarmUp, userFolder } from "../project.ts";
import { openQueueClient, type QueueClient } from "../queue/client.ts";
import { INVARIANT_BROKEN, printQueue, type QueueSummary, summariseQueue } from "../queue/finish.ts";
import { openForResume } from "../queue/folder.ts";
import { findKeyAgain, loadQueue, type QueueConfigRequest } from "../queue/load.ts";
import { draftQueue, type PreparedQueue, prepareRun, resumeRun } from "../queue/prepare.ts";
import { openQueueView } from "../queue/view.ts";
import { checkWritable, updateLatest } from "../run/folder.ts";
import { type Interrupts, watchInterrupts } from "../run/interrupts.ts";
import { failure, log } from "../view/log.ts";
import { shownPath } from "./config.ts";

export interface QueueRequest extends QueueConfigRequest {
  /** Folder of a run to go on with. */
  readonly resume: string | null;
  /** A new run even where an equal one is unfinished. */
  readonly fresh: boolean;
  readonly preset: string | null;
  readonly json: boolean;
  readonly quiet: boolean;
}

const FAILED = 1;

/** The command `failstorm queue`: a coordinator feeds workers. Returns the exit code; throws InputError before anything starts. */
export async function queue(request: QueueRequest): Promise<number> {
  const { killAllNow } = await import("@failstorm/orchestrator");
  const interrupts = watchInterrupts(systemClock, {
    onFirst: () =>
      log("WARNING", "interrupted: ending in order; once more ends at once. The same call goes on with what is missing"),
    onSecond: (code) => {
      killAllNow();
      process.exit(code);
    },
  });
  try {
    return await queueWatched(request, interrupts);
  } finally {
    interrupts.close();
  }
}

async function queueWatched(request: QueueRequest, interrupts: Interrupts): Promise<number> {
  const prepared = await prepare(request);
  const { runDir, plan, run } = prepared;
  const { loadProtocol } = await import("@failstorm/protocols");
  const { protocol: name, protocolModule = name } = plan.config.scenario;
  const { protocolConfig, scenario } = plan.config;
  const client = await openQueueClient(await loadProtocol(protocolModule), protocolConfig, hostedById(scenario));
  let outcome: Outcome;
  try {
    for (const node of prepared.resumed ? plan.external : []) await client.check(node);
    if (!request.quiet) announce(prepared);
    outcome = await carryOut(prepared, client, { quiet: request.quiet, interrupts });
  } finally {
    await client.close();
  }
  if (outcome.status === "failed")
    log("ERROR", `the run failed: ${outcome.reason ?? "no reason given"}; logs are in ${shownPath(path.join(runDir, "logs"))}`);
  let summary: QueueSummary;
  try {
    summary = await summariseQueue(runDir, run, outcome);
  } catch (error) {
    if (outcome.status === "done") throw error;
    failure(error);
    return interrupts.exitCode() ?? FAILED;
  }
  const { dir: results } = run.config.output;
  if (!updateLatest(results, runDir)) log("WARNING", `${shownPath(results)}/latest could not be updated`);
  const { json, quiet } = request;
  await printQueue(summary, { runDir, json, quiet, published: request.preset === "paper" });
  if (summary.metrics.partial && !quiet)
    log("INFO", `${summary.metrics.recorded} results are kept; go on with: failstorm queue --resume ${shownPath(runDir)}`);
  if (outcome.status === "interrupted") return interrupts.exitCode() ?? FAILED;
  if (outcome.status === "failed") return FAILED;
  return summary.check.violations.length > 0 ? INVARIANT_BROKEN : 0;
}

async function prepare(request: QueueRequest): Promise<PreparedQueue> {
  if (request.resume !== null) {
    if (request.flags.length + request.assignments.length > 0 || request.file !== null)
      throw new InputError("--resume takes everything from its run but --json and --quiet; leave out the other options");
    const runDir = path.resolve(userFolder(), request.resume);
    const before = openForResume(runDir);
    findKeyAgain(before, request.resume);
    return resumeRun(runDir, before);
  }
  const loaded = await loadQueue(request);
  const { config } = loaded.loaded;
  if (!request.quiet) for (const warning of loaded.loaded.warnings) log("WARNING", warning);
  checkWritable(config.output.dir);
  const { checkPorts } = await import("@failstorm/orchestrator");
  const draft = await draftQueue(loaded, async (config, external) => {
    await checkPorts(config);
    await checkExternal(external, loaded);
  });
  return prepareRun(loaded, draft, request.fresh);
}

/** Whoever is to answer has to be there, and of this protocol, before anything is started or written. */
async function checkExternal(external: readonly QueueNode[], { loaded }: Awaited<ReturnType<typeof loadQueue>>): Promise<void> {
  if (external.length === 0) return;
  const client = await openQueueClient(loaded.protocol, loaded.config.protocolConfig);
  try {
    for (const node of external) await client.check(node);
  } finally {
    await client.close();
  }
}

function announce({ plan, runDir, run }: PreparedQueue): void {
  const { scenario, queue } = plan.config;
  const who = [
    `${queue.workers} workers (${queue.engine})`,
    ...(plan.external.length > 0 ? [`${plan.external.length} that run already`] : []),
    ...(queue.topology === "layered" ? [`${queue.subCoordinators} sub-coordinators`] : []),
  ];
  const what = run.questions === null ? "questions from the standard input" : `${run.questions} questions`;
  log("INFO", `${what}, 1 coordinator, ${who.join(", ")}, ${queue.topology}, seed ${scenario.seed}`, scenario.protocol);
  const hosted = [...(hostedById(scenario) ?? [])].map(([id, protocols]) => `${id} ${protocols.join("+")}`);
  if (hosted.length > 0) log("INFO", `hosts: ${hosted.join(", ")}`);
  for (const { kind, victims, atMs } of plan.faults)
    log("INFO", `${kind} to ${victims.join(", ")} at ${(atMs / 1000).toFixed(2)} s`);
  log("INFO", `run folder ${shownPath(runDir)}`);
}

/** A run that goes on has questions already: only a pipe brings more, and a terminal would be waited for without a word. */
const streamOf = (stdin: NodeJS.ReadStream, resumed: boolean): Readable => (resumed && stdin.isTTY ? Readable.from([]) : stdin);

async function carryOut(
  { plan, runDir, resumed }: PreparedQueue,
  client: QueueClient,
  options: { readonly quiet: boolean; readonly interrupts: Interrupts },
): Promise<Outcome> {
  const { executeQueue } = await import("@failstorm/orchestrator");
  const view = openQueueView({
    stream: process.stderr,
    clock: systemClock,
    timeScale: plan.config.scenario.timeScale,
    quiet: options.quiet,
  });
  try {
    return await executeQueue(
      plan,
      {
        dispatch: async (coordinator, signal) => void (await client.command(coordinator, "dispatch", signal)),
        input: plan.config.queue.source === "stdin" ? streamOf(process.stdin, resumed) : null,
      },
      {
        runDir,
        agentEntry,
        agentWarmUp,
        clock: systemClock,
        signal: options.interrupts.signal,
        onEvent: (event) => view.onEvent(event),
      },
    );
  } finally {
    view.close();
  }
}
