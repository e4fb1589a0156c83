import type { TopologyKind } from "@failstorm/core";
import { expectedLinks } from "@failstorm/report";
import { expect } from "vitest";
import { type EndedRun, words } from "./runCli.ts";

/** A storm after which the topology has to be repaired, and what is to be seen then. */
export const storm = words("--runtime 14 --fault-time 5 --rate 1 --deadline 6 --heartbeat-interval 0.5 --heartbeat-timeout 1.5");

export const ids = (count: number): string[] => Array.from({ length: count }, (_, index) => `agent-${index}`);
export const victimsOf = (run: EndedRun): string[] => run.schedule.faults.flatMap((fault) => fault.victims);
export const named = (links: readonly (readonly [string, string])[]): string[] => links.map(([a, b]) => `${a} ${b}`);

/** The links that the survivors must have and that were none before, by the checker's own definition of the repaired topology. */
export function newLinks(
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
export function expectRepaired(run: EndedRun, links: readonly string[]): void {
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

export function expectRecovered(run: EndedRun): void {
  expect(run.code, run.stderr).toBe(0);
  const { metrics } = run;
  expect(metrics).toMatchObject({ tasks_lost: 0, false_positives: 0, partial: false });
  expect(metrics.recovery_ms, JSON.stringify(metrics.reasons)).toBeGreaterThan(0);
  expect(metrics.reconnected_ms, JSON.stringify(metrics.reasons)).toBeGreaterThan(0);
  expect(metrics.takeover_ms?.shard.reached).toBe(victimsOf(run).length);
  // Hop by hop the very last entries may still be under way when a run ends. Any other difference breaks an invariant, which the exit code says.
  const digests = new Set(run.of("ledger.final").map((event) => event.digest));
  if (digests.size > 1) expect(run.stdout).toMatch(/ledgers-equal: .* made too late to reach everybody/);
}
