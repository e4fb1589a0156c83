import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createPrng } from "@failstorm/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { analyse, type Comparison } from "../src/comparison/analysis.ts";
import { comparisonTables } from "../src/comparison/comparisonTables.ts";
import { cell, type DataTable, toCsv, toJson, toLatex, toMarkdown } from "../src/comparison/dataTable.ts";
import { diffResults, parseFailRule } from "../src/comparison/diff.ts";
import { digestRun, type Observed, observe, type RunDigest } from "../src/comparison/digest.ts";
import type { Experiment } from "../src/comparison/experiment.ts";
import { readExperiment } from "../src/comparison/readExperiment.ts";
import type { ResultSet } from "../src/comparison/resultSet.ts";
import { readResults } from "../src/comparison/resultSet.ts";
import type { RunEntry } from "../src/comparison/summaries.ts";
import { writeComparison } from "../src/comparison/writeComparison.ts";
import { computeMetrics, findMeasure, MEASURES, type Measure, writeMetrics } from "../src/index.ts";
import { renderComparisonPage } from "../src/page/comparisonPage.ts";
import { RunBuilder } from "./builder.ts";

const RESAMPLES = 500;
const value = (value: number): Observed => ({ kind: "value", value });

function digest(seed: number, observed: Record<string, Observed>, override: Partial<RunDigest> = {}): RunDigest {
  const missing: Observed = { kind: "missing", reason: "not in this test" };
  const load = {
    machine_busy: 0.3,
    machine_busy_max: 0.4,
    orchestrator_cpu: 0,
    loop_lag_p99_ms: 2,
    loop_lag_p99_ms_max: 3,
    steal: 0,
    foreign: 0.01,
  };
  return {
    runId: `run-${seed}`,
    protocol: "p",
    agents: 8,
    seed,
    valid: true,
    invalidBecause: [],
    saturated: false,
    disturbed: [],
    load,
    victims: ["agent-1"],
    scheduleHash: `s${seed}`,
    observed: { ...Object.fromEntries(MEASURES.map(({ key }) => [key, missing])), ...observed },
    detections: [2900, 3100, null],
    detectionHorizonMs: 60_000,
    histogram: [[500, 10]],
    good: new Map([["t-1", true]]),
    windows: null,
    ...override,
  };
}

interface Made {
  readonly variant: string;
  readonly role?: "variant" | "aa" | "no_fault";
  readonly of: (block: number) => RunDigest;
}

function experiment(
  made: readonly Made[],
  blocks: number,
  published: string | null = null,
): { experiment: Experiment; entries: RunEntry[] } {
  const ids = [...new Set(made.map(({ variant }) => variant))];
  const entries = Array.from({ length: blocks }, (_, b) =>
    made.map(({ variant, role = "variant", of }): RunEntry => {
      const planned = { id: `b${b + 1}-${variant}-${role}`, block: b + 1, variant, role, seed: b };
      return {
        planned,
        made: { id: planned.id, dir: `runs/${planned.id}`, exitCode: 0, startedAt: "", wallMs: 1, busyBefore: 0, attempt: 1 },
        digest: of(b),
        problem: null,
      };
    }),
  ).flat();
  return {
    entries,
    experiment: {
      format: "failstorm-experiment",
      version: 1,
      name: "test",
      question: "Which?",
      createdAt: "2026-01-01T00:00:00Z",
      factors: { protocol: ids },
      compare: "protocol",
      baseline: ids[0] ?? "",
      primary: "service_gap_ms",
      alpha: 0.05,
      seed: 1,
      repeats: blocks,
      controls: { aa: true, no_fault: "baseline" },
      settings: {},
      variants: ids.map((id) => ({ id, label: id, levels: { protocol: id }, stratum: "" })),
      runs: entries.map(({ planned }) => planned),
      published,
    },
  };
}

/** The entry with another digest. */
const changed = (entry: RunEntry, override: Partial<RunDigest>): RunEntry =>
  Object.assign({}, entry, { digest: Object.assign({}, entry.digest, override) });

/** base: 3 s give or take; fast: 0.5 s less in every block; same: like base; each with its own noise. */
function three(blocks = 12): { experiment: Experiment; entries: RunEntry[] } {
  const noise = (label: string, b: number): number => createPrng(b, label).next() * 200;
  const gap = (label: string, less: number) => (b: number) =>
    digest(b, {
      service_gap_ms: value(3000 + b * 20 + noise(label, b) - less),
      "bytes_reconnect.total": value(100 + less),
      recovery_ms: b % 3 === 0 && label === "same" ? { kind: "censored", after: 60_000 } : value(3000 + noise(label, b)),
    });
  return experiment(
    [
      { variant: "base", of: gap("base", 0) },
      { variant: "fast", of: gap("fast", 500) },
      { variant: "same", of: gap("same", 0) },
      { variant: "base", role: "aa", of: gap("again", 0) },
      {
        variant: "base",
        role: "no_fault",
        of: (b) =>
          digest(
            b,
            {},
            {
              good: new Map([
                ["t-1", true],
                ["t-2", true],
              ]),
              victims: [],
            },
          ),
      },
    ],
    blocks,
  );
}

const analysed = (blocks?: number): Comparison => {
  const { experiment, entries } = three(blocks);
  return analyse(experiment, entries, RESAMPLES);
};

describe("a comparison", () => {
  const comparison = analysed();
  const [stratum] = comparison.strata;
  const pair = (measure: string, a: string, b: string) =>
    stratum?.pairs.find((row) => row.measure === measure && row.a === a && row.b === b);

  it("finds the difference that is there, with its interval, and not the one that is not", () => {
    const fast = pair("service_gap_ms", "fast", "base");
    expect(fast).toMatchObject({ n: 12, dropped: 0, lower: 12, p: 2 / 4096, significant: true });
    expect(fast?.meanDifference?.low).toBeLessThan(-440);
    expect(fast?.meanDifference?.high).toBeLessThan(-400);
    expect(pair("service_gap_ms", "same", "base")).toMatchObject({ significant: false });
    expect(stratum?.best).toEqual({ service_gap_ms: "fast", "bytes_reconnect.total": undefined });
  });

  it("counts differences from the baseline, and corrects the primary measure apart from all others", () => {
    const primary = stratum?.pairs.filter(({ measure, p }) => measure === "service_gap_ms" && p !== null) ?? [];
    expect(primary).toHaveLength(3);
    expect(primary.filter(({ b }) => b === "base")).toHaveLength(2);
    expect(pair("service_gap_ms", "fast", "base")?.pCorrected).toBe(3 * (2 / 4096));
  });

  it("shows the harness's own spread and what the fault took", () => {
    const own = stratum?.harness.find(({ measure }) => measure === "service_gap_ms");
    expect(own).toMatchObject({ n: 12 });
    expect(own?.meanDifference?.low).toBeLessThan(0);
    expect(own?.meanDifference?.high).toBeGreaterThan(0);
    expect(own?.typical).toBeLessThan(200);
    expect(stratum?.faultCost).toEqual([
      { variant: "base", blocks: 12, goodputWithout: 100, goodputWith: 100, lost: { estimate: 0, low: 0, high: 0, level: 0.95 } },
    ]);
  });

  it("treats what was never reached as longer than the observation, and says how often", () => {
    const summary = stratum?.variants.find(({ variant }) => variant.id === "same")?.measures["recovery_ms"];
    expect(summary).toMatchObject({ n: 12, censored: 4, missing: 0, isLowerBound: false, max: 60_000 });
    const rare = (b: number): Observed => (b < 3 ? value(5) : { kind: "censored", after: 90 });
    const plan = experiment(
      [
        { variant: "x", of: (b) => digest(b, { recovery_ms: rare(b) }) },
        { variant: "y", of: (b) => digest(b, {}) },
      ],
      8,
    );
    const most = analyse(plan.experiment, plan.entries, RESAMPLES);
    expect(most.strata[0]?.variants[0]?.measures["recovery_ms"]).toMatchObject({
      median: { estimate: 90 },
      isLowerBound: true,
      censored: 5,
    });
    expect(most.strata[0]?.variants[1]?.measures["recovery_ms"]).toMatchObject({
      n: 0,
      missing: 8,
      median: null,
      missingBecause: "not in this test",
    });
  });

  it("calls a median a lower bound when one of the two middle values is one, and says in differences how many blocks lack the end", () => {
    const half = (b: number): Observed => (b < 4 ? value(5 + b) : { kind: "censored", after: 90 });
    const plan = experiment(
      [
        { variant: "x", of: (b) => digest(b, { recovery_ms: half(b) }) },
        { variant: "y", of: (b) => digest(b, { recovery_ms: value(6) }) },
      ],
      8,
    );
    const result = analyse(plan.experiment, plan.entries, RESAMPLES);
    expect(result.strata[0]?.variants[0]?.measures["recovery_ms"]).toMatchObject({
      median: { estimate: 49 },
      isLowerBound: true,
    });
    const differences = toMarkdown(comparisonTables(result).find(({ id }) => id === "differences") as DataTable);
    expect(differences).toMatch(/\| Recovery \| y − x \| ms \| 8 4 never \|/);
  });

  it("takes how long runs were watched for no difference: of two that never got there neither was faster", () => {
    const never = (after: number): Observed => ({ kind: "censored", after });
    const gaps = (x: Observed, y: Observed) => {
      const of = (observed: Observed) => (b: number) => digest(b, { recovery_ms: observed });
      const plan = experiment(
        [
          { variant: "x", of: of(x) },
          { variant: "y", of: of(y) },
        ],
        8,
      );
      const [pair] =
        analyse(plan.experiment, plan.entries, RESAMPLES).strata[0]?.pairs.filter(({ measure }) => measure === "recovery_ms") ??
        [];
      return [pair?.meanDifference?.estimate, pair?.significant, pair?.censored];
    };
    expect(gaps(never(20_000), never(24_000))).toEqual([0, false, 8]);
    expect(gaps(never(20_000), value(24_000))).toEqual([0, false, 8]);
    expect(gaps(never(20_000), value(5000))).toEqual([-15_000, true, 8]);
    expect(gaps(value(20_000), value(24_000))).toEqual([4000, true, 0]);
  });

  it("shows no interval of a single run or block", () => {
    const plan = experiment(
      [
        { variant: "x", of: (b) => digest(b, { recovery_ms: value(5) }) },
        { variant: "y", of: (b) => digest(b, { recovery_ms: value(7) }) },
      ],
      1,
    );
    const tables = comparisonTables(analyse(plan.experiment, plan.entries, RESAMPLES));
    const text = (id: string): string => toMarkdown(tables.find((table) => table.id === id) as DataTable);
    expect(text("summary")).toContain("| 5 (one run) | 7 (one run) |");
    expect(text("differences")).toContain("| +2 (one block) |");
    const { experiment: plan1, entries } = three(1);
    const controls = comparisonTables(analyse(plan1, entries, RESAMPLES)).filter(({ id }) => /^(controls|fault-cost)$/.test(id));
    expect(controls.map((table) => toMarkdown(table)).join("\n")).toMatch(/one block.*one block/s);
  });

  it("says in how many blocks a pair lacks a side", () => {
    const { experiment: plan, entries } = three();
    const bad = new Set(["b2-fast-variant", "b5-fast-variant"]);
    const some = entries.map((entry) => (bad.has(entry.planned.id) ? changed(entry, { valid: false }) : entry));
    const tables = comparisonTables(analyse(plan, some, RESAMPLES));
    const differences = toMarkdown(tables.find(({ id }) => id === "differences") as DataTable);
    expect(differences).toMatch(/\| Service gap \| fast − base \| ms \| 10 2 left out \|/);
  });

  it("takes a difference relative to the size of a mean below 0, not to its sign", () => {
    const plan = experiment(
      [
        { variant: "x", of: (b) => digest(b, { success_rate_drop: value(-1) }) },
        { variant: "y", of: (b) => digest(b, { success_rate_drop: value(1) }) },
      ],
      3,
    );
    const [row] =
      analyse(plan.experiment, plan.entries, RESAMPLES).strata[0]?.pairs.filter(
        ({ measure }) => measure === "success_rate_drop",
      ) ?? [];
    expect(row).toMatchObject({ a: "y", b: "x", meanDifference: { estimate: 2 }, relative: 2 });
  });

  it("leaves invalid runs out, keeps flagged ones, and lists both with the reason", () => {
    const { experiment: plan, entries } = three();
    const spoilt = entries.map((entry): RunEntry => {
      switch (entry.planned.id) {
        case "b1-fast-variant":
          return changed(entry, { valid: false, invalidBecause: ["storm too small"] });
        case "b2-fast-variant":
          return changed(entry, { saturated: true, disturbed: ["other processes took 40.0 % of the machine"] });
        case "b3-fast-variant":
          return Object.assign({}, entry, { digest: null, problem: "left no metrics" });
        default:
          return entry;
      }
    });
    const result = analyse(plan, spoilt, RESAMPLES);
    const row = result.strata[0]?.pairs.find(({ measure, a }) => measure === "service_gap_ms" && a === "fast");
    expect(row).toMatchObject({ n: 10, dropped: 2, unflagged: { n: 9 } });
    expect(result.completeBlocks).toBe(10);
    const runs = toMarkdown(comparisonTables(result).find(({ id }) => id === "runs") as DataTable);
    expect(runs.split("\n").filter((line) => /^\| \d+ \|/.test(line))).toHaveLength(60);
    for (const words of ["storm too small", "saturated; other processes took 40.0 % of the machine", "left no metrics"])
      expect(runs).toContain(words);
    expect(result.warnings.join()).toMatch(/1 of 59 runs were saturated or disturbed/);
  });

  it("says so when the runs of a block did not have the same questions, and when A/A differs", () => {
    const { experiment: plan, entries } = three();
    const mixed = entries.map((entry) =>
      entry.planned.id === "b4-fast-variant" ? changed(entry, { scheduleHash: "other" }) : entry,
    );
    expect(analyse(plan, mixed, RESAMPLES).warnings.join()).toMatch(/In 1 blocks the runs did not have the same questions/);
    const late = { service_gap_ms: value(9000) };
    const shifted = entries.map((entry) => (entry.planned.role === "aa" ? changed(entry, { observed: late }) : entry));
    expect(analyse(plan, shifted, RESAMPLES).warnings.join()).toMatch(/A\/A: two runs of the same differ in service_gap_ms/);
  });

  it("is the same for the same runs, and can show nothing with few blocks", () => {
    expect(analysed().strata).toEqual(comparison.strata);
    const few = analysed(4);
    expect(few.power).toMatchObject({ canPass: false, blocksNeeded: 7, comparisons: 3 });
    expect(few.strata[0]?.pairs.some(({ significant }) => significant)).toBe(false);
  });

  it("compares within strata only", () => {
    const { experiment: plan, entries } = three();
    const variants = plan.variants.map((variant, i) =>
      Object.assign({}, variant, { stratum: i === 2 ? "agents 16" : "agents 8" }),
    );
    const result = analyse({ ...plan, variants }, entries, RESAMPLES);
    expect(result.strata.map(({ name, variants }) => [name, variants.length])).toEqual([
      ["agents 8", 2],
      ["agents 16", 1],
    ]);
    expect(result.power.comparisons).toBe(1);
  });
});

describe("what a run says of a measure", () => {
  const metrics = (cut: boolean) => {
    const run = new RunBuilder().meshUp(500).kill(60_000, "agent-3").dead(63_000, "agent-0");
    run.served(40_000, "agent-0");
    if (!cut) for (const [i, survivor] of ["agent-1", "agent-2"].entries()) run.dead(63_100 + i, survivor);
    return computeMetrics(run.finish().build());
  };
  const measure = (key: string): Measure => findMeasure(key) as Measure;

  it("reached, cut off by the end, or not there", () => {
    expect(observe(measure("detection_ms.last"), metrics(false))).toEqual({ kind: "value", value: 3101 });
    expect(observe(measure("detection_ms.last"), metrics(true))).toEqual({ kind: "censored", after: 60_000 });
    expect(observe(measure("recovery_ms"), metrics(true))).toEqual({ kind: "censored", after: 60_000 });
    expect(observe(measure("rejoin_ms.last"), metrics(true))).toEqual({
      kind: "missing",
      reason: "no victim was started again within the interval",
    });
    // Counted from the spawn, 20 s after the fault: it was not watched for longer than the rest.
    const lost = new RunBuilder()
      .meshUp(500)
      .kill(60_000, "agent-3")
      .at(80_000, { ev: "agent.spawned", agent: "agent-3", pid: 77 });
    const gone = computeMetrics(lost.finish().build());
    expect(observe(measure("rejoin_ms.last"), gone)).toEqual({ kind: "censored", after: 40_000 });
    expect(observe(measure("success_rate_drop"), { ...metrics(true), success_rate_drop: 0.25 })).toEqual({
      kind: "value",
      value: 25,
    });
  });
});

describe("tables", () => {
  const table: DataTable = {
    id: "x",
    title: "A & B",
    columns: [
      { key: "name", name: "name", numeric: false },
      { key: "value", name: "value, %", numeric: true },
      { key: "low", name: "low", numeric: true, dataOnly: true },
    ],
    rows: [[cell('a|b "q", c_1'), Object.assign(cell("5 ≥", 5.25, true), { detail: "[−1, 6]" }), cell("", -1)]],
    notes: ["50 % of #1"],
  };

  it("are right in every format", () => {
    expect(toMarkdown(table)).toBe(
      '### A & B\n\n| name | value, % |\n| :--- | ---: |\n| a\\|b "q", c_1 | **5 ≥ [−1, 6]** |\n\n50 % of #1\n',
    );
    expect(toCsv(table)).toBe('name,value,low\r\n"a|b ""q"", c_1",5.25,-1\r\n');
    expect(JSON.parse(toJson(table))).toEqual([{ name: 'a|b "q", c_1', value: 5.25, low: -1 }]);
    const latex = toLatex(table);
    expect(latex).toContain('a\\textbar{}b "q", c\\_1 & \\textbf{5 $\\geq$ [$-$1, 6]} \\\\');
    expect(latex).toContain("\\caption{A \\& B}");
    expect(latex).toContain("\\begin{tabular}{@{}lr@{}}");
    // pdflatex stops at a letter it does not know, and prints other characters for < and >.
    const odd = toLatex({ ...table, rows: [[cell("<0.0001"), cell("α"), cell("")]], notes: ["α = 0.05, a > b"] });
    expect(odd).toContain("\\textless{}0.0001 & $\\alpha$ \\\\");
    expect(odd).toContain("$\\alpha$ = 0.05, a \\textgreater{} b");
    for (const rule of ["\\toprule", "\\midrule", "\\bottomrule"]) expect(latex).toContain(rule);
  });
});

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), "failstorm-compare-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const lines = (events: readonly unknown[]): string => events.map((event) => `${JSON.stringify(event)}\n`).join("");

describe("an experiment's folder", () => {
  it("is read run by run; metrics that are missing or of another version come from the events; what is not there is said", async () => {
    const run = new RunBuilder().meshUp(500).kill(60_000, "agent-3").dead(63_000, "agent-0");
    run.served(40_000, "agent-0");
    run.finish();
    const { experiment: plan } = experiment([{ variant: "base", of: (b) => digest(b, {}) }], 5);
    const folder = (id: string): string => path.join(dir, "runs", id);
    for (const id of ["b1-base-variant", "b2-base-variant", "b3-base-variant"]) await mkdir(folder(id), { recursive: true });
    await writeMetrics(folder("b1-base-variant"), computeMetrics(run.build()));
    await writeFile(path.join(folder("b2-base-variant"), "failstorm_metrics.json"), '{"schemaVersion":0}');
    await writeFile(path.join(folder("b2-base-variant"), "events.ndjson"), lines(run.events));
    await writeFile(
      path.join(folder("b2-base-variant"), "schedule.json"),
      JSON.stringify({ version: 1, seed: 7, tasks: run.tasks, faults: run.faults, calibrated: true }),
    );
    const made = plan.runs.slice(0, 4).map(({ id }, i) => ({
      id,
      dir: i === 3 ? null : path.join("runs", id),
      exitCode: 0,
      startedAt: "",
      wallMs: 1,
      busyBefore: null,
      attempt: 1,
    }));
    await writeFile(path.join(dir, "experiment.json"), JSON.stringify(plan));
    await writeFile(path.join(dir, "runs.ndjson"), `${lines(made)}{"id":"b5-base-var`);
    const { entries } = await readExperiment(dir);
    expect(entries.map(({ digest, problem }) => [digest?.observed["detection_ms.first"], problem?.replace(/:.*$/s, "")])).toEqual(
      [
        [{ kind: "value", value: 3000 }, undefined],
        [{ kind: "value", value: 3000 }, undefined],
        [undefined, expect.stringContaining("b3-base-variant")],
        [undefined, "left no run folder"],
        [undefined, "not made yet"],
      ],
    );
    // Computed anew, the metrics of a run whose events are gone are not taken for theirs.
    const { entries: fresh } = await readExperiment(dir, { fresh: true });
    expect(fresh.slice(0, 2).map(({ digest, problem }) => [digest === null, problem === null])).toEqual([
      [true, false],
      [false, true],
    ]);
  });

  it("gets tables in four formats, figures in two, the comparison as JSON, and a page that stands alone", async () => {
    const comparison = analysed();
    await writeComparison(dir, comparison);
    expect((await readdir(dir)).sort()).toEqual(["comparison.json", "figures", "report.html", "tables"]);
    const tables = await readdir(path.join(dir, "tables"));
    for (const name of ["summary", "medians", "differences", "all-differences", "controls", "fault-cost", "runs"])
      for (const ending of ["md", "csv", "tex", "json"]) expect(tables).toContain(`${name}.${ending}`);
    const figures = await readdir(path.join(dir, "figures"));
    for (const name of [
      "intervals",
      "differences",
      "ecdf-detection",
      "survival-service_gap_ms",
      "survival-recovery_ms",
      "latency",
    ]) {
      expect(figures).toContain(`${name}.png`);
      const svg = await readFile(path.join(dir, "figures", `${name}.svg`), "utf8");
      expect(svg).toMatch(/^<svg[^>]* width="\d+/);
      expect(svg).not.toContain("var(--");
    }
    const png = await readFile(path.join(dir, "figures", "differences.png"));
    expect(png.subarray(1, 4).toString()).toBe("PNG");
    const page = await readFile(path.join(dir, "report.html"), "utf8");
    expect(page.length).toBeLessThan(5_000_000);
    expect(page.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:|undefined|NaN/);
    expect(page).toMatch(/<strong>fast<\/strong> was better than every other/);
    expect(JSON.parse(await readFile(path.join(dir, "comparison.json"), "utf8"))).toMatchObject({
      primary: "service_gap_ms",
      completeBlocks: 12,
    });
  });

  it("gets its page whatever its variants are called, and when no run of it can be used", async () => {
    const hostile = '<img src=x onerror="alert(1)">&$\\_%|';
    const plan = experiment(
      [
        { variant: hostile, of: (b) => digest(b, { service_gap_ms: value(10 + b) }) },
        { variant: "b", of: (b) => digest(b, { service_gap_ms: value(20 + b) }) },
      ],
      3,
    );
    const page = await renderComparisonPage(analyse(plan.experiment, plan.entries, RESAMPLES));
    expect(page).not.toContain("<img");
    expect(page).toContain("&lt;img src=x onerror=&quot;alert(1)&quot;&gt;");
    for (const [entries, said] of [
      [plan.entries.map((entry) => changed(entry, { valid: false, invalidBecause: ["storm too small"] })), "storm too small"],
      [plan.entries.map((entry) => Object.assign({}, entry, { digest: null, problem: "left no metrics" })), "left no metrics"],
    ] as const) {
      const none = await renderComparisonPage(analyse(plan.experiment, entries, RESAMPLES));
      expect(none).toContain("No run has given a service gap yet.");
      expect(none).toContain(said);
      expect(none).not.toMatch(/undefined|NaN|Infinity/);
    }
  });

  it("shows cost against N also where the numbers of agents are what is compared", async () => {
    const sized = experiment(
      [8, 16].map((agents) => ({
        variant: `${agents}_agents`,
        of: (b: number) => digest(b, { bytes_per_task: value(agents * 10 + b) }, { agents }),
      })),
      3,
    );
    const plan: Experiment = {
      ...sized.experiment,
      factors: { protocol: ["a2a"], agents: [8, 16] },
      compare: "agents",
      baseline: "8",
      variants: sized.experiment.variants.map((variant, i) => ({
        ...variant,
        levels: { protocol: "a2a", agents: [8, 16][i] ?? 0 },
      })),
    };
    const page = await renderComparisonPage(analyse(plan, sized.entries, RESAMPLES));
    expect(page).toContain('id="figure-scaling-bytes_per_task"');
  });

  it("sets published numbers beside ours, with what differs", async () => {
    const windows = {
      pre: { n: 100, good: 100, meanLatencySeconds: 2 },
      post: { n: 100, good: 90, meanLatencySeconds: 2.5 },
      recoverySeconds: 5,
    };
    const { experiment: plan, entries } = experiment(
      [
        { variant: "a2a", of: (b) => digest(b, {}, { protocol: "a2a", windows }) },
        { variant: "simple_json", of: (b) => digest(b, {}, { protocol: "simple_json", windows }) },
      ],
      3,
      "protocolbench",
    );
    const page = await renderComparisonPage(analyse(plan, entries, RESAMPLES));
    expect(page).toContain("arXiv:2510.17149");
    expect(page).toMatch(/14\.74.*14\.57.*98\.85.*8\.00/s);
    expect(page).toMatch(/ours, mean of 3 runs.*100\.00.*90\.00.*90\.00.*2\.50.*5\.00/s);
    const drawn = entries.toReversed();
    const rows = comparisonTables(analyse(plan, drawn, RESAMPLES)).find(({ id }) => id === "published")?.rows ?? [];
    expect(rows.map(([protocol]) => protocol?.value)).toEqual(["a2a", "a2a", "simple_json"]);
    const late = { ...windows, post: null, recoverySeconds: null };
    const cut = entries.map((entry) => (entry.planned.block === 1 ? changed(entry, { windows: late }) : entry));
    const published = comparisonTables(analyse(plan, cut, RESAMPLES)).find(({ id }) => id === "published") as DataTable;
    expect(toMarkdown(published)).toMatch(/ours, mean of 3 runs \|.*\| 5.00 in 2 runs \|/);
  });
});

describe("diff", () => {
  const set = (source: string, runs: readonly RunDigest[], name = "p, 8 agents"): ResultSet => ({
    source,
    groups: [{ name, runs }],
    excluded: [],
  });
  const runs = (n: number, recovery: (seed: number) => number, seedFrom = 0): RunDigest[] =>
    Array.from({ length: n }, (_, i) =>
      digest(i + seedFrom, {
        recovery_ms: value(recovery(i)),
        service_gap_ms: value(100 + i),
        "goodput.measured.rate": value(99),
      }),
    );
  const compare = (a: ResultSet, b: ResultSet, rules: string[]) => {
    const [group] = diffResults(a, b, { rules: rules.map(parseFailRule), alpha: 0.05, seed: 1 }).groups;
    return { group, row: group?.rows.find(({ measure }) => measure === "recovery_ms") };
  };
  const before = set(
    "a",
    runs(10, (i) => 1000 + i * 10),
  );

  it("pairs runs of the same seed, and calls a regression what is worse than allowed with significance", () => {
    const worse = compare(
      before,
      set(
        "b",
        runs(10, (i) => 1300 + i * 11),
      ),
      ["recovery_ms:+20%"],
    );
    expect(worse.group?.paired).toBe(true);
    expect(worse.row).toMatchObject({ change: "worse", p: 2 / 1024, regression: { judgedBy: "significance" } });
    expect(
      compare(
        before,
        set(
          "b",
          runs(10, (i) => 1100 + i * 11),
        ),
        ["recovery_ms:+20%"],
      ).row,
    ).toMatchObject({ change: "worse", regression: null });
    expect(
      compare(
        before,
        set(
          "b",
          runs(10, (i) => 700 + i * 11),
        ),
        ["recovery_ms:+20%"],
      ).row,
    ).toMatchObject({ change: "better", regression: null });
    // Worse by much on average, but by chance.
    expect(
      compare(
        before,
        set(
          "b",
          runs(10, (i) => (i === 0 ? 9000 : 1000 + i * 10)),
        ),
        ["recovery_ms:+20%"],
      ).row,
    ).toMatchObject({ change: "not significant", regression: null });
  });

  it("lets no gate open that could not be judged, and takes any worsening of what was 0 for more than a share", () => {
    const of = (source: string, observed: Record<string, Observed>, n = 8): ResultSet =>
      set(
        source,
        Array.from({ length: n }, (_, i) => digest(i, observed)),
      );
    const drop = (a: number, b: number, n?: number) =>
      diffResults(of("a", { success_rate_drop: value(a) }, n), of("b", { success_rate_drop: value(b) }, n), {
        rules: [parseFailRule("success_rate_drop:+20%"), parseFailRule("recovery_ms:+20%")],
        alpha: 0.05,
        seed: 1,
      }).groups[0]?.rows ?? [];
    const row = (rows: ReturnType<typeof drop>, key: string) => rows.find(({ measure }) => measure === key);
    for (const a of [0, -1]) expect(row(drop(a, 5), "success_rate_drop")?.regression).toMatchObject({ judgedBy: "significance" });
    expect(row(drop(0, 0), "success_rate_drop")).toMatchObject({ regression: null, unjudged: null });
    expect(row(drop(5, 0), "success_rate_drop")).toMatchObject({ regression: null, change: "better" });
    expect(row(drop(0, 0), "recovery_ms")?.unjudged).toMatchObject({ rule: "recovery_ms:+20%", lacksValues: true });
    const one = compare(of("a", { recovery_ms: value(1) }, 1), of("b", { recovery_ms: value(2) }, 1), ["recovery_ms"]);
    expect(one.row?.unjudged).toMatchObject({ because: expect.stringMatching(/too few runs/), lacksValues: false });
  });

  it("speaks in all numbers of a row of the same runs: those that have a partner with a value", () => {
    const less = runs(10, (i) => 1000 + i * 10).map((run) => (run.seed === 9 ? digest(9, { service_gap_ms: value(1) }) : run));
    const { row } = compare(before, set("b", less), ["recovery_ms:+1%"]);
    expect(row).toMatchObject({ a: { n: 9 }, b: { n: 9 }, relative: 0, meanDifference: { estimate: 0 } });
  });

  it("calls longer runs that never got there no worse than shorter ones", () => {
    const never = (after: number, seedFrom: number): RunDigest[] =>
      Array.from({ length: 10 }, (_, i) => digest(i + seedFrom, { recovery_ms: { kind: "censored", after } }));
    for (const seedFrom of [0, 50]) {
      const { row } = compare(set("a", never(60_000, 0)), set("b", never(120_000, seedFrom)), ["recovery_ms"]);
      expect(row).toMatchObject({ meanDifference: { estimate: 0 }, change: "not significant", regression: null });
    }
    const reached = compare(before, set("b", never(120_000, 50)), ["recovery_ms"]).row;
    expect(reached).toMatchObject({ change: "worse", b: { median: 120_000 } });
  });

  it("compares runs of other seeds as two samples", () => {
    const { group, row } = compare(
      before,
      set(
        "b",
        runs(10, (i) => 1300 + i * 11, 50),
      ),
      ["recovery_ms:+20%"],
    );
    expect(group?.paired).toBe(false);
    expect(row).toMatchObject({ effect: 1, regression: { judgedBy: "significance" } });
    expect(row?.meanDifference?.low).toBeGreaterThan(250);
  });

  it("judges by the threshold alone, and says so, where too few runs could not be significant", () => {
    const one = compare(
      set(
        "a",
        runs(1, () => 1000),
      ),
      set(
        "b",
        runs(1, () => 1300),
      ),
      ["recovery_ms:+20%"],
    );
    expect(one.row).toMatchObject({ change: "too few runs", regression: { judgedBy: "threshold alone" } });
    expect(
      compare(
        set(
          "a",
          runs(1, () => 1000),
        ),
        set(
          "b",
          runs(1, () => 1300),
        ),
        ["recovery_ms"],
      ).row?.regression,
    ).toBeNull();
    expect(
      compare(
        set(
          "a",
          runs(3, () => 1000),
        ),
        set(
          "b",
          runs(3, () => 1300),
        ),
        ["recovery_ms:+20%"],
      ).row?.regression,
    ).toMatchObject({ judgedBy: "threshold alone" });
    expect(
      compare(
        set(
          "a",
          runs(3, () => 1000),
        ),
        set(
          "b",
          runs(3, () => 1300),
        ),
        ["recovery_ms:+400"],
      ).row?.regression,
    ).toBeNull();
    expect(
      compare(
        set(
          "a",
          runs(3, () => 1000),
        ),
        set(
          "b",
          runs(3, () => 1300),
        ),
        ["recovery_ms:+250"],
      ).row?.regression,
    ).not.toBeNull();
  });

  it("names what only one side has", () => {
    const a: ResultSet = {
      source: "a",
      groups: [
        { name: "x", runs: runs(2, () => 1) },
        { name: "y", runs: runs(2, () => 1) },
      ],
      excluded: [],
    };
    expect(
      diffResults(a, { ...a, groups: a.groups.slice(0, 1).concat({ name: "z", runs: [] }) }, { rules: [], alpha: 0.05, seed: 1 }),
    ).toMatchObject({ groups: [{ name: "x" }], unmatched: ["y", "z"] });
  });

  it("refuses rules that make no sense", () => {
    for (const [rule, expected] of [
      ["recovry_ms:+20%", /must be MEASURE or MEASURE:\+20%/],
      ["recovery_ms:20%", /must be MEASURE/],
      ["recovery_ms:-20%", /a lower recovery is no regression/],
      ["goodput.measured.rate:+1%", /a higher goodput is no regression/],
      ["orphaned_tasks:+5", /must be MEASURE/],
      ["recovery_ms:+20kB", /recovery_ms is in ms, not in kB; give recovery_ms:\+20ms/],
    ] as const)
      expect(() => parseFailRule(rule)).toThrow(expected);
    expect(parseFailRule("goodput.measured.rate:-1%")).toMatchObject({ limit: -0.01, relative: true });
    expect(parseFailRule("recovery_ms:+250ms")).toMatchObject({ limit: 250, relative: false });
  });

  it("reads a run's folder, a file of metrics, a batch, and says what it cannot read", async () => {
    const run = new RunBuilder().meshUp(500);
    for (const at of [59_000, 59_100, 59_200, 59_300, 59_400]) run.started(at, "agent-3", run.task(at, "agent-3"));
    const metrics = computeMetrics(run.kill(60_000, "agent-3").dead(63_000, "agent-0").finish().build());
    expect(metrics.valid).toBe(true);
    await writeMetrics(dir, metrics);
    await mkdir(path.join(dir, "batch"));
    for (const seed of [1, 2])
      await writeFile(path.join(dir, "batch", `seed-${seed}.json`), JSON.stringify({ ...metrics, seed }));
    expect((await readResults(dir, "x")).groups).toMatchObject([{ name: "simple_json, 4 agents", runs: [{ seed: 7 }] }]);
    expect((await readResults(path.join(dir, "failstorm_metrics.json"), "x")).groups[0]?.runs).toHaveLength(1);
    expect((await readResults(path.join(dir, "batch"), "x")).groups[0]?.runs.map(({ seed }) => seed)).toEqual([1, 2]);
    await expect(readResults(path.join(dir, "nowhere"), "x")).rejects.toThrow(/x: there is no such file or folder/);
    await mkdir(path.join(dir, "empty"));
    await expect(readResults(path.join(dir, "empty"), "x")).rejects.toThrow(/holds no failstorm_metrics.json/);
    expect(digestRun({ ...metrics, load: { ...metrics.load, foreign: 0.4 } }).disturbed).toEqual([
      "other processes took 40.0 % of the machine",
    ]);
  });
});
