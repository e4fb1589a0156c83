import type { Mutant } from "@failstorm/core";
import { readRun } from "@failstorm/report";
import { failStorm } from "@failstorm/scenarios";
import { afterAll, expect, it } from "vitest";
import { MUTANT_RULES, stormRun } from "./mutantRules.ts";
import { openSandbox } from "./runCli.ts";

/** The seed of the tests' storm, with and without mutants. */
export const STORM_SEED = 11;

/** The storm of the tests with one mechanism broken. A test file each, so that they run beside each other. */
export function testMutant(mutant: Mutant): void {
  const sandbox = openSandbox();
  afterAll(() => sandbox.close());
  const rule = MUTANT_RULES.find((candidate) => candidate.mutant === mutant);
  if (rule === undefined) throw new Error(`no rule for ${mutant}`);
  const { measure, threshold, read, isRed } = rule;

  it(`turns ${measure} red (${threshold}), in the very storm that leaves it green`, async () => {
    const mutated = await sandbox.run(stormRun(STORM_SEED, mutant));
    const { config } = await readRun(mutated.dir);
    const { schedule } = await failStorm.plan({ ...config, mutants: [] });
    expect(mutated.schedule, "same seed, same schedule, victims and questions").toEqual(schedule);
    expect(isRed(mutated.metrics), `mutated: ${read(mutated.metrics)}`).toBe(true);
  });
}
