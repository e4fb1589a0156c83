import type { QueueConfig, QueueResult, RunConfig, RunEvent } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { asQueueConfig, checkQueue, planQueue } from "../src/index.ts";

const QUEUE: QueueConfig = {
  workers: 4,
  external: [],
  topology: "star",
  subCoordinators: 2,
  source: "generated",
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
const NO_FAULT = { killFraction: 0, killCoordinator: false, atMs: 1000 };
const base = (seed: number) =>
  ({ scenario: { protocol: "a2a", seed, fakeFault: false }, network: { heartbeatIntervalMs: 1000 } }) as unknown as RunConfig;
const plan = (queue: Partial<QueueConfig>, faults = NO_FAULT, seed = 1) =>
  planQueue(asQueueConfig(base(seed), { ...QUEUE, ...queue }, faults), faults);

describe("the plan of a queue", () => {
  it("star: one coordinator feeds everybody, those that run already too", () => {
    const { processes, external, faults } = plan({ workers: 2, external: ["http://10.0.0.7:9101/a2a/", "http://h:80#echo"] });
    expect(processes.map(({ agentId, fedBy }) => [agentId, fedBy])).toEqual([
      ["coordinator-1", null],
      ["worker-1", "coordinator-1"],
      ["worker-2", "coordinator-1"],
    ]);
    expect(external.map(({ agentId, endpoint, fedBy }) => [agentId, endpoint, fedBy])).toEqual([
      ["worker-at-9101", "http://10.0.0.7:9101/a2a", "coordinator-1"],
      ["echo", "http://h:80", "coordinator-1"],
    ]);
    expect(faults).toEqual([]);
    expect(asQueueConfig(base(1), { ...QUEUE, workers: 2 }, NO_FAULT).scenario).toMatchObject({ name: "queue", agentCount: 3 });
  });

  it("workers that run already: no two of one name, none with a name of ours", () => {
    const named = (...external: string[]) => plan({ external });
    expect(() => named("http://10.0.0.1:9101", "http://10.0.0.2:9101")).toThrow(
      /--worker http:\/\/10\.0\.0\.2:9101: two workers go by worker-at-9101; .*http:\/\/10\.0\.0\.2:9101#NAME/,
    );
    expect(named("http://10.0.0.1:9101", "http://10.0.0.2:9101#other").external).toHaveLength(2);
    for (const taken of ["worker-1", "coordinator-1"])
      expect(() => named(`http://h:1#${taken}`)).toThrow(`${taken} is a process of this run; that agent needs another name`);
    expect(() => named("http://h:1#%zz")).toThrow(/--worker http:\/\/h:1#%zz: #%zz is no name/);
  });

  it("a mix: each worker hosts what it was dealt, coordinators the first of it", () => {
    const mixed = { ...base(1), scenario: { ...base(1).scenario, protocol: "meta", hosts: [["acp"], ["a2a", "anp"]] } };
    const layered = { ...QUEUE, topology: "layered", subCoordinators: 1, workers: 2 } as const;
    expect(asQueueConfig(mixed, layered, NO_FAULT).scenario).toMatchObject({
      agentIds: ["coordinator-1", "sub-coordinator-1", "worker-1", "worker-2"],
      hosts: [["acp"], ["acp"], ["acp"], ["a2a", "anp"]],
    });
    expect(() => asQueueConfig(mixed, { ...QUEUE, external: ["http://h:1"] }, NO_FAULT)).toThrow(
      /--worker http:\/\/h:1: with --protocol meta nobody knows which protocol it hosts/,
    );
    expect(asQueueConfig(base(1), QUEUE, NO_FAULT).scenario).not.toHaveProperty("hosts");
  });

  it("layered: pools are dealt out evenly, and none is empty", () => {
    const { processes, external } = plan({ topology: "layered", workers: 3, external: ["http://h:1"] });
    const feeders = [...processes, ...external].filter(({ role }) => role === "worker").map(({ fedBy }) => fedBy);
    expect(feeders).toEqual(["sub-coordinator-1", "sub-coordinator-2", "sub-coordinator-1", "sub-coordinator-2"]);
    expect(() => plan({ topology: "layered", workers: 1 })).toThrow(/1 workers do not fill as many pools/);
  });

  it("kills a seeded share of the workers we start, at least one, and the coordinator when told to; never a stranger", () => {
    const struck = { killFraction: 0.1, killCoordinator: true, atMs: 2000 };
    const [fault] = plan({ external: ["http://h:1"] }, struck).faults;
    expect(fault?.victims).toHaveLength(2);
    expect(fault?.victims[0]).toBe("coordinator-1");
    expect(fault?.atMs).toBeGreaterThanOrEqual(2000);
    expect(fault?.atMs).toBeLessThan(3000);
    expect(plan({ external: ["http://h:1"] }, struck).faults).toEqual([fault]);
    const drawn = Array.from({ length: 40 }, (_, seed) => plan({}, struck, seed).faults[0]?.victims[1]);
    expect(new Set(drawn)).toEqual(new Set(["worker-1", "worker-2", "worker-3", "worker-4"]));
    expect(() => plan({ workers: 0, external: ["http://h:1"] }, struck)).toThrow(/only workers that this run starts/);
  });
});

describe("the invariants of a queue", () => {
  const results = (...seqs: number[]) =>
    seqs.map((seq): Pick<QueueResult, "seq" | "id" | "status"> => ({ seq, id: `q${seq}`, status: "answered" }));
  const said = (...questions: string[]): RunEvent[] =>
    questions.flatMap((question, message) => {
      const by = { src: "coordinator-1", inc: 1, worker: "worker-1" };
      return [
        { ...by, ev: "queue.dispatched", message, questions: [question], attempt: 1, t: message, seq: 2 * message },
        { ...by, ev: "queue.result", question, status: "answered", t: message + 0.5, seq: 2 * message + 1 },
      ] as unknown as RunEvent[];
    });
  const broken = (run: Partial<Parameters<typeof checkQueue>[0]>): string[] =>
    checkQueue({ results: [], questions: 3, whole: true, events: [], ...run }).violations.map(({ invariant }) => invariant);

  it("hold when each question has its one result, in whatever order", () => {
    expect(broken({ results: results(2, 0, 1), events: said("q2", "q0") })).toEqual([]);
    expect(broken({ results: results(0), whole: false })).toEqual([]);
    expect(broken({ results: results(0, 5), questions: null })).toEqual([]);
    // What a sub-coordinator has, the one above it may not have had yet.
    const opened = { src: "top", inc: 1, t: 0, seq: 0, ev: "queue.opened", workers: [{ worker: "coordinator-1" }] };
    expect(broken({ whole: false, events: [opened as unknown as RunEvent, ...said("q2")] })).toEqual([]);
  });

  it("name what is twice, lost, never asked, or said and not kept", () => {
    expect(broken({ results: results(0, 1, 1, 2) })).toEqual(["one-result-each"]);
    expect(broken({ results: results(0, 2) })).toEqual(["none-lost"]);
    expect(broken({ results: results(0, 1, 2, 3) })).toEqual(["only-what-was-asked"]);
    expect(broken({ results: results(0, 1, 2), events: said("q9") })).toEqual(["kept-what-was-said"]);
    expect(broken({ results: results(0, 1, 2), events: said("q1", "q1") })).toEqual(["not-asked-again", "result-once"]);
    expect(broken({ results: results(0, 1, 2), events: said("q1").slice(1) })).toEqual(["asked-before-answered"]);
    expect(checkQueue({ results: [...results(0, 1, 2), null], questions: 3, whole: true, events: [] }).warnings).toHaveLength(1);
  });
});
