import { mkdtemp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  computeMetrics,
  metricsJsonSchema,
  metricsSchema,
  readRun,
  resultRows,
  detectionRows,
  writeMetrics,
} from "../src/index.ts";
import { buildConfig, RunBuilder } from "./builder.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), "failstorm-report-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

function example(): RunBuilder {
  const run = new RunBuilder().meshUp(500).kill(60_000, "agent-3").dead(63_000, "agent-0");
  run.served(40_000, "agent-0");
  return run;
}

async function writeSchedule(run: RunBuilder): Promise<void> {
  const schedule = { version: 1, seed: 7, tasks: run.tasks, faults: run.faults, calibrated: true };
  await writeFile(path.join(dir, "schedule.json"), JSON.stringify(schedule));
}

const lines = (events: readonly unknown[]): string => events.map((event) => `${JSON.stringify(event)}\n`).join("");

describe("readRun", () => {
  it("reads events in order of time, reports broken lines with their number, and goes on", async () => {
    const run = example().finish();
    await writeSchedule(run);
    const [first, ...rest] = run.events;
    const text = `${lines([first])}{"t":12,"src":"agent-0","inc\n${lines([{ t: 1, src: "x", inc: 0, seq: 0, ev: "nonsense" }])}${lines(rest.toReversed())}`;
    await writeFile(path.join(dir, "events.ndjson"), text);
    const record = await readRun(dir);
    expect(record.badLines.map(({ file, line }) => [file, line])).toEqual([
      ["events.ndjson", 2],
      ["events.ndjson", 3],
    ]);
    expect(record.events).toHaveLength(run.events.length);
    const sound = computeMetrics(run.build());
    expect(computeMetrics(record)).toEqual({
      ...sound,
      invalid_because: ["damaged: 2 lines of events.ndjson cannot be read", ...sound.invalid_because],
      events: { n: run.events.length, bad_lines: 2, warnings: 0, errors: 0 },
    });
  });

  it("reads the unmerged parts of a run whose orchestrator died, with a line cut short by a kill", async () => {
    const run = example().up(80_000, "agent-3", 2);
    await writeSchedule(run);
    const of = (src: string) => run.events.filter((event) => event.src === src);
    await writeFile(path.join(dir, "orchestrator.ndjson"), lines(of("orchestrator")));
    for (const agent of ["agent-0", "agent-1", "agent-2", "agent-3"]) {
      await mkdir(path.join(dir, "workspaces", agent), { recursive: true });
      const own = of(agent);
      const cut =
        agent === "agent-3" ? `${lines(own.slice(0, -1))}{"t":5060000,"src":"agent-3",${lines(own.slice(-1))}` : lines(own);
      await writeFile(path.join(dir, "workspaces", agent, "events.ndjson"), cut);
    }
    const record = await readRun(dir);
    expect(record.events).toHaveLength(run.events.length);
    expect(record.badLines).toHaveLength(1);
    expect(computeMetrics(record)).toMatchObject({ partial: true, detection_ms: { first: 3000 } });
  });

  it("says what is wrong with a folder that is no run", async () => {
    await expect(readRun(dir)).rejects.toMatchObject({ code: "BAD_INPUT" });
    await writeFile(path.join(dir, "events.ndjson"), lines(example().events));
    await expect(readRun(dir)).rejects.toThrow(/schedule\.json: cannot be read/);
    await writeFile(path.join(dir, "schedule.json"), '{"version":1}');
    await expect(readRun(dir)).rejects.toThrow(/schedule\.json: .*tasks/s);
  });
});

describe("writeMetrics", () => {
  it("writes one file that its own schema accepts, and leaves nothing half-written", async () => {
    const metrics = computeMetrics(example().finish().build());
    const file = await writeMetrics(dir, metrics);
    expect(await readdir(dir)).toEqual(["failstorm_metrics.json"]);
    expect(metricsSchema.parse(JSON.parse(await readFile(file, "utf8")))).toEqual(metrics);
    // What a killed program has left goes, what a living one is writing stays.
    const [abandoned, others] = [`failstorm_metrics.json.${2 ** 30}.tmp`, `failstorm_metrics.json.${process.ppid}.tmp`];
    for (const name of [abandoned, others]) await writeFile(path.join(dir, name), "");
    await writeMetrics(dir, metrics);
    expect((await readdir(dir)).sort()).toEqual(["failstorm_metrics.json", others]);
    await expect(writeMetrics(path.join(dir, "missing"), metrics)).rejects.toMatchObject({ code: "METRICS_NOT_WRITTEN" });
  });

  it("has a JSON schema that names version and measures", () => {
    const schema = metricsJsonSchema();
    expect(schema["properties"]).toMatchObject({
      schemaVersion: { const: 1 },
      recovery_ms: expect.anything(),
      storms: { type: "array" },
    });
  });
});

describe("result table", () => {
  it("has words and units, the reason where a measure is null, and who detected whom", () => {
    const metrics = computeMetrics(example().finish().build());
    const rows = resultRows(metrics);
    expect(rows.find((row) => row.measure === "recovery")).toEqual({
      measure: "recovery",
      value: "–",
      unit: "ms",
      note: "no survivor completed a handshake because of a lost link",
      key: "recovery_ms",
    });
    expect(rows.find((row) => row.measure === "detection")).toMatchObject({
      value: "3,000 / – / –",
      note: expect.stringMatching(/2 of 3/),
    });
    expect(rows.every((row) => row.measure !== "" && !row.value.includes("NaN") && !row.note.includes("undefined"))).toBe(true);
    expect(detectionRows(metrics)).toContainEqual({
      measure: "agent-0 noticed agent-3",
      value: "3,000",
      unit: "ms",
      note: "probe",
    });
  });

  it("has a line for each storm after the first, and says so where there are very many", () => {
    const run = example().kill(90_000, "agent-0", { cycle: 1 }).kill(110_000, "agent-1", { cycle: 2 });
    for (const src of ["agent-1", "agent-2"]) run.dead(93_000, src, "agent-0");
    const rows = resultRows(computeMetrics(run.finish().build())).filter(({ measure }) => measure.startsWith("storm"));
    expect(rows.map(({ measure, value }) => [measure, value])).toEqual([
      ["storm 2 of 3", "3,000 / – / –"],
      ["storm 3 of 3", "– / – / –"],
    ]);
    expect(rows[0]?.note).toBe("at 90.0 s: 1 victims, 0 orphaned tasks (too few); the rows above are of storm 1");
    const many = new RunBuilder(buildConfig({ scenario: { agentCount: 16 } }));
    for (let i = 0; i < 12; i++) many.kill(30_000 + i * 5000, `agent-${i}`, { cycle: i });
    const all = resultRows(computeMetrics(many.finish().build())).filter(({ measure }) => measure.includes("storm"));
    expect([all.length, all.at(-1)?.measure, all.at(-1)?.value]).toEqual([10, "further storms", "2"]);
  });
});
