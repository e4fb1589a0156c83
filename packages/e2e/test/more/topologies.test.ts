import { writeFileSync } from "node:fs";
import path from "node:path";
import { expectedLinks } from "@failstorm/report";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectRecovered, expectRepaired, ids, newLinks, storm, victimsOf } from "../../src/repairStorm.ts";
import { type EndedRun, openSandbox, words } from "../../src/runCli.ts";

const sandbox = openSandbox();
afterAll(() => sandbox.close());

describe("a star", () => {
  let run: EndedRun;
  beforeAll(async () => {
    run = await sandbox.run([...words("--agents 5 --kill-count 2 --seed 3 --topology star --restart-after 4"), ...storm]);
  });

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
  });

  it("from a YAML file: the neighbours of a hole join hands", () => {
    const custom = edges.map(([a, b]) => [`agent-${a}`, `agent-${b}`] as const);
    const links = newLinks(run, "custom", 5, custom);
    expect(links, "this seed must kill one of the chain's inner agents").toHaveLength(1);
    expectRepaired(run, links);
    expectRecovered(run);
  });
});
