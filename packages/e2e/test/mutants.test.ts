import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MUTANT_RULES, mutantRun } from "../src/mutantRules.ts";
import { type EndedRun, openSandbox } from "../src/runCli.ts";

const SEED = 21;
/** A run of 24 s on a machine that has other things to do. */
const RUN_MS = 120_000;

const sandbox = openSandbox();
let unmutated: EndedRun;
beforeAll(async () => {
  unmutated = await sandbox.run(mutantRun(SEED, null));
}, RUN_MS);
afterAll(() => sandbox.close());

const scheduleOf = (run: EndedRun): string => readFileSync(path.join(run.dir, "schedule.json"), "utf8");

describe.each(MUTANT_RULES)("the mutant $mutant", ({ mutant, measure, threshold, read, isRed }) => {
  it(
    `turns ${measure} red (${threshold}), in the very storm that leaves it green`,
    async () => {
      const mutated = await sandbox.run(mutantRun(SEED, mutant));
      expect(scheduleOf(mutated), "same seed, same schedule").toBe(scheduleOf(unmutated));
      expect(unmutated.code, unmutated.stderr).toBe(0);
      expect(isRed(unmutated.metrics), `unmutated: ${read(unmutated.metrics)}`).toBe(false);
      expect(isRed(mutated.metrics), `mutated: ${read(mutated.metrics)}`).toBe(true);
    },
    RUN_MS,
  );
});
