import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import {
  type AgentId,
  type CommBackend,
  createPrng,
  FakeClock,
  type Payload,
  type QueueConfig,
  type QueueNode,
  type QueueSpec,
  type SendOptions,
  type Traffic,
} from "@failstorm/core";
import { describe, expect, it, vi } from "vitest";
import { Coordinator } from "../src/queue/coordinator.ts";
import { engineConfig, feederConfig } from "../src/queue/neighbours.ts";
import { subCoordinator } from "../src/queue/subCoordinator.ts";
import { answersPart, readIncoming } from "../src/queue/wire.ts";
import { Worker } from "../src/queue/worker.ts";
import type { RoleParts } from "../src/role.ts";
import { folder, recording } from "./recorded.ts";

const T0 = 1_000_000;
const traffic: Traffic = { bytesSent: 0, bytesReceived: 0, roundTrips: 1, firstByteAt: 0, ms: 0 };
const queue: QueueConfig = {
  workers: 2,
  external: [],
  topology: "star",
  subCoordinators: 1,
  source: "file",
  count: 10,
  batch: 1,
  concurrency: 1,
  rate: null,
  deadlineMs: 1000,
  maxAttempts: 3,
  backoffMs: 10,
  quarantineAfter: 3,
  probeIntervalMs: 100,
  engine: "echo",
  thinkTimeMs: 0,
  restartAfterMs: 500,
};
const node = (agentId: AgentId, role: QueueNode["role"], fedBy: AgentId | null): QueueNode => ({
  agentId,
  role,
  fedBy,
  endpoint: "http://127.0.0.1:9",
  protocol: "simple_json",
  external: false,
});

/** What a role is given, over a wire in memory on which everybody echoes. */
function setUp(self: AgentId, settings: Partial<QueueConfig> = {}) {
  const clock = new FakeClock(T0);
  const runDir = path.join(folder(), "run-7");
  const workspaceDir = path.join(runDir, "workspaces", self);
  mkdirSync(workspaceDir, { recursive: true });
  const { recorder, of } = recording(clock);
  const sent: { readonly to: AgentId; readonly at: number; readonly key: string | undefined }[] = [];
  const probed = new Set<AgentId>();
  const backend = {
    registerEndpoint: () => undefined,
    connect: async () => ({ peer: { capabilities: [] }, traffic }),
    async send(_src: AgentId, to: AgentId, payload: Payload, { idempotencyKey: key }: SendOptions) {
      sent.push({ to, at: clock.now(), key });
      const asked = readIncoming(payload);
      const questions = asked?.kind === "questions" ? asked.questions : [];
      return { raw: null, text: "", parts: [answersPart(questions.map(({ seq, q }) => ({ seq, answer: q })))], traffic };
    },
    async healthCheck(agent: AgentId) {
      probed.add(agent);
      return { incarnation: 1, traffic };
    },
  } as unknown as CommBackend;
  const config = {
    scenario: { seed: 7, timeScale: 1 },
    network: { heartbeatIntervalMs: 1000, connectionTimeoutMs: 1000.5 },
    queue: { ...queue, ...settings },
  };
  const spec = { workspaceDir, config, control: {}, resultsDir: runDir, questionsPath: path.join(runDir, "questions.jsonl") };
  const fail = vi.fn();
  const parts = {
    spec: spec as unknown as QueueSpec,
    self: { agentId: self, incarnation: 2, host: "127.0.0.1", port: 1 },
    clock,
    prng: createPrng(7),
    recorder,
    backend,
    tell: () => undefined,
    fail,
  } as unknown as RoleParts<QueueSpec>;
  return { parts, queue: config.queue, clock, runDir, workspaceDir, sent, probed, of, fail };
}

describe("a coordinator", () => {
  it("killed in a paced queue goes on by the schedule of its first start", async () => {
    const { parts, queue: paced, clock, runDir, workspaceDir, sent, of, fail } = setUp("coordinator-1", { rate: 10 });
    const lines = Array.from({ length: 10 }, (_, i) => JSON.stringify({ id: `q${i}`, q: "?" }));
    writeFileSync(path.join(runDir, "questions.jsonl"), lines.join("\n"));
    const kept = Array.from({ length: 5 }, (_, seq) => JSON.stringify({ seq, id: `q${seq}`, status: "answered" }));
    writeFileSync(path.join(runDir, "queue_results.jsonl"), `${kept.join("\n")}\n`);
    const opened = { t: T0 + 1, src: "coordinator-1", inc: 1, seq: 0, ev: "queue.opened", recorded: 0 };
    writeFileSync(path.join(workspaceDir, "events.ndjson"), `${JSON.stringify(opened)}\n`);
    await clock.advance(420);
    const coordinator = new Coordinator(parts, paced);
    await coordinator.handle({
      type: "network",
      nodes: [node("coordinator-1", "coordinator", null), node("worker-1", "worker", "coordinator-1")],
    });
    await coordinator.handle({ type: "feed", t0: T0, resumed: true });
    await expect.poll(() => of("queue.opened")).toHaveLength(1);
    // The sixth question is due half a second after the start: the five before it have their results.
    await vi.waitFor(async () => {
      await clock.advance(10);
      expect(sent.length).toBeGreaterThan(0);
    }, 30_000);
    expect(sent[0]?.at).toBeGreaterThanOrEqual(T0 + 500);
    await expect.poll(() => of("queue.result")[0]).toMatchObject({ question: "q5", intendedAt: T0 + 500 });
    expect(fail).not.toHaveBeenCalled();
    await coordinator.stop();
  });
});

describe("a sub-coordinator", () => {
  const nodes = [
    node("coordinator-1", "coordinator", null),
    node("sub-coordinator-1", "sub-coordinator", "coordinator-1"),
    node("worker-1", "worker", "sub-coordinator-1"),
  ];

  it("watches its pool, and not the coordinator above it, which may die", async () => {
    const { parts, queue: layered, clock, probed } = setUp("sub-coordinator-1", { topology: "layered" });
    const sub = subCoordinator(parts, layered);
    await sub.handle({ type: "network", nodes });
    await clock.advance(3000);
    expect([...probed]).toEqual(["worker-1"]);
    await sub.stop();
  });

  it("asks under the run's name, so that a worker of several runs does not give the answers of another", async () => {
    const { parts, queue: layered, sent, of } = setUp("sub-coordinator-1", { topology: "layered" });
    const sub = subCoordinator(parts, layered);
    await sub.handle({ type: "network", nodes });
    const asked = { parts: [{ kind: "data", data: { questions: [{ seq: 0, id: "q1", q: "Why?", attempt: 1 }] } }] } as const;
    const enqueue = vi.fn();
    const request = { payload: asked, from: "coordinator-1", signal: new AbortController().signal };
    const execute = (): Promise<void> =>
      sub.executor.execute(request as unknown as Parameters<typeof sub.executor.execute>[0], { enqueue });
    // Asked again by a coordinator that was killed meanwhile: once is enough.
    await Promise.all([execute(), execute()]);
    expect(sent).toMatchObject([{ to: "worker-1", key: "q1/answer/run-7" }]);
    expect(enqueue).toHaveBeenCalledTimes(2);
    for (const [given] of enqueue.mock.calls) expect(given).toMatchObject({ parts: [answersPart([{ seq: 0, answer: "Why?" }])] });
    expect(of("queue.result")).toMatchObject([{ question: "q1", worker: "worker-1", status: "answered", attempt: 1 }]);
    await execute();
    expect(sent, "it is no longer under way").toHaveLength(2);
    await sub.stop();
  });

  it("is given the time of all the attempts in its pool", () => {
    expect(feederConfig({ ...queue, topology: "layered" }).deadlineMs).toBe(2010);
    expect(feederConfig(queue).deadlineMs).toBe(1000);
    expect(engineConfig({ ...queue, topology: "layered" }).deadlineMs).toBe(1000);
  });
});

describe("a worker", () => {
  it("that cannot answer one question of a batch gives its other answers; when it can answer none, the message fails", async () => {
    const { parts } = setUp("worker-1");
    const worker = new Worker(parts, async () => async ({ q }) => {
      if (q === "impossible") throw new Error("no way");
      return q;
    });
    const execute = async (...words: string[]): Promise<unknown> => {
      const questions = words.map((q, seq) => ({ seq, id: `q${seq}`, q, attempt: 1 }));
      const enqueue = vi.fn();
      const request = { payload: { parts: [{ kind: "data", data: { questions } }] }, signal: new AbortController().signal };
      await worker.executor.execute(request as unknown as Parameters<typeof worker.executor.execute>[0], { enqueue });
      return enqueue.mock.calls[0]?.[0];
    };
    const given = [
      { seq: 0, answer: "a" },
      { seq: 2, answer: "c" },
    ];
    expect(await execute("a", "impossible", "c")).toMatchObject({ parts: [answersPart(given)] });
    await expect(execute("impossible", "impossible")).rejects.toThrow("no way");
  });
});
