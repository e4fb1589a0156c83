import { FakeClock, type PlannedFault } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { type Moment, planMoments, runMoments } from "../src/timeline.ts";
import { createWaiting } from "../src/waiting.ts";
import { testConfig } from "./fixtures/plan.ts";

const fault = (atMs: number, restartAtMs: number | null, cycle = 0): PlannedFault => ({
  kind: "sigkill",
  atMs,
  cycle,
  victims: ["agent-1"],
  fake: false,
  restartAtMs,
});
const scenario = (recoveryDurationMs: number | null) => testConfig("out", { scenario: { recoveryDurationMs } }).scenario;
const brief = (moments: readonly Moment[]) => moments.map((moment) => `${moment.atMs} ${moment.kind}`);

describe("the timeline", () => {
  it("puts strikes and restarts in order and leaves out what lies at or after the end", () => {
    const moments = planMoments([fault(60_000, 95_000), fault(90_000, 120_000, 1)], 500, scenario(null));
    expect(brief(moments)).toEqual(["500 phase", "60000 strike", "90000 strike", "95000 restore"]);
  });

  it("ends the recovery after its duration, unless the next fault comes first", () => {
    const moments = planMoments([fault(60_000, null), fault(70_000, null, 1)], 500, scenario(20_000));
    expect(brief(moments)).toEqual(["500 phase", "60000 strike", "70000 strike", "90000 phase"]);
  });

  it("lets each moment happen at its time and ends at the end", async () => {
    const clock = new FakeClock();
    const t0 = clock.now();
    const seen: string[] = [];
    const act = (moment: Moment): void => void seen.push(`${moment.kind} ${clock.now() - t0}`);
    const moments = planMoments([fault(60_000.5, 80_000)], 500, scenario(null));
    const { signal } = new AbortController();
    const done = runMoments({ moments, t0, runtimeMs: 120_000, clock, signal, act }).then(() =>
      seen.push(`end ${clock.now() - t0}`),
    );
    await clock.advance(119_999);
    expect(seen).toEqual(["phase 500", "strike 60000.5", "restore 80000"]);
    await clock.advance(1);
    await done;
    expect(seen.at(-1)).toBe("end 120000");
  });

  it("stops at once when the run is ended early", async () => {
    const clock = new FakeClock();
    const end = new AbortController();
    const act = (): void => expect.unreachable();
    const run = runMoments({
      moments: planMoments([fault(60_000, null)], 500, scenario(null)),
      t0: clock.now(),
      runtimeMs: 120_000,
      clock,
      signal: end.signal,
      act,
    });
    end.abort(new Error("enough"));
    await expect(run).rejects.toThrow("enough");
  });
});

describe("waiting", () => {
  it("ends when the condition comes true, at the deadline, or with the signal", async () => {
    const clock = new FakeClock();
    const waiting = createWaiting(clock);
    let ready = false;
    const met = waiting.until(() => ready, clock.now() + 100);
    const late = waiting.until(() => false, clock.now() + 100);
    const end = new AbortController();
    const cut = waiting.until(() => false, clock.now() + 100, end.signal);
    ready = true;
    waiting.changed();
    expect(await met).toBe(true);
    end.abort(new Error("enough"));
    await expect(cut).rejects.toThrow("enough");
    await clock.advance(100);
    expect(await late).toBe(false);
  });
});
