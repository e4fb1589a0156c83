import { readdirSync } from "node:fs";
import { type AgentSpec, systemClock } from "@failstorm/core";
import { expect, test } from "vitest";
import { rehearseDeaths } from "../src/rehearseDeaths.ts";
import { folder } from "./recorded.ts";

/** Not waited for: what a machine that has far too much to do would not find out in time is found out all the same. */
const PATIENCE_MS = 30_000;

/** A ring of agents that do not act upon closed streams: in the rehearsal all do, and all are linked. */
const specIn = (workspaceDir: string, detector: string): AgentSpec =>
  ({
    agentId: "agent-5",
    host: "127.0.0.1",
    workspaceDir,
    homeTool: "search",
    config: {
      scenario: { timeScale: 1 },
      tasks: { ttl: 15 },
      network: {
        topology: "ring",
        customEdges: [],
        monitors: 2,
        detector,
        transportSignals: false,
        heartbeatIntervalMs: 1000,
        // Longer than the rehearsal waits: what is found out is found out by closed streams.
        heartbeatTimeoutMs: 2 * PATIENCE_MS,
        connectionTimeoutMs: PATIENCE_MS,
      },
    },
  }) as unknown as AgentSpec;

test.each(["heartbeat", "phi-accrual", "swim"])(
  "%s: all deaths of the rehearsal are found out, and it leaves nothing",
  async (detector) => {
    const workspaceDir = folder();
    expect(await rehearseDeaths(specIn(workspaceDir, detector), systemClock, PATIENCE_MS)).toBe(6);
    expect(readdirSync(workspaceDir)).toEqual([]);
  },
);
