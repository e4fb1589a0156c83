import {
  agentId,
  createPrng,
  type GradedTask,
  InputError,
  type PlannedFault,
  type Prng,
  type RunConfig,
  type RunPlan,
  type ScheduleFile,
  TOOLS,
  type Tool,
  taskId,
} from "@failstorm/core";
import { planFaults } from "@failstorm/orchestrator";
import { generateCorpus, loadCorpus, loadDocument, type QuestionSet } from "@failstorm/qa";
import { checkRun } from "./checker.ts";
import type { Scenario } from "./scenario.ts";

/** Messages are recorded singly from this long before a fault … */
const FULL_BEFORE_MS = 10_000;
/** … to this long after it; both before scaling. */
const FULL_AFTER_MS = 30_000;

/** The questions of the run: generated, from a data set, or about a document. Throws InputError. */
async function questionSet({ qa, scenario, tasks }: RunConfig, prng: Prng): Promise<QuestionSet> {
  const { agentCount: shards, runtimeMs } = scenario;
  // A run asks no more questions than it has tasks; calibrating the others would only cost time.
  const questions = Math.ceil((shards * tasks.rate * runtimeMs) / 1000);
  if (qa.source === "corpus") return loadCorpus({ dir: qa.corpus ?? "", shards, topK: qa.topK, questions });
  if (qa.source === "document")
    return loadDocument({ file: qa.document ?? "", questionsFile: qa.questions ?? "", shards, topK: qa.topK, questions });
  const { passages, questionCount, hops, topK } = qa;
  return generateCorpus({ prng, shards, passages, questions: Math.min(questionCount, Math.max(1, questions)), hops, topK });
}

/**
 * The open-loop schedule: every agent gets a task in each slot of 1/rate seconds, at a seeded moment within the slot, so that the
 * load is even over any few seconds and yet no two agents march in step.
 */
function scheduleTasks({ scenario, tasks, llm }: RunConfig, set: QuestionSet, prng: Prng): GradedTask[] {
  const slotMs = 1000 / tasks.rate;
  const times: { atMs: number; homeOwner: string }[] = [];
  for (let index = 0; index < scenario.agentCount; index++) {
    const moments = prng.fork(`arrivals/${index}`);
    for (let slot = 0; slot * slotMs < scenario.runtimeMs; slot++) {
      const atMs = Math.round((slot + moments.next()) * slotMs * 1000) / 1000;
      // The last slot may reach beyond the end: at a rate of less than a task per run it is the only one.
      if (atMs < scenario.runtimeMs) times.push({ atMs, homeOwner: agentId(index) });
    }
  }
  times.sort((a, b) => a.atMs - b.atMs);
  const order = prng.fork("questions").shuffle(set.questions);
  // A model's words are its own: they are held against the gold answer, not against what the deterministic pipeline would say.
  const graded = llm === null ? undefined : "normalised";
  return times.map(({ atMs, homeOwner }, index) => {
    const question = order[index % order.length] as (typeof order)[number];
    return {
      task: taskId(index),
      atMs,
      homeOwner,
      question: question.question,
      questionId: question.id,
      hops: question.hops,
      gold: question.gold,
      expected: llm === null ? question.expected : question.gold,
      graded,
      evidence: question.evidence,
    };
  });
}

/** One home tool an agent, dealt by a seeded permutation, so that tool and port are not tied to each other. */
const dealTools = (agents: number, prng: Prng): Tool[] =>
  prng.shuffle(Array.from({ length: agents }, (_, index) => TOOLS[index % TOOLS.length] as Tool));

function fullRecording({ scenario }: RunConfig, faults: readonly PlannedFault[]): RunPlan["fullRecording"] {
  const before = FULL_BEFORE_MS * scenario.timeScale;
  const after = FULL_AFTER_MS * scenario.timeScale;
  const moments = faults.length > 0 ? faults.map(({ atMs }) => atMs) : [scenario.faultTimeMs];
  return moments.map((atMs) => [atMs - before, atMs + after] as const);
}

/** Decides everything of a run before it starts, from the configuration and its seed alone. Throws InputError. */
async function plan(config: RunConfig): Promise<RunPlan> {
  const prng = createPrng(config.scenario.seed);
  const set = await questionSet(config, prng.fork("corpus"));
  if (set.questions.length === 0)
    throw new InputError(
      `qa.corpus (--corpus) ${config.qa.corpus}: there is no question in it; generate one with failstorm data generate --questions 2000 --out DIR`,
    );
  const faults = planFaults(config, prng.fork("faults"));
  const schedule: ScheduleFile = {
    version: 1,
    seed: config.scenario.seed,
    tasks: scheduleTasks(config, set, prng.fork("schedule")),
    faults,
    calibrated: set.calibrated && config.llm === null,
  };
  const { leftOut = 0 } = set;
  const words = `${leftOut} questions of ${config.qa.corpus} are left out: dealt to ${config.scenario.agentCount} shards, their facts lie in one, or the pipeline does not answer them right`;
  return {
    config,
    document: set.document,
    schedule,
    ...(leftOut === 0 ? {} : { notes: [words] }),
    homeTools: dealTools(config.scenario.agentCount, prng.fork("tools")),
    fullRecording: fullRecording(config, faults),
  };
}

export const failStorm: Scenario = { name: "fail-storm", plan, checker: checkRun };
