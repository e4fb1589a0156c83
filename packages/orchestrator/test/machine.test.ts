import { describe, expect, it } from "vitest";
import { describeMachine, parseProcStat } from "../src/machine.ts";

describe("the machine", () => {
  it("reads /proc/stat: guest time is part of user time, iowait is idle", () => {
    const text = "cpu  100 10 50 800 30 5 5 20 40 4\ncpu0 1 1 1 1\nintr 5\n";
    expect(parseProcStat(text)).toEqual({ total: 1020, idle: 830, steal: 20 });
    expect(parseProcStat("rubbish\n")).toBeNull();
  });

  it("is described without naming its owner", () => {
    expect(Object.keys(describeMachine()).toSorted()).toEqual([
      "arch",
      "cores",
      "cpuModel",
      "kernel",
      "memoryBytes",
      "node",
      "platform",
    ]);
  });
});
