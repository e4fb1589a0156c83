import { copyFileSync, createWriteStream, writeFileSync } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createPrng, InputError, makeFolder, type QueueNode, type QueuePlan, systemClock } from "@failstorm/core";
import type { QuestionSource } from "@failstorm/qa";
import { asQueueConfig, planQueue, type QueueFaults, type QueueRunConfig } from "@failstorm/scenarios";
import { stringify } from "yaml";
import { shownPath } from "../commands/config.ts";
import { resolvedDocument } from "../config/load.ts";
import { userFolder } from "../project.ts";
import { createRunFolder, writeAtomically } from "../run/folder.ts";
import { describeRun } from "../run/manifest.ts";
import { log } from "../view/log.ts";
import {
  DOCUMENT_FILE,
  findUnfinished,
  keepEarlierEvents,
  keyOf,
  QUESTIONS_FILE,
  type QueueRunFile,
  readRunFile,
  writeRunFile,
} from "./folder.ts";
import type { LoadedQueue } from "./load.ts";
import { toQueueConfig } from "./settings.ts";

/** A queue that may start. */
export interface PreparedQueue {
  readonly plan: QueuePlan;
  readonly runDir: string;
  readonly run: QueueRunFile;
  /** Results there are already. */
  readonly resumed: boolean;
}

interface Questions {
  /** Null: they come as a stream. */
  readonly source: QuestionSource | null;
  /** The user's file. */
  readonly file: string | null;
}

/** What is decided before anything is written. Throws InputError. */
export interface Draft {
  readonly config: QueueRunConfig;
  readonly faults: QueueFaults;
  readonly parts: Pick<QueuePlan, "processes" | "external" | "faults">;
  readonly questions: Questions;
  readonly document: Uint8Array | null;
  readonly key: string;
}

/**
 * Decides everything of a new run: configuration, network, questions. `checkNetwork` is asked before the questions, which take longer.
 * Throws InputError.
 */
export async function draftQueue(
  { loaded, settings }: LoadedQueue,
  checkNetwork: (config: QueueRunConfig, external: readonly QueueNode[]) => Promise<void>,
): Promise<Draft> {
  const { timeScale } = loaded.config.scenario;
  const { queue, faults } = toQueueConfig(settings, { timeScale, hasModel: loaded.config.llm !== null });
  if (queue.engine === "llm" && loaded.config.llm === null)
    throw new InputError(
      "--engine llm: no model is configured; set llm.type and llm.model (configs/failstorm.yaml explains them)",
    );
  const config = asQueueConfig(loaded.config, queue, faults);
  const parts = planQueue(config, faults);
  await checkNetwork(config, parts.external);
  const { questions, document } = await openSource(config, settings);
  return { config, faults, parts, questions, document, key: keyOf(config, questions.source?.fingerprint ?? null) };
}

/** The generated corpus is needed by workers of ours wherever the questions come from. */
async function openSource(
  config: QueueRunConfig,
  settings: LoadedQueue["settings"],
): Promise<{ questions: Questions; document: Uint8Array | null }> {
  const { queue } = config;
  const document = queue.engine === "echo" || queue.workers === 0 ? null : await corpusOf(config, 1);
  if (queue.source === "stdin") return { questions: { source: null, file: null }, document: document?.document ?? null };
  if (queue.source === "generated") {
    const generated = await corpusOf(config, queue.count);
    return { questions: { source: generated.source, file: null }, document: document === null ? null : generated.document };
  }
  const { openQuestionFile } = await import("@failstorm/qa");
  const file = path.resolve(userFolder(), settings.questions);
  const { source, bad, badCount } = await openQuestionFile(file, { skipBad: settings.skip_bad_lines });
  for (const { line, reason } of bad.slice(0, 5)) log("WARNING", `${settings.questions}:${line}: left out: ${reason}`);
  if (badCount > 5) log("WARNING", `${settings.questions}: ${badCount} lines are left out in all`);
  return { questions: { source, file }, document: document?.document ?? null };
}

/** The passages that questions and answers are about: the same for the same seed, however many questions are asked. */
export async function corpusOf({ scenario, qa }: Pick<QueueRunConfig, "scenario" | "qa">, count: number) {
  const { generateQueue } = await import("@failstorm/qa");
  const prng = createPrng(scenario.seed).fork("queue");
  return generateQueue({ prng, count, passages: qa.passages, hops: qa.hops, topK: qa.topK });
}

/** The folder of the run: an unfinished one of an equal call, unless `fresh`; else a new one. */
export async function prepareRun(queue: LoadedQueue, draft: Draft, fresh: boolean): Promise<PreparedQueue> {
  const { config, key, questions } = draft;
  const unfinished = fresh || questions.source === null ? null : findUnfinished(config.output.dir, config.scenario.protocol, key);
  const run = unfinished === null ? null : readRunFile(unfinished);
  if (unfinished !== null && run !== null) return resumeRun(unfinished, { ...run, config });
  return { ...(await makeRun(queue, draft)), resumed: false };
}

async function makeRun(queue: LoadedQueue, draft: Draft): Promise<Omit<PreparedQueue, "resumed">> {
  const { config, faults, parts, questions, document, key } = draft;
  const { seed } = config.scenario;
  const protocol = queue.loaded.protocol.getProtocolInfo().name;
  const runDir = createRunFolder({ results: config.output.dir, scenario: "queue", protocol, seed, clock: systemClock });
  const questionsPath = path.join(runDir, QUESTIONS_FILE);
  const documentPath = document === null ? null : path.join(runDir, DOCUMENT_FILE);
  if (questions.file !== null) copyFileSync(questions.file, questionsPath);
  else if (questions.source === null) writeFileSync(questionsPath, "");
  else await pipeline(Readable.from(linesOf(questions.source)), createWriteStream(questionsPath));
  if (documentPath !== null && document !== null) writeFileSync(documentPath, document);
  const settings = { ...resolvedDocument(queue.loaded), queue: queue.settings };
  writeAtomically(path.join(runDir, "config.yaml"), stringify(settings));
  const { processes, external } = parts;
  const run: QueueRunFile = {
    format: "failstorm-queue",
    version: 1,
    key,
    complete: false,
    questions: questions.source?.count ?? null,
    config: { ...config, llm: config.llm },
    faults,
    processes,
    external,
    sessions: 1,
    hasKey: queue.loaded.llmKey !== null,
  };
  await writeStart(runDir, run);
  return { plan: { config, ...parts, documentPath, questionsPath, fullRecording: [] }, runDir, run };
}

async function* linesOf(source: QuestionSource): AsyncGenerator<string> {
  for await (const { id, q, gold } of source.questions())
    yield `${JSON.stringify({ id, q, ...(gold === null ? {} : { a: gold }) })}\n`;
}

async function writeStart(runDir: string, run: QueueRunFile): Promise<void> {
  const { describeMachine } = await import("@failstorm/orchestrator");
  const runId = path.basename(runDir);
  const argv = process.argv.slice(2);
  const manifest = await describeRun({ runId, config: run.config, machine: describeMachine(), argv, clock: systemClock });
  writeAtomically(path.join(runDir, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  writeRunFile(runDir, run);
}

/** Goes on with what is missing. Nobody is killed any more: a storm belongs to the session it was planned for. */
export async function resumeRun(runDir: string, before: QueueRunFile): Promise<PreparedQueue> {
  const { existsSync } = await import("node:fs");
  const { mergeEvents } = await import("@failstorm/orchestrator");
  // The orchestrator may have been killed before it had merged them.
  if (existsSync(path.join(runDir, "orchestrator.ndjson"))) await mergeEvents(runDir);
  keepEarlierEvents(runDir, before.sessions);
  for (const { agentId } of before.processes) makeFolder(path.join(runDir, "workspaces", agentId));
  const run: QueueRunFile = { ...before, complete: false, sessions: before.sessions + 1 };
  await writeStart(runDir, run);
  const document = path.join(runDir, DOCUMENT_FILE);
  log("INFO", `going on with ${shownPath(runDir)} (session ${run.sessions})`);
  const { killFraction, killCoordinator } = run.faults;
  if (killFraction > 0 || killCoordinator)
    log("INFO", "nobody is killed in a run that goes on; --fresh starts one with its faults");
  return {
    plan: {
      config: run.config,
      processes: run.processes,
      external: run.external,
      faults: [],
      documentPath: existsSync(document) ? document : null,
      questionsPath: path.join(runDir, QUESTIONS_FILE),
      fullRecording: [],
    },
    runDir,
    run,
    resumed: true,
  };
}
