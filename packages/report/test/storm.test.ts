import { describe, expect, it } from "vitest";
import { observe } from "../src/comparison/digest.ts";
import { findMeasure } from "../src/measures.ts";
import { computeMetrics } from "../src/metrics.ts";
import { metricsSchema } from "../src/schema.ts";
import { expectedLinks } from "../src/topology.ts";
import { buildConfig, RunBuilder } from "./builder.ts";

/**
 * Four agents, mesh; agent-3 is killed at 60 s. Each survivor notices, drops the link, greets the replacement (agent-1 takes
 * shard 3, agent-2 the tool), serves.
 */
function mesh(): RunBuilder {
  const run = new RunBuilder().meshUp(500).kill(60_000, "agent-3");
  run.dead(63_000, "agent-0").linkDown(63_000, "agent-0", "agent-3");
  run.dead(63_200, "agent-1", "agent-3", "gossip").linkDown(63_200, "agent-1", "agent-3");
  run.dead(63_100, "agent-2", "agent-3", "transport").linkDown(63_100, "agent-2", "agent-3");
  const claim = { ev: "takeover.claimed", from: "agent-3", fromInc: 1, view: "v" } as const;
  run.at(63_200, { ...claim, kind: "shard", id: "3" }, "agent-1");
  run.at(63_100, { ...claim, kind: "tool", id: "reason/agent-3" }, "agent-2");
  const replacement = { reason: "replacement", lost: "agent-3" } as const;
  run.linkUp(63_300, "agent-0", "agent-1", replacement).linkUp(63_250, "agent-0", "agent-2", replacement);
  run.linkUp(63_400, "agent-2", "agent-1", replacement).linkUp(63_350, "agent-1", "agent-2", replacement);
  return run;
}

/** agent-3 comes back as incarnation 2, 20 s after the kill. */
function restart(run: RunBuilder): RunBuilder {
  run.at(80_000, { ev: "agent.spawned", agent: "agent-3", pid: 77 }).up(80_300, "agent-3", 2);
  for (const [i, peer] of ["agent-0", "agent-1", "agent-2"].entries()) {
    run.linkUp(80_400 + i, "agent-3", peer, { inc: 2, reason: "rejoin" });
    run.linkUp(80_500 + i * 100, peer, "agent-3", { peerInc: 2, reason: "incarnation", lost: "agent-3" });
  }
  return run.at(80_450, { ev: "agent.rejoined", peer: "agent-0", entries: 3, ms: 5 }, "agent-3", 2);
}

describe("detection", () => {
  it("counts from the victim's before stamp, over all pairs and by how each learned", () => {
    const { detection_ms } = computeMetrics(mesh().finish().build());
    expect(detection_ms).toMatchObject({ first: 3000, p50: 3100, last: 3200, reached: 3, total: 3 });
    expect(detection_ms?.by_how.gossip).toMatchObject({ first: 3200, total: 1 });
    expect(detection_ms?.pairs).toContainEqual({ survivor: "agent-2", victim: "agent-3", ms: 3100, how: "transport" });
  });

  it("has no last when a pair never detected, and says how many", () => {
    const run = new RunBuilder().kill(60_000, "agent-3").dead(63_000, "agent-0").dead(64_000, "agent-1");
    const metrics = computeMetrics(run.finish().build());
    expect(metrics.detection_ms).toMatchObject({ first: 3000, p50: 4000, last: null, reached: 2, total: 3 });
    expect(metrics.reasons["detection_ms"]).toMatch(/1 of 3/);
  });

  it("takes news of a newer incarnation for detection, and no verdict on an older one or from before the kill", () => {
    const run = new RunBuilder().kill(60_000, "agent-3");
    run.dead(59_000, "agent-0").at(61_000, { ev: "detect.alive", peer: "agent-3", peerInc: 1, how: "probe" }, "agent-0");
    run.at(80_500, { ev: "detect.alive", peer: "agent-3", peerInc: 2, how: "incarnation" }, "agent-0");
    const pair = computeMetrics(run.finish().build()).detection_ms?.pairs[0];
    expect(pair).toEqual({ survivor: "agent-0", victim: "agent-3", ms: 20_500, how: "incarnation" });
  });

  it("takes the declaration that lasted, not one that was taken back while the victim lay dead; 0 where one stood already", () => {
    const alive = { ev: "detect.alive", peer: "agent-3", peerInc: 1, how: "gossip" } as const;
    const run = new RunBuilder().kill(60_000, "agent-3");
    run.dead(60_050, "agent-0", "agent-3", "gossip").at(60_100, alive, "agent-0").dead(63_000, "agent-0");
    run.dead(58_000, "agent-1");
    run.dead(58_000, "agent-2").at(59_000, alive, "agent-2").dead(63_200, "agent-2");
    const { detection_ms } = computeMetrics(run.finish().build());
    expect(detection_ms?.pairs.map(({ ms, how }) => [ms, how])).toEqual([
      [3000, "probe"],
      [0, "probe"],
      [3200, "probe"],
    ]);
  });

  it("a stopped victim that is continued does not take its detection back", () => {
    const run = new RunBuilder(buildConfig({ scenario: { fault: "sigstop" } })).kill(60_000, "agent-3", { kind: "sigstop" });
    const cleared = { ev: "fault.cleared", kind: "sigstop", cycle: 0, agent: "agent-3", agentInc: 1 } as const;
    run.at(80_000, { ...cleared, before: 5_080_000, after: 5_080_000.1 });
    run.dead(63_000, "agent-0").at(80_100, { ev: "detect.alive", peer: "agent-3", peerInc: 1, how: "probe" }, "agent-0");
    expect(computeMetrics(run.finish().build()).detection_ms?.pairs[0]?.ms).toBe(3000);
  });

  it("counts each victim from its own stamp", () => {
    const run = new RunBuilder(buildConfig({ scenario: { killCount: 2 } })).kill(60_000, "agent-2").kill(60_050, "agent-3");
    for (const peer of ["agent-2", "agent-3"]) for (const src of ["agent-0", "agent-1"]) run.dead(63_050, src, peer);
    expect(computeMetrics(run.finish().build()).detection_ms).toMatchObject({ first: 3000, p50: 3025, last: 3050 });
  });

  it("reports when the kernel closed the held-open connections, of survivors and to this incarnation only", () => {
    const run = mesh();
    run.at(60_004, { ev: "transport.notice", peer: "agent-3", peerInc: 1 }, "agent-0");
    run.at(60_010, { ev: "transport.notice", peer: "agent-3", peerInc: 1 }, "agent-1");
    run.at(60_900, { ev: "transport.notice", peer: "agent-3", peerInc: 1 }, "agent-1");
    run.at(60_001, { ev: "transport.notice", peer: "agent-2", peerInc: 1 }, "agent-0");
    expect(computeMetrics(run.finish().build()).transport_notice_ms).toMatchObject({
      first: 4,
      p50: 10,
      last: null,
      reached: 2,
      total: 3,
    });
    expect(computeMetrics(mesh().finish().build()).reasons["transport_notice_ms"]).toMatch(/3 of 3 never/);
    const stopped = new RunBuilder(buildConfig({ scenario: { fault: "sigstop" } })).kill(60_000, "agent-3", { kind: "sigstop" });
    expect(computeMetrics(stopped.finish().build()).reasons["transport_notice_ms"]).toMatch(/no survivor recorded/);
  });

  it("on a ring only neighbours can notice; a survivor that ended before it did is left out", () => {
    const run = new RunBuilder(buildConfig({ network: { topology: "ring" } })).kill(60_000, "agent-3");
    const notice = computeMetrics(run.finish().build()).transport_notice_ms;
    expect(notice).toMatchObject({ reached: 0, total: 2 });
    const ended = { agent: "agent-2", agentInc: 1, pid: 1102, code: 1, signal: null, cause: "unexpected" } as const;
    run.at(60_002, { ev: "agent.exited", ...ended });
    expect(computeMetrics(run.build()).transport_notice_ms).toMatchObject({ reached: 0, total: 1 });
  });
});

describe("reconnection", () => {
  it("recovery is the first byte of the first completed handshake because of the loss; setup, healing of others do not count", () => {
    const run = mesh().linkUp(62_000, "agent-0", "agent-1", { reason: "healed", lost: "agent-1" });
    // agent-0 → agent-2 at 63 250, begun 4 ms before.
    expect(computeMetrics(run.finish().build()).recovery_ms).toBe(3246);
  });

  it("reconnected when both ends of every link stand and each survivor has greeted each replacement", () => {
    expect(computeMetrics(mesh().finish().build()).reconnected_ms).toBe(3400);
  });

  it("is null, naming what is missing, when a replacement was not greeted or a link to the dead was kept", () => {
    const ungreeted = mesh().at(
      63_500,
      { ev: "takeover.claimed", kind: "tool", id: "x", from: "agent-3", fromInc: 1, view: "v" },
      "agent-0",
    );
    const metrics = computeMetrics(ungreeted.finish().build());
    expect(metrics.reconnected_ms).toBeNull();
    expect(metrics.reasons["reconnected_ms"]).toMatch(/2 replacements not greeted/);
    const kept = new RunBuilder().meshUp(500).kill(60_000, "agent-3").linkDown(63_000, "agent-0", "agent-3");
    expect(computeMetrics(kept.finish().build()).reasons["reconnected_ms"]).toMatch(/2 too many/);
  });

  it("does not wait for a claim that was given up again", () => {
    const run = mesh().at(
      63_500,
      { ev: "takeover.claimed", kind: "tool", id: "x", from: "agent-3", fromInc: 1, view: "v" },
      "agent-0",
    );
    run.at(63_600, { ev: "takeover.released", kind: "tool", id: "x", to: "agent-2" }, "agent-0");
    expect(computeMetrics(run.finish().build()).reconnected_ms).toBe(3400);
  });

  it("ring: the new neighbours must have greeted each other in both directions", () => {
    const ring = (both: boolean): RunBuilder => {
      const run = new RunBuilder(buildConfig({ network: { topology: "ring" } }));
      for (const i of [0, 1, 2, 3]) for (const j of [(i + 1) % 4, (i + 3) % 4]) run.linkUp(500, `agent-${i}`, `agent-${j}`);
      run.kill(60_000, "agent-3").linkDown(63_000, "agent-0", "agent-3").linkDown(63_001, "agent-2", "agent-3");
      run.linkUp(63_200, "agent-0", "agent-2", { reason: "repair" });
      return both ? run.linkUp(63_700, "agent-2", "agent-0", { reason: "repair" }) : run;
    };
    expect(computeMetrics(ring(true).finish().build()).reconnected_ms).toBe(3700);
    expect(computeMetrics(ring(false).finish().build()).reasons["reconnected_ms"]).toMatch(/1 missing \(agent-2>agent-0#1\)/);
  });

  it("ring, several storms: what an earlier storm left to repair is no recovery from a later one", () => {
    const run = new RunBuilder(buildConfig({ network: { topology: "ring" }, scenario: { agentCount: 6 } }));
    run.kill(60_000, "agent-3").kill(80_000, "agent-5", { cycle: 1 });
    for (const src of ["agent-0", "agent-4"]) run.dead(83_000, src, "agent-5");
    // Between neighbours of the first storm's victim, 20 ms after the second.
    run.linkUp(80_020, "agent-2", "agent-4", { reason: "repair" }).linkUp(80_021, "agent-4", "agent-2", { reason: "repair" });
    const recovery = (): unknown => computeMetrics(run.build()).storms[1]?.recovery_ms;
    run.finish();
    expect(recovery()).toBeNull();
    run.linkUp(83_010, "agent-0", "agent-4", { reason: "repair" });
    expect(recovery()).toBe(3006);
  });

  it("a replacement that is no neighbour must be greeted, and is no link", () => {
    const run = new RunBuilder(buildConfig({ scenario: { agentCount: 5 }, network: { topology: "ring" } }));
    for (const i of [0, 1, 2, 3, 4]) for (const j of [(i + 1) % 5, (i + 4) % 5]) run.linkUp(500, `agent-${i}`, `agent-${j}`);
    run.kill(60_000, "agent-0").linkDown(63_000, "agent-1", "agent-0").linkDown(63_001, "agent-4", "agent-0");
    run.linkUp(63_100, "agent-1", "agent-4", { reason: "repair" }).linkUp(63_200, "agent-4", "agent-1", { reason: "repair" });
    run.at(63_000, { ev: "takeover.claimed", kind: "shard", id: "0", from: "agent-0", fromInc: 1, view: "v" }, "agent-3");
    run.linkUp(63_250, "agent-4", "agent-3", { reason: "replacement", lost: "agent-0" });
    run.linkUp(63_300, "agent-1", "agent-3", { reason: "replacement", lost: "agent-0" });
    expect(computeMetrics(run.finish().build()).reconnected_ms).toBe(3300);
  });

  it("recovery: none, and none missed, where one survivor is left alone", () => {
    const two = () => {
      const run = new RunBuilder(buildConfig({ scenario: { agentCount: 2 } }));
      run.linkUp(500, "agent-0", "agent-1").linkUp(500, "agent-1", "agent-0");
      return run.kill(60_000, "agent-1").dead(63_000, "agent-0", "agent-1").linkDown(63_000, "agent-0", "agent-1");
    };
    const alone = computeMetrics(two().finish().build());
    expect([alone.recovery_ms, alone.censored?.includes("recovery_ms")]).toEqual([null, false]);
    expect(alone.reasons["recovery_ms"]).toMatch(/nothing to repair/);
    const back = two().at(80_000, { ev: "agent.spawned", agent: "agent-1", pid: 77 }).up(80_300, "agent-1", 2);
    expect(computeMetrics(back.finish().build()).censored).toContain("recovery_ms");
  });

  it("recovery: none, and none missed, where a star's centre takes over from its leaf itself", () => {
    const ids = ["agent-0", "agent-1", "agent-2", "agent-3"];
    const links = expectedLinks("star", ids, new Set(ids));
    const centre = ids.find((id) => links.every((link) => link.includes(id))) ?? "";
    const [leaf = "", other = ""] = ids.filter((id) => id !== centre);
    const struck = (claimant: string) => {
      const run = new RunBuilder(buildConfig({ network: { topology: "star" } }));
      for (const [a, b] of links) run.linkUp(500, a, b).linkUp(500, b, a);
      run.kill(60_000, leaf).dead(63_000, centre, leaf).linkDown(63_000, centre, leaf);
      const claim = { ev: "takeover.claimed", kind: "shard", id: leaf.slice(6), from: leaf, fromInc: 1, view: "v" } as const;
      return computeMetrics(run.at(63_100, claim, claimant).finish().build());
    };
    const own = struck(centre);
    expect(own).toMatchObject({ recovery_ms: null, reconnected_ms: 3000, censored: [] });
    expect(own.reasons["recovery_ms"]).toMatch(/nothing to repair/);
    expect(struck(other).censored).toEqual(expect.arrayContaining(["recovery_ms", "reconnected_ms"]));
  });

  it("reconnected was watched for only until the first victim was back", () => {
    const metrics = computeMetrics(
      new RunBuilder().meshUp(500).kill(60_000, "agent-3").up(62_000, "agent-3", 2).finish().build(),
    );
    expect(metrics).toMatchObject({ reconnected_ms: null, reconnected_watched_ms: 2000, until_ms: 60_000 });
    expect(metrics.reasons["reconnected_ms"]).toMatch(
      /a victim was back 2\.0 s after the fault, and until then the links did not/,
    );
    const measure = findMeasure("reconnected_ms");
    expect(measure && observe(measure, metrics)).toEqual({ kind: "censored", after: 2000 });
    expect(computeMetrics(mesh().finish().build()).reconnected_watched_ms).toBe(60_000);
  });

  it("rejoin: from the spawn to the last handshake, at either end, with the new incarnation", () => {
    const metrics = computeMetrics(restart(mesh()).finish().build());
    expect(metrics.rejoin_ms).toMatchObject({ last: 700, reached: 1, total: 1 });
    expect(metrics.reconnected_all_ms).toBe(20_700);
    expect(metrics.reconnected_ms).toBe(3400);
    const none = computeMetrics(mesh().finish().build());
    expect(none.reasons["rejoin_ms"]).toMatch(/no victim was started again/);
    expect(none.reasons["reconnected_all_ms"]).toMatch(/no victim came back/);
  });

  it("work in flight: what survivors were told by the victim's next incarnation, and by nobody else", () => {
    const run = restart(mesh());
    run.linkUp(82_000, "agent-0", "agent-3", { reason: "incarnation", peerInc: 2, recovered: ["failed", "unknown"] });
    run.linkUp(82_001, "agent-1", "agent-3", { reason: "incarnation", peerInc: 2, recovered: [] });
    run.linkUp(82_002, "agent-1", "agent-0", { reason: "repair", recovered: ["running"] });
    expect(computeMetrics(run.finish().build()).recovered_work).toEqual({ asked: 2, by_state: { failed: 1, unknown: 1 } });
    const none = computeMetrics(restart(mesh()).finish().build());
    expect(none.recovered_work).toBe(null);
    expect(none.reasons["recovered_work"]).toMatch(/no victim that came back was asked/);
  });
});

describe("takeover and service", () => {
  const served = { ev: "takeover.served", from: "agent-3", fromInc: 1 } as const;

  it("shards and tools: first service after the before stamp, by others; unserved claims have no time", () => {
    const run = mesh().at(63_700, { ...served, kind: "shard", id: "3" }, "agent-1");
    run.at(63_900, { ...served, kind: "shard", id: "3" }, "agent-1");
    const { takeover_ms, reasons } = computeMetrics(run.finish().build());
    expect(takeover_ms?.shard).toMatchObject({ first: 3700, last: 3700, reached: 1, total: 1 });
    expect(takeover_ms?.tool).toMatchObject({ last: null, reached: 0, total: 1 });
    expect(reasons["takeover_ms.tool"]).toMatch(/1 of 1/);
  });

  it("what a victim had itself taken over is orphaned a second time", () => {
    const run = mesh().kill(90_000, "agent-1", { cycle: 1 });
    for (const [id, from, at] of [
      ["3", "agent-3", 93_500],
      ["1", "agent-1", 93_700],
    ] as const) {
      run.at(93_000, { ev: "takeover.claimed", kind: "shard", id, from, fromInc: 1, view: "v" }, "agent-0");
      run.at(at, { ...served, kind: "shard", id, from }, "agent-0");
    }
    const [first, second] = computeMetrics(run.finish().build()).storms;
    expect(first?.takeover_ms.shard).toMatchObject({ reached: 0, total: 1 });
    expect(second?.takeover_ms.shard).toMatchObject({ first: 3500, last: 3700, reached: 2, total: 2 });
  });

  it("a home shard that nobody claimed counts as not taken over", () => {
    const run = new RunBuilder().kill(60_000, "agent-3").finish().build();
    expect(computeMetrics(run).takeover_ms?.shard).toMatchObject({ reached: 0, total: 1 });
  });

  it("tasks: those of the victim in flight must be answered right; wrong answers and finished tasks do not count", () => {
    const run = mesh();
    run.served(59_000, "agent-3"); // finished before
    const right = run.task(59_500, "agent-3");
    const wrong = run.task(59_600, "agent-3");
    const unbegun = run.task(59_999, "agent-3");
    const other = run.task(59_700, "agent-0");
    run.started(59_500, "agent-3", right).started(59_600, "agent-3", wrong).started(59_700, "agent-0", other);
    run.outcome(64_000, "agent-1", right).outcome(64_100, "agent-1", wrong, { answer: "Rome" });
    run.outcome(64_500, "agent-2", unbegun).outcome(60_100, "agent-0", other);
    const metrics = computeMetrics(run.finish().build());
    expect(metrics.orphaned_tasks).toBe(3);
    expect(metrics.takeover_ms?.task).toMatchObject({ first: 4000, p50: 4500, last: null, reached: 2, total: 3 });
  });

  it("service gap: the first right answer in its deadline to a task whose owner or needed holder was hit", () => {
    const run = mesh();
    const late = run.task(50_500, "agent-3");
    run.started(50_500, "agent-3", late).outcome(61_000, "agent-0", late); // right, but 500 ms past its deadline
    const untouched = run.task(59_000, "agent-0");
    run.started(59_000, "agent-0", untouched).outcome(60_500, "agent-0", untouched);
    const needed = run.task(59_800, "agent-1");
    run.started(59_800, "agent-1", needed);
    const message = { ev: "msg", kind: "tool", cause: "work", to: "agent-3", step: "s", attempt: 1, ms: 1 } as const;
    run.at(60_020, { ...message, task: needed, bytesSent: 1, bytesReceived: 0, error: "reset" }, "agent-1");
    run.outcome(63_900, "agent-1", needed);
    const inherited = run.task(70_000, "agent-3");
    run.started(70_000, "agent-2", inherited).outcome(70_400, "agent-2", inherited);
    const metrics = computeMetrics(run.finish().build());
    expect(metrics.service_gap_ms).toBe(3900);
    expect(metrics.affected_tasks).toBe(3);
    expect(metrics.orphaned_tasks).toBe(1);
  });

  it("a step that was executing at the victim makes its task an affected one; after the victim is back its tasks are not", () => {
    const run = restart(mesh());
    const held = run.task(59_000, "agent-0");
    run.started(59_000, "agent-0", held).step(59_900, null, "agent-3", held, { exec: 0 }).outcome(65_000, "agent-0", held);
    run.served(90_000, "agent-3");
    expect(computeMetrics(run.finish().build())).toMatchObject({ affected_tasks: 1, service_gap_ms: 5000 });
  });
});

describe("fake fault", () => {
  it("leaves every measure of a repair null with the reason, and is not too small", () => {
    const run = new RunBuilder(buildConfig({ scenario: { fakeFault: true } }))
      .meshUp(500)
      .kill(60_000, "agent-3", { fake: true });
    for (let at = 1000; at < 110_000; at += 100) run.served(at, `agent-${(at / 100) % 4}`);
    const metrics = computeMetrics(run.finish().build());
    for (const name of [
      "recovery_ms",
      "reconnected_ms",
      "reconnected_all_ms",
      "service_gap_ms",
      "duplicate_work_ratio",
    ] as const) {
      expect(metrics[name], name).toBeNull();
      expect(metrics.reasons[name], name).toMatch(/fake/);
    }
    expect(metrics.detection_ms).toMatchObject({ first: null, reached: 0 });
    expect(metrics.reasons["detection_ms"]).toMatch(/fake/);
    expect(metrics).toMatchObject({ valid: true, fake: true, success_rate_drop: 0, orphaned_tasks: 0, false_positives: 0 });
    expect(metrics.survivors).toHaveLength(4);
  });

  it("does not hide what happened all the same: a live agent declared dead is a false positive and its link is repaired", () => {
    const run = new RunBuilder(buildConfig({ scenario: { fakeFault: true } }))
      .meshUp(500)
      .kill(60_000, "agent-3", { fake: true });
    run.dead(61_000, "agent-0").linkUp(61_500, "agent-0", "agent-3", { reason: "healed", lost: "agent-3" });
    expect(computeMetrics(run.finish().build())).toMatchObject({ false_positives: 1, recovery_ms: 1496 });
  });
});

describe("several cycles, no fault, SIGSTOP", () => {
  it("measures each cycle in its own interval; the headline is the first", () => {
    const run = restart(mesh()).kill(100_000, "agent-0", { cycle: 1 });
    for (const src of ["agent-1", "agent-2"]) run.dead(102_000, src, "agent-0");
    const metrics = computeMetrics(run.finish().build());
    expect(metrics.storms.map((storm) => [storm.cycle, storm.at_ms, storm.until_ms])).toEqual([
      [0, 60_000, 40_000],
      [1, 100_000, 20_000],
    ]);
    expect(metrics.detection_ms).toEqual(metrics.storms[0]?.detection_ms);
    expect(metrics.storms[1]?.survivors).toEqual(["agent-1", "agent-2", "agent-3"]);
    expect(metrics.storms[1]?.detection_ms.first).toBe(2000);
  });

  it("one that came later than the end is looked at for no time, not for less", () => {
    const metrics = computeMetrics(new RunBuilder().kill(120_004, "agent-3").finish().build());
    expect(metricsSchema.parse(metrics)).toMatchObject({ until_ms: 0, reconnected_watched_ms: 0, detection_ms: { reached: 0 } });
  });

  it("an agent that lay dead at a fault is no survivor of it, though it came back later", () => {
    const run = mesh().kill(70_000, "agent-0", { cycle: 1 }).up(80_000, "agent-3", 2);
    expect(computeMetrics(run.finish().build()).storms[1]?.survivors).toEqual(["agent-1", "agent-2"]);
  });

  it("an agent that stands still since an earlier storm is no survivor, and monitors nobody", () => {
    const run = new RunBuilder(buildConfig({ scenario: { fault: "sigstop" } })).meshUp(500);
    run.kill(60_000, "agent-3", { kind: "sigstop" }).kill(80_000, "agent-2", { kind: "sigstop", cycle: 1 });
    for (const src of ["agent-0", "agent-1"]) run.dead(83_000, src, "agent-2");
    const { storms, detector_accuracy } = computeMetrics(run.finish().build());
    expect(storms[1]?.survivors).toEqual(["agent-0", "agent-1"]);
    expect(storms[1]?.detection_ms).toMatchObject({ last: 3000, reached: 2, total: 2 });
    // Both ways: two to the end, six with agent-3 for 59 s, four with agent-2 for 79 s.
    expect(detector_accuracy.link_hours).toBeCloseTo((2 * 119 + 6 * 59 + 4 * 79) / 3600, 9);
  });

  it("without a fault all measures of a storm are null with one reason, and the run is valid", () => {
    const run = new RunBuilder(buildConfig({ scenario: { killCount: 0, killFraction: 0 } }));
    run.served(40_000, "agent-0");
    const metrics = computeMetrics(run.finish().build());
    expect(metrics).toMatchObject({ valid: true, detection_ms: null, steady_state_ms: null, storms: [] });
    expect(metrics.reasons).toEqual({
      storms: "no fault was planned in this run",
      "work.latency_ms.p99": "1 right answers, at least 100 needed",
    });
    const idle = computeMetrics(new RunBuilder(buildConfig({ scenario: { killCount: 0 } })).finish().build());
    expect(Object.keys(idle.reasons)).toEqual(["storms", "goodput", "work.latency_ms.p50", "work.latency_ms.p99"]);
  });

  it("a stopped victim is affected while it stands still, and is back with SIGCONT", () => {
    const run = new RunBuilder(buildConfig({ scenario: { fault: "sigstop" } }))
      .meshUp(500)
      .kill(60_000, "agent-3", { kind: "sigstop" });
    run.at(80_000, {
      ev: "fault.cleared",
      kind: "sigstop",
      cycle: 0,
      agent: "agent-3",
      agentInc: 1,
      before: 5_080_000,
      after: 5_080_000.1,
    });
    const task = run.task(59_900, "agent-3");
    run.started(59_900, "agent-3", task).outcome(64_000, "agent-1", task).outcome(80_100, "agent-3", task);
    for (const peer of ["agent-0", "agent-1", "agent-2"]) {
      run
        .dead(63_000, peer)
        .linkDown(63_000, peer, "agent-3")
        .linkUp(80_500, peer, "agent-3", { reason: "healed", lost: "agent-3" });
    }
    const metrics = computeMetrics(run.finish().build());
    expect(metrics).toMatchObject({ orphaned_tasks: 1, recovery_ms: 20_496, reconnected_ms: 3000, reconnected_all_ms: 20_500 });
    expect(metrics.takeover_ms?.task).toMatchObject({ last: 4000 });
    expect(metrics.false_positives).toBe(0);
  });
});

describe("schema", () => {
  it("accepts what is computed", () => {
    for (const record of [restart(mesh()).finish().build(), new RunBuilder().build(), mesh().build()]) {
      expect(metricsSchema.parse(computeMetrics(record))).toBeTruthy();
    }
  });
});
