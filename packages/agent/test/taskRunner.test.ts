import { CommError, createPrng, FakeClock, type ScheduledTask } from "@failstorm/core";
import { createTaskLedger, createView, type MembershipView } from "@failstorm/network";
import { type Answer, generateCorpus, parseDocument, type Question, runTool, ShardStore } from "@failstorm/qa";
import { beforeAll, describe, expect, test } from "vitest";
import type { Membership } from "../src/membership.ts";
import type { Steps } from "../src/steps.ts";
import { TaskRunner } from "../src/taskRunner.ts";
import { recording } from "./recorded.ts";

const DEADLINE_MS = 10_000;
let questions: readonly Question[];
const store = new ShardStore();

beforeAll(async () => {
  const set = await generateCorpus({ prng: createPrng(1), shards: 1, passages: 600, questions: 5, hops: [2] });
  for (const [shard, passages] of parseDocument(set.document).entries()) store.add(shard, passages, "home");
  ({ questions } = set);
});

/** A task runner of agent-0 with the real pipeline, ledger and tools; each step takes `stepMs`. */
function setUp(options: {
  tasks: Array<Pick<ScheduledTask, "atMs" | "homeOwner">>;
  stepMs?: number;
  dropOrphans?: boolean;
  fail?: boolean;
}) {
  const clock = new FakeClock(0);
  const { recorder, of } = recording(clock);
  const membership = { view: createView([]) };
  const steps: string[] = [];
  const callTool: Steps["callTool"] = async (tool, step, input, context) => {
    steps.push(`${context.task}/${step}`);
    await clock.sleep(options.stepMs ?? 100, context.signal);
    if (options.fail) throw new CommError("refused", "agent-9", "nobody");
    return runTool(tool, input, { lookupFragment: async (query, topK) => store.lookup(0, query, topK) });
  };
  const ledger = createTaskLedger({ self: "agent-0", incarnation: 1, relay: false });
  const runner = new TaskRunner({
    self: "agent-0",
    incarnation: 1,
    clock,
    recorder,
    ledger,
    membership: membership as unknown as Membership,
    steps: { callTool } as unknown as Steps,
    topK: 5,
    deadlineMs: DEADLINE_MS,
    sweepMs: 500,
    dropOrphans: options.dropOrphans ?? false,
  });
  const schedule = options.tasks.map((task, i) => ({ task: `t-${i}`, question: questions[i]?.question ?? "", ...task }));
  const see = (next: MembershipView): void => {
    membership.view = next;
    runner.sweep();
  };
  const outcomes = (): string[] =>
    of("task.outcome").map(({ task, status, orphanOf, attempt }) => `${task} ${status} ${orphanOf} ${attempt}`);
  return { clock, runner, ledger, membership, see, outcomes, of, schedule, steps };
}

const view = (...members: Array<[string, number]>): MembershipView =>
  createView(members.map(([id, incarnation]) => ({ id, incarnation })));
const BOTH = view(["agent-0", 1], ["agent-1", 1]);
const ALONE = view(["agent-0", 1]);
const answerOf = (i: number): Answer["answer"] => questions[i]?.gold ?? null;

describe("tasks", () => {
  test("start at their intended time, however slow earlier ones are, and are answered right", async () => {
    const { clock, runner, see, schedule, of } = setUp({
      tasks: [
        { atMs: 100, homeOwner: "agent-0" },
        { atMs: 200, homeOwner: "agent-0" },
      ],
      stepMs: 500,
    });
    see(BOTH);
    runner.start(schedule, 0);
    await clock.advance(250);
    expect(of("task.started").map(({ task, t }) => [task, t])).toEqual([
      ["t-0", 100],
      ["t-1", 200],
    ]);
    await clock.advance(8_000);
    expect(of("task.outcome").map(({ answer, latencyMs }) => [answer, latencyMs])).toEqual([
      [answerOf(0), 3_500],
      [answerOf(1), 3_500],
    ]);
    expect(runner.idle).toBe(true);
  });

  test("are looked at again and again, also those that fall due long after the last one had its outcome", async () => {
    const { clock, runner, see, schedule, outcomes, of, membership } = setUp({
      tasks: [
        { atMs: 100, homeOwner: "agent-0" },
        { atMs: 5_000, homeOwner: "agent-1" },
      ],
    });
    see(BOTH);
    runner.start(schedule, 0);
    await clock.advance(5_100);
    expect(outcomes()).toEqual(["t-0 answered null 1"]);
    membership.view = ALONE; // and nobody says so
    await clock.advance(500);
    expect(of("task.started").map(({ task, t }) => [task, t])).toEqual([
      ["t-0", 100],
      ["t-1", 5_500],
    ]);
  });

  test("of a living owner are left alone; of a dead one they are taken over, with the next attempt when it had begun", async () => {
    const { clock, runner, ledger, see, schedule, outcomes, of } = setUp({
      tasks: [
        { atMs: 100, homeOwner: "agent-1" },
        { atMs: 200, homeOwner: "agent-1" },
      ],
    });
    see(BOTH);
    runner.start(schedule, 0);
    const other = createTaskLedger({ self: "agent-1", incarnation: 1, relay: false });
    other.recordStarted({ task: "t-0", attempt: 1 }, 100);
    ledger.merge(other.entries(), 110);
    await clock.advance(3_000);
    expect(of("task.started")).toEqual([]);
    see(ALONE);
    await clock.advance(3_000);
    expect(outcomes()).toEqual(["t-0 answered agent-1 2", "t-1 answered agent-1 1"]);
    expect(of("takeover.claimed").map(({ id, from, fromInc }) => [id, from, fromInc])).toEqual([
      ["t-0", "agent-1", 1],
      ["t-1", "agent-1", 0],
    ]);
  });

  test("that somebody finished are not started again", async () => {
    const { clock, runner, ledger, see, schedule, of } = setUp({ tasks: [{ atMs: 100, homeOwner: "agent-1" }] });
    const other = createTaskLedger({ self: "agent-1", incarnation: 1, relay: false });
    other.recordOutcome({ task: "t-0", attempt: 1, status: "answered", answer: "x" }, 90);
    ledger.merge(other.entries(), 95);
    see(ALONE);
    runner.start(schedule, 0);
    await clock.advance(12_000);
    expect(of("task.started")).toEqual([]);
    expect(runner.idle).toBe(true);
  });

  test("whose deadline has passed are expired and never started; those it catches in the middle are expired too", async () => {
    const late = setUp({ tasks: [{ atMs: 100, homeOwner: "agent-1" }] });
    late.see(BOTH);
    late.runner.start(late.schedule, 0);
    await late.clock.advance(DEADLINE_MS + 200);
    late.see(ALONE);
    expect(late.outcomes()).toEqual(["t-0 expired agent-1 1"]);
    expect(late.of("task.started")).toEqual([]);
  });

  test("that begun with an incarnation of a dead self are this one's to take over", async () => {
    const { clock, runner, ledger, see, schedule, outcomes } = setUp({ tasks: [{ atMs: 100, homeOwner: "agent-0" }] });
    const before = createTaskLedger({ self: "agent-0", incarnation: 0, relay: false });
    before.recordStarted({ task: "t-0", attempt: 1 }, 100);
    ledger.merge(before.entries(), 110);
    see(BOTH);
    runner.start(schedule, 0);
    await clock.advance(3_000);
    expect(outcomes()).toEqual(["t-0 answered agent-0 2"]);
  });

  test("that were due before this agent was there again are taken over from its old self", async () => {
    const { clock, runner, ledger, see, schedule, outcomes, of } = setUp({ tasks: [{ atMs: 100, homeOwner: "agent-0" }] });
    const before = createTaskLedger({ self: "agent-0", incarnation: 0, relay: false });
    before.recordStarted({ task: "t-0", attempt: 1 }, 100);
    ledger.merge(before.entries(), 110);
    see(BOTH);
    await clock.advance(500);
    runner.start(schedule, 0);
    await clock.advance(3_000);
    expect(outcomes()).toEqual(["t-0 answered agent-0 2"]);
    expect(of("takeover.claimed")).toMatchObject([{ id: "t-0", from: "agent-0", fromInc: 0 }]);
  });

  test("are settled when all have an outcome; that another owns the rest is not enough", async () => {
    const { clock, runner, see, schedule } = setUp({ tasks: [{ atMs: 100, homeOwner: "agent-1" }] });
    see(BOTH);
    runner.start(schedule, 0);
    expect(runner.settled).toBe(false);
    await clock.advance(3_000);
    expect([runner.idle, runner.settled]).toEqual([true, false]);
    see(ALONE);
    expect([runner.idle, runner.settled]).toEqual([false, false]);
    await clock.advance(3_000);
    expect([runner.idle, runner.settled]).toEqual([true, true]);
  });

  test("end without an answer when a step fails for good", async () => {
    const { clock, runner, see, schedule, outcomes } = setUp({ tasks: [{ atMs: 100, homeOwner: "agent-0" }], fail: true });
    see(BOTH);
    runner.start(schedule, 0);
    await clock.advance(1_000);
    expect(outcomes()).toEqual(["t-0 no_answer null 1"]);
  });

  test("of the dead are nobody's when orphans are dropped (mutant)", async () => {
    const { clock, runner, see, schedule, outcomes } = setUp({ tasks: [{ atMs: 100, homeOwner: "agent-1" }], dropOrphans: true });
    see(ALONE);
    runner.start(schedule, 0);
    await clock.advance(30_000);
    expect(outcomes()).toEqual([]);
  });
});
