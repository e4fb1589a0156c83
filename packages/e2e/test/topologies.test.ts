import { writeFileSync } from "node:fs";
import path from "node:path";
import type { TopologyKind } from "@failstorm/core";
import { expectedLinks } from "@failstorm/report";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type EndedRun, openSandbox, words } from "../src/runCli.ts";

const sandbox = openSandbox();
afterAll(() => sandbox.close());

const storm = words("--runtime 14 --fault-time 5 --rate 1 --deadline 6 --heartbeat-interval 0.5 --heartbeat-timeout 1.5");
/** A run of 14 s on a machine that has other things to do. */
const RUN_MS = 120_000;

const ids = (count: number): string[] => Array.from({ length: count }, (_, index) => `agent-${index}`);
const victimsOf = (run: EndedRun): string[] => run.schedule.faults.flatMap((fault) => fault.victims);
const named = (links: readonly (readonly [string, string])[]): string[] => links.map(([a, b]) => `${a} ${b}`);

/** The links that the survivors must have and that were none before, by the checker's own definition of the repaired topology. */
function newLinks(
  run: EndedRun,
  kind: TopologyKind,
  count: number,
  edges: readonly (readonly [string, string])[] = [],
): string[] {
  const all = ids(count);
  const live = new Set(all.filter((id) => !victimsOf(run).includes(id)));
  const before = new Set(named(expectedLinks(kind, all, new Set(all), edges)));
  return named(expectedLinks(kind, all, live, edges)).filter((link) => !before.has(link));
}

/** Both ends have greeted each other because of the fault. */
function expectRepaired(run: EndedRun, links: readonly string[]): void {
  const at = run.of("fault.injected")[0]?.before ?? Number.NaN;
  const greeted = new Set(
    run
      .of("link.up")
      .filter((event) => event.startedAt > at)
      .map((event) => `${event.src} ${event.peer}`),
  );
  for (const link of links) {
    expect(greeted).toContain(link);
    expect(greeted).toContain(link.split(" ").toReversed().join(" "));
  }
}

function expectRecovered(run: EndedRun): void {
  expect(run.code, run.stderr).toBe(0);
  const { metrics } = run;
  expect(metrics).toMatchObject({ tasks_lost: 0, false_positives: 0, partial: false });
  expect(metrics.recovery_ms, JSON.stringify(metrics.reasons)).toBeGreaterThan(0);
  expect(metrics.reconnected_ms, JSON.stringify(metrics.reasons)).toBeGreaterThan(0);
  expect(metrics.takeover_ms?.shard.reached).toBe(victimsOf(run).length);
  expect(new Set(run.of("ledger.final").map((event) => event.digest)).size).toBe(1);
}

describe("a ring", () => {
  let run: EndedRun;
  beforeAll(async () => {
    run = await sandbox.run([...words("--agents 6 --kill-count 2 --seed 3 --topology ring --ttl 9 --no-restart"), ...storm]);
  }, RUN_MS);

  it("closes over the dead by stabilise and recovers", () => {
    const links = newLinks(run, "ring", 6);
    expect(links.length).toBeGreaterThan(0);
    expectRepaired(run, links);
    expectRecovered(run);
  });

  it("relays hop by hop: messages leave an agent only along the ring's links", () => {
    const at = run.of("fault.injected")[0]?.before ?? Number.NaN;
    const neighbours = new Set(
      named(expectedLinks("ring", ids(6), new Set(ids(6)))).flatMap((link) => [link, link.split(" ").toReversed().join(" ")]),
    );
    const before = run.of("msg").filter((event) => event.t < at && event.cause === "work");
    expect(before.length).toBeGreaterThan(0);
    expect(before.filter((event) => !neighbours.has(`${event.src} ${event.to}`))).toEqual([]);
    expect(before.some((event) => event.kind === "relay")).toBe(true);
  });
});

describe("a star", () => {
  let run: EndedRun;
  beforeAll(async () => {
    run = await sandbox.run([...words("--agents 5 --kill-count 2 --seed 3 --topology star --restart-after 4"), ...storm]);
  }, RUN_MS);

  it("whose centre is killed finds a new centre, and gives the old one its place back", () => {
    const degree = Map.groupBy(expectedLinks("star", ids(5), new Set(ids(5))).flat(), (id) => id);
    const centre = ids(5).find((id) => (degree.get(id)?.length ?? 0) > 1);
    expect(victimsOf(run), "this seed must kill the centre").toContain(centre);
    expectRepaired(run, newLinks(run, "star", 5));
    expectRecovered(run);
    expect(run.metrics.reconnected_all_ms, JSON.stringify(run.metrics.reasons)).toBeGreaterThan(0);
    expect(run.metrics.rejoin_ms).toMatchObject({ reached: 2, total: 2 });
  });
});

describe("custom edges", () => {
  const edges = [
    [0, 1],
    [1, 2],
    [2, 3],
    [3, 4],
  ] as const;
  let run: EndedRun;
  beforeAll(async () => {
    const file = path.join(sandbox.dir, "chain.yaml");
    writeFileSync(
      file,
      `network:\n  topology: custom\n  custom_edges: ${JSON.stringify(edges)}\nscenario:\n  agent_count: 5\n  kill_count: 1\n  seed: 3\n`,
    );
    run = await sandbox.run(["--config", file, "--no-restart", ...storm]);
  }, RUN_MS);

  it("from a YAML file: the neighbours of a hole join hands", () => {
    const custom = edges.map(([a, b]) => [`agent-${a}`, `agent-${b}`] as const);
    const links = newLinks(run, "custom", 5, custom);
    expect(links, "this seed must kill one of the chain's inner agents").toHaveLength(1);
    expectRepaired(run, links);
    expectRecovered(run);
  });
});
