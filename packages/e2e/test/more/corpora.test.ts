import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openSandbox, projectRoot, words } from "../../src/runCli.ts";

const sandbox = openSandbox();
afterAll(() => sandbox.close());

const storm =
  "--kill-count 1 --no-restart --runtime 9 --fault-time 5 --deadline 4 --heartbeat-interval 0.5 --heartbeat-timeout 1.5";

describe("other inputs", () => {
  // The data lie beside the checkout and are no part of it.
  const corpus = path.resolve(projectRoot, "..", "shared", "data", "hotpot-shards");

  it.skipIf(!existsSync(corpus))("--corpus: sharded HotpotQA-style questions, graded as that data set does", async () => {
    const run = await sandbox.run([...words(`--agents 4 --seed 15 --rate 1 ${storm}`), "--corpus", corpus]);
    expect(run.code, run.stderr).toBe(0);
    expect(run.schedule.calibrated).toBe(false);
    const { answers, tasks_lost, goodput } = run.metrics;
    expect(tasks_lost).toBe(0);
    expect(goodput.whole.n).toBeGreaterThan(15);
    // Modest without a language model; what it can do without a fault is what the storm is measured against.
    expect(answers).toMatchObject({
      calibrated: false,
      exact_match: expect.any(Number) as number,
      token_f1: expect.any(Number) as number,
    });
    expect(answers.token_f1).toBeGreaterThanOrEqual(answers.exact_match ?? Number.NaN);
    expect(run.of("task.outcome").some((event) => event.status === "answered")).toBe(true);
  });

  it("--document: a plain text and questions about it", async () => {
    const document = path.join(sandbox.dir, "moons.txt");
    const moons = [
      "Phobos",
      "Deimos",
      "Io",
      "Europa",
      "Ganymede",
      "Callisto",
      "Titan",
      "Rhea",
      "Miranda",
      "Ariel",
      "Triton",
      "Charon",
    ];
    const planets = [
      "Mars",
      "Mars",
      "Jupiter",
      "Jupiter",
      "Jupiter",
      "Jupiter",
      "Saturn",
      "Saturn",
      "Uranus",
      "Uranus",
      "Neptune",
      "Pluto",
    ];
    writeFileSync(document, `# Moons\n\n${moons.map((moon, i) => `The moon ${moon} belongs to ${planets[i]}.`).join("\n\n")}\n`);
    const questions = path.join(sandbox.dir, "moons.jsonl");
    const lines = moons.map((moon, i) =>
      JSON.stringify({ id: `m${i}`, question: `Which planet does the moon ${moon} belong to?`, answer: planets[i] }),
    );
    writeFileSync(questions, `${lines.join("\n")}\n`);
    const run = await sandbox.run([
      ...words(`--agents 3 --seed 16 --rate 1 ${storm}`),
      "--document",
      document,
      "--questions",
      questions,
    ]);
    expect(run.code, run.stderr).toBe(0);
    expect(new Set(run.schedule.tasks.map((task) => task.questionId)).size).toBe(moons.length);
    expect(run.metrics).toMatchObject({ tasks_lost: 0, answers: { calibrated: false } });
    expect(
      run
        .of("document.stored")
        .filter((event) => event.src !== "agent-0")
        .every((event) => event.from !== null),
    ).toBe(true);
    expect(new Set(run.of("document.stored").map((event) => event.sha256)).size).toBe(1);
  });
});
