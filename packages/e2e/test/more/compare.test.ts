import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import path from "node:path";
import type { ScheduleFile } from "@failstorm/core";
import type { FailstormMetrics } from "@failstorm/report";
import type { MadeRun } from "@failstorm/report/comparison/experiment.ts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually, processesNaming } from "../../src/processes.ts";
import { openSandbox, projectRoot, readLines, type Sandbox, words } from "../../src/runCli.ts";

/*
 * A small comparison with real runs: interrupted in the middle, taken up again, reported. What it computes is tested in packages/report.
 */
describe("compare", () => {
  let sandbox: Sandbox;
  let results: string;
  let folder: string;
  const compare = (): string[] => [
    ...words(
      "compare --vary network.heartbeat_timeout=2,4 --protocol simple_json --agents 3 --time-scale 0.1 --base-port 0 --repeats 1",
    ),
    ...words("--no-aa --fault-free baseline --name small --results"),
    results,
  ];
  beforeAll(() => {
    sandbox = openSandbox();
    results = path.join(sandbox.dir, "results");
    folder = path.join(results, "experiments", "small");
    mkdirSync(results);
    const cache = path.join(projectRoot, "results", ".cache");
    mkdirSync(cache, { recursive: true });
    symlinkSync(cache, path.join(results, ".cache"));
  });
  afterAll(() => sandbox.close());

  const made = (): MadeRun[] => {
    const file = path.join(folder, "runs.ndjson");
    return existsSync(file) ? readLines<MadeRun>(file) : [];
  };
  const read = (run: MadeRun, file: string): unknown => JSON.parse(readFileSync(path.join(folder, run.dir ?? "", file), "utf8"));
  const scheduleOf = (run: MadeRun): ScheduleFile => read(run, "schedule.json") as ScheduleFile;
  const metricsOf = (run: MadeRun): FailstormMetrics => read(run, "failstorm_metrics.json") as FailstormMetrics;

  it("keeps its finished runs over an interruption, goes on with the next, and says what came of it", async () => {
    const first = sandbox.start(compare(), { results });
    await eventually("the first run", 120_000, () => made().length === 1);
    await eventually(
      "the second run under way",
      60_000,
      () => existsSync(path.join(folder, "running.json")) && processesNaming(folder).length > 2,
    );
    first.kill("SIGINT");
    const interrupted = await first.ended;
    expect([interrupted.code, interrupted.stderr]).toEqual([130, expect.stringContaining("the same command goes on from here")]);
    await eventually("the end of the run's processes", 30_000, () => processesNaming(folder).length === 0);
    const [kept] = made();

    const { code, stdout, stderr } = await sandbox.cli(compare());
    expect([code, stderr]).toEqual([expect.toBeOneOf([0, 3]), expect.stringContaining("1 made before; 2 to make")]);
    expect(made()[0]).toEqual(kept);
    expect(new Set(made().map(({ id }) => id)).size).toBe(3);
    expect(stdout).toMatch(/Service gap \(primary\)/);
  });

  it("had the same questions and victims in all runs of the block, and no victims without a fault", () => {
    const runs = made();
    const schedules = runs.map(scheduleOf);
    expect(new Set(schedules.map(({ tasks }) => JSON.stringify(tasks))).size).toBe(1);
    const victims = runs.map(
      (run) =>
        metricsOf(run)
          .victims?.map(({ agent }) => agent)
          .join() ?? "none",
    );
    const struck = runs.map(({ id }, i) => [id.endsWith("no_fault"), victims[i]] as const);
    expect(struck.filter(([isControl]) => isControl)).toEqual([[true, "none"]]);
    expect(new Set(struck.filter(([isControl]) => !isControl).map(([, who]) => who)).size).toBe(1);
  });

  it("left tables, figures and a page for the experiment, and a page for each run", () => {
    for (const file of [
      "report.html",
      "comparison.json",
      "tables/summary.tex",
      "tables/runs.csv",
      "figures/intervals.svg",
      "figures/intervals.png",
    ])
      expect([file, existsSync(path.join(folder, file))]).toEqual([file, true]);
    for (const run of made()) expect(existsSync(path.join(folder, run.dir ?? "", "report.html"))).toBe(true);
    expect(readdirSync(path.join(folder, "configs"))).toHaveLength(2);
  });

  it("is reported again from events alone, to the same numbers", async () => {
    const before = readFileSync(path.join(folder, "comparison.json"), "utf8");
    const published = path.join(sandbox.dir, "published", "small");
    const { code } = await sandbox.cli(["report", folder, "--fresh", "--publish", published]);
    expect(code).toBe(0);
    expect(readFileSync(path.join(folder, "comparison.json"), "utf8")).toBe(before);
    expect(readdirSync(published).sort()).toEqual(["comparison.json", "experiment.json", "figures", "report.html", "tables"]);
    expect(readFileSync(path.join(folder, "report.html"), "utf8")).toContain('href="runs/');
    expect(readFileSync(path.join(published, "report.html"), "utf8")).not.toContain("runs/fail-storm");
  });

  it("has nothing more to do the second time", async () => {
    const again = await sandbox.cli(compare());
    expect(again.stderr).toContain("3 made before; 0 to make");
  });
});
