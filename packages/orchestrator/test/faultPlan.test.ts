import { agentId, createPrng, type RunConfig } from "@failstorm/core";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { planFaults } from "../src/index.ts";
import { testConfig } from "./fixtures/plan.ts";

const plan = (scenario: Partial<RunConfig["scenario"]>, seed = 7) =>
  planFaults(testConfig("out", { scenario }), createPrng(seed));

describe("planFaults", () => {
  it("gives the same storm for the same seed, and others for others", () => {
    const storm = { agentCount: 20, killCount: 6 };
    expect(plan(storm, 1)).toEqual(plan(storm, 1));
    const victims = new Set(Array.from({ length: 20 }, (_, seed) => plan(storm, seed)[0]?.victims.join()));
    expect(victims.size).toBeGreaterThan(15);
  });

  it("strikes every agent about equally often", () => {
    const hits = new Map<string, number>();
    for (let seed = 0; seed < 400; seed++) {
      for (const id of plan({ agentCount: 4, killCount: 1 }, seed)[0]?.victims ?? []) hits.set(id, (hits.get(id) ?? 0) + 1);
    }
    for (let index = 0; index < 4; index++) expect(hits.get(agentId(index))).toBeGreaterThan(65);
  });

  it("spreads the fault time over one heartbeat interval", () => {
    const times = Array.from({ length: 200 }, (_, seed) => (plan({}, seed)[0]?.atMs ?? 0) - 60_000);
    expect(Math.min(...times)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...times)).toBeLessThan(1000);
    const quarters = new Set(times.map((ms) => Math.floor(ms / 250)));
    expect(quarters.size).toBe(4);
  });

  it("plans nothing for one agent, no victims, or no time", () => {
    expect(plan({ agentCount: 1, killCount: 1 })).toEqual([]);
    expect(plan({ killCount: 0 })).toEqual([]);
    expect(plan({ faultTimeMs: 120_000 })).toEqual([]);
  });

  it("restarts victims after the fault, not at or after the end, and continues stopped ones at the end", () => {
    const [fault] = plan({});
    expect(fault?.restartAtMs).toBe((fault?.atMs ?? 0) + 20_000);
    expect(plan({ restartAfterMs: null })[0]?.restartAtMs).toBeNull();
    expect(plan({ restartAfterMs: 60_000 })[0]?.restartAtMs).toBeNull();
    expect(plan({ fault: "sigstop", restartAfterMs: null })[0]?.restartAtMs).toBe(120_000);
  });

  it("marks fake faults, with the victims and times of the real ones", () => {
    const [real] = plan({ killCount: 2 });
    expect(plan({ killCount: 2, fakeFault: true })).toEqual([{ ...real, fake: true }]);
  });

  it("draws victims from the agents that host a protocol, and says when there are none", () => {
    const hosts = [["a2a"], ["anp"], ["acp", "anp"], ["a2a"]];
    const struck = { agentCount: 4, killCount: 2, hosts, killProtocol: "anp" };
    expect(plan(struck)[0]?.victims).toEqual(["agent-1", "agent-2"]);
    expect(plan({ ...struck, killCount: 4 })[0]?.victims).toEqual(["agent-1", "agent-2"]);
    const drawn = new Set(Array.from({ length: 30 }, (_, seed) => plan({ ...struck, killCount: 1 }, seed)[0]?.victims.join()));
    expect(drawn).toEqual(new Set(["agent-1", "agent-2"]));
    const everybody = { ...struck, hosts: hosts.map(() => ["anp"]), killCount: 4 };
    expect(plan(everybody)[0]?.victims).toHaveLength(3);
    expect(() => plan({ ...struck, killProtocol: "agora" })).toThrow(/no agent hosts agora; they host a2a, acp, anp/);
    expect(() => plan({ agentCount: 4, killCount: 1, killProtocol: "anp" })).toThrow(/all agents speak one protocol/);
  });

  it("strikes those of a protocol that are up, cycle by cycle", () => {
    const faults = plan({
      agentCount: 4,
      killCount: 1,
      hosts: [["anp"], ["anp"], ["a2a"], ["a2a"]],
      killProtocol: "anp",
      cycles: 3,
      cycleIntervalMs: 5000,
      restartAfterMs: null,
    });
    expect(faults.flatMap(({ victims }) => victims).toSorted()).toEqual(["agent-0", "agent-1"]);
  });

  it("leaves a restarted victim time to start, whatever the time scale", () => {
    const config = testConfig("out", {
      scenario: { agentCount: 3, killCount: 1, cycles: 2, cycleIntervalMs: 3000, restartAfterMs: 200 },
    });
    const quick = { ...config, network: { ...config.network, heartbeatIntervalMs: 100, heartbeatTimeoutMs: 300 } };
    for (let seed = 0; seed < 20; seed++) {
      const [first, second] = planFaults(quick, createPrng(seed));
      expect(second?.victims).toHaveLength(1);
      expect(second?.victims).not.toEqual(first?.victims);
    }
  });

  it("never strikes an agent that is down, and always spares one", () => {
    const scenario = fc.record({
      agentCount: fc.integer({ min: 1, max: 12 }),
      killCount: fc.integer({ min: 0, max: 12 }),
      cycles: fc.integer({ min: 1, max: 5 }),
      cycleIntervalMs: fc.integer({ min: 1000, max: 30_000 }),
      restartAfterMs: fc.option(fc.integer({ min: 0, max: 60_000 })),
      fault: fc.constantFrom("sigkill" as const, "sigstop" as const, "sigterm" as const),
    });
    fc.assert(
      fc.property(scenario, fc.integer(), (given, seed) => {
        const faults = plan(given, seed);
        for (const fault of faults) {
          const down = faults
            .filter((other) => other.cycle < fault.cycle)
            .filter((other) => other.kind === "sigstop" || other.restartAtMs === null || other.restartAtMs > fault.atMs)
            .flatMap((other) => other.victims);
          expect(fault.victims.filter((id) => down.includes(id))).toEqual([]);
          expect(new Set([...down, ...fault.victims]).size).toBeLessThan(given.agentCount);
          expect(new Set(fault.victims).size).toBe(fault.victims.length);
          expect(fault.victims.length).toBeLessThanOrEqual(given.killCount);
          const earliest = 60_000 + fault.cycle * given.cycleIntervalMs;
          expect(fault.atMs).toBeGreaterThanOrEqual(earliest);
          expect(fault.atMs).toBeLessThan(Math.min(120_000, earliest + 1000));
        }
      }),
      { numRuns: 200 },
    );
  });
});
