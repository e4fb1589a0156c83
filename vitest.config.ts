import { defineConfig } from "vitest/config";

/**
 * Safety nets, not expectations: a machine of half the speed that does three other things, or whose loop stands still for a while, is right all
 * the same. A corpus of 100 000 passages takes ten seconds beside a measurement; what hangs is found out two minutes later.
 */
const UNIT = { environment: "node", testTimeout: 120_000, hookTimeout: 120_000, expect: { poll: { timeout: 30_000 } } } as const;
/** For what hangs. A storm of half a minute may be made three times (`Sandbox.run`), on a machine several times slower than ours. */
const E2E = { environment: "node", testTimeout: 300_000, hookTimeout: 600_000, expect: { poll: { timeout: 30_000 } } } as const;
const ORACLE = "packages/e2e/test/oracle.test.ts";
/** Storms that each say one thing more, and not in every change: `pnpm test:all`. */
const MORE = "packages/e2e/test/more/**/*.test.ts";

/**
 * Groups run one after the other. The oracle's run is measured against a packet capture, so it has the machine to itself;
 * the other storms mostly wait, and three of them at a time leave two cores a quarter idle (four broke what they measure).
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...UNIT,
          name: "unit",
          include: ["packages/*/test/**/*.test.ts"],
          exclude: ["packages/e2e/**"],
          setupFiles: ["packages/core/test/fuzzSeed.ts"],
          maxWorkers: 3,
          sequence: { groupOrder: 0 },
        },
      },
      { test: { ...E2E, name: "oracle", include: [ORACLE], maxWorkers: 1, sequence: { groupOrder: 1 } } },
      { test: { ...E2E, name: "more", include: [MORE], maxWorkers: 3, sequence: { groupOrder: 3 } } },
      {
        test: {
          ...E2E,
          name: "e2e",
          include: ["packages/e2e/test/**/*.test.ts"],
          exclude: [ORACLE, MORE],
          maxWorkers: 3,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
