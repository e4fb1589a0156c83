import { readFileSync } from "node:fs";
import path from "node:path";
import type { RunEvent } from "@failstorm/core";
import { runEventSchema } from "@failstorm/core/events.ts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findProblems } from "../src/jsonSchema.ts";
import { MUTANT_RULES, stormRun } from "../src/mutantRules.ts";
import { STORM_SEED } from "../src/mutantStorm.ts";
import { type EndedRun, openSandbox } from "../src/runCli.ts";

/** A fault that comes so much later than planned makes a run invalid. */
const LATE_MS = 1000;
const TIMEOUT_MS = 1500;
const RESTART_MS = 4000;
/** Stamps are rounded to a µs. */
const ROUNDED_MS = 0.01;

const sandbox = openSandbox();
let run: EndedRun;

beforeAll(async () => {
  run = await sandbox.run(stormRun(STORM_SEED, null));
});
afterAll(() => sandbox.close());

const victims = (): string[] => run.schedule.faults.flatMap((fault) => fault.victims);
const survivors = (): string[] =>
  ["agent-0", "agent-1", "agent-2", "agent-3", "agent-4", "agent-5"].filter((id) => !victims().includes(id));
const faultOf = (victim: string) => {
  const fault = run.of("fault.injected").find((event) => event.agent === victim);
  if (fault === undefined) throw new Error(`${victim} was not struck`);
  return fault;
};
const deathOf = (victim: string, survivor: string) => {
  const dead = run.of("detect.dead").find((event) => event.src === survivor && event.peer === victim && event.peerInc === 1);
  if (dead === undefined) throw new Error(`${survivor} did not declare ${victim} dead`);
  return dead;
};
const incarnation = (src: string, inc: number): RunEvent[] =>
  run.events.filter((event) => event.src === src && event.inc === inc);

describe("the storm", () => {
  it("ends with exit code 0: the checker finds no broken invariant", () => {
    expect(run.stderr).not.toContain("invariant broken");
    expect(run.code).toBe(0);
  });

  it("kills exactly the scheduled victims, by SIGKILL, at their time, back to back", () => {
    expect(victims()).toHaveLength(2);
    expect(run.of("fault.injected").map((event) => event.agent)).toEqual(victims());
    const t0 = run.of("run.load")[0]?.t0 ?? Number.NaN;
    for (const victim of victims()) {
      const { pid, before, after, kind, fake } = faultOf(victim);
      expect({ kind, fake }).toEqual({ kind: "sigkill", fake: false });
      const lateMs = before - t0 - (run.schedule.faults[0]?.atMs ?? Number.NaN);
      expect(lateMs).toBeGreaterThanOrEqual(-ROUNDED_MS);
      expect(lateMs).toBeLessThan(LATE_MS);
      expect(after).toBeGreaterThanOrEqual(before);
      expect(run.of("agent.exited").find((event) => event.pid === pid)).toMatchObject({
        agent: victim,
        signal: "SIGKILL",
        code: null,
        cause: "fault",
      });
    }
    const exits = run.of("agent.exited");
    expect(exits.filter((event) => event.cause === "fault")).toHaveLength(victims().length);
    expect(exits.filter((event) => event.cause === "unexpected")).toEqual([]);
  });

  it("catches tasks in flight", () => {
    expect(run.metrics.orphaned_tasks).toBeGreaterThanOrEqual(5);
  });

  it("is detected by every survivor for every victim, after a timeout of silence and before the victim is back", () => {
    for (const victim of victims()) {
      const { before } = faultOf(victim);
      for (const survivor of survivors()) {
        const dead = deathOf(victim, survivor);
        expect(dead.t).toBeGreaterThan(before);
        expect(dead.t - dead.lastHeard).toBeGreaterThanOrEqual(TIMEOUT_MS - ROUNDED_MS);
        expect(dead.t - before).toBeLessThan(RESTART_MS);
      }
    }
    expect(run.metrics.detection_ms).toMatchObject({ reached: 8, total: 8 });
  });

  it("is noticed by the kernel first, which without --transport-signals is recorded and not acted upon", () => {
    expect(run.metrics.transport_notice_ms).toMatchObject({ reached: 8, total: 8 });
    expect(run.metrics.detection_ms?.by_how).not.toHaveProperty("transport");
    for (const victim of victims())
      for (const survivor of survivors()) {
        const notice = run.of("transport.notice").find((event) => event.src === survivor && event.peer === victim);
        expect(notice?.t, `${survivor} about ${victim}`).toBeLessThan(deathOf(victim, survivor).t);
      }
  });

  it("makes nobody believe in the death of one who lives", () => {
    const wrong = run
      .of("detect.dead")
      .filter(
        (dead) =>
          !run
            .of("fault.injected")
            .some((fault) => fault.agent === dead.peer && fault.agentInc === dead.peerInc && fault.before < dead.t),
      );
    expect(wrong).toEqual([]);
    expect(run.metrics.false_positives).toBe(0);
  });
});

describe("recovery", () => {
  it("reconnects to replacements and repairs the topology", () => {
    const { recovery_ms, reconnected_ms, reconnected_all_ms, reasons } = run.metrics;
    expect({ recovery_ms, reconnected_ms, reconnected_all_ms }, JSON.stringify(reasons)).toEqual({
      recovery_ms: expect.any(Number) as number,
      reconnected_ms: expect.any(Number) as number,
      reconnected_all_ms: expect.any(Number) as number,
    });
    expect(run.of("link.up").some((event) => event.reason === "replacement" && victims().includes(event.lost ?? ""))).toBe(true);
  });

  it("takes over each victim's shard: claimed, then served by a survivor", () => {
    for (const victim of victims()) {
      const shard = victim.slice("agent-".length);
      const claim = run
        .of("takeover.claimed")
        .find((event) => event.kind === "shard" && event.id === shard && event.from === victim);
      expect(survivors()).toContain(claim?.src);
      const served = run
        .of("takeover.served")
        .find((event) => event.kind === "shard" && event.id === shard && event.src === claim?.src);
      expect(served?.t).toBeGreaterThanOrEqual(claim?.t ?? Number.NaN);
    }
    expect(run.metrics.takeover_ms?.shard).toMatchObject({ reached: 2, total: 2 });
  });

  it("takes over the victims' tools and orphaned tasks", () => {
    const served = run.of("takeover.served").filter((event) => victims().includes(event.from));
    expect(served.some((event) => event.kind === "task")).toBe(true);
    expect(run.metrics.takeover_ms?.task.first).toBeGreaterThan(0);
    const { tool } = run.metrics.takeover_ms ?? {};
    expect(tool?.total).toBeGreaterThan(0);
    expect(tool?.reached).toBe(tool?.total);
  });

  it("hands nothing of the recovery to the orchestrator: survivors learn from each other and their probes only", () => {
    const phases = run.of("run.phase").map((event) => event.phase);
    expect(phases).toEqual(["spawn", "broadcast", "normal", "fault", "recovery", "drain", "end"]);
    expect(new Set(run.of("detect.dead").map((event) => event.src)).has("orchestrator")).toBe(false);
  });
});

describe("restarted victims", () => {
  it("come back as incarnation 2 on their port", () => {
    for (const victim of victims()) {
      const ups = run.of("agent.up").filter((event) => event.src === victim);
      expect(ups.map((event) => event.inc)).toEqual([1, 2]);
      expect(ups[1]?.port).toBe(ups[0]?.port);
      expect(ups[1]?.pid).not.toBe(ups[0]?.pid);
    }
  });

  it("serve nothing before anti-entropy with a peer that lives", () => {
    const service = new Set<RunEvent["ev"]>(["task.started", "task.outcome", "step.started", "takeover.served"]);
    for (const victim of victims()) {
      const second = incarnation(victim, 2);
      const rejoined = second.find((event) => event.ev === "agent.rejoined");
      expect(rejoined).toMatchObject({ entries: expect.any(Number) as number });
      const firstService = second.find((event) => service.has(event.ev));
      expect(firstService, `${victim} serves again`).toBeDefined();
      expect(firstService?.seq).toBeGreaterThan(rejoined?.seq ?? Number.POSITIVE_INFINITY);
    }
  });

  it("get their home shard back, and look-ups go home again", () => {
    for (const victim of victims()) {
      const isItsShard = ({ kind, id }: { kind: string; id: string }): boolean =>
        kind === "shard" && id === victim.slice("agent-".length);
      const claims = run.of("takeover.claimed").filter(isItsShard);
      const releases = run.of("takeover.released").filter(isItsShard);
      expect(claims.length).toBeGreaterThan(0);
      for (const { src, inc, seq } of claims)
        expect(
          releases.some((release) => release.src === src && release.inc === inc && release.seq > seq),
          `${src} gives back what was ${victim}'s`,
        ).toBe(true);
      // Of two that come back, the first may stand in for the other until that is there too.
      for (const { to } of releases) expect(victims()).toContain(to);
      const rejoined = incarnation(victim, 2).find((event) => event.ev === "agent.rejoined");
      const atHome = run
        .of("msg")
        .filter(
          (event) =>
            event.kind === "lookup" &&
            event.to === victim &&
            event.error === null &&
            event.t > (rejoined?.t ?? Number.POSITIVE_INFINITY),
        );
      expect(atHome.length, `look-ups answered by ${victim}`).toBeGreaterThan(0);
    }
    expect(run.metrics.rejoin_ms).toMatchObject({ reached: 2, total: 2 });
  });
});

describe("the work", () => {
  it("loses no task: every one of the schedule has an outcome that an agent logged", () => {
    const load = run.of("run.load")[0];
    const due = run.schedule.tasks.filter((task) => task.atMs >= (load?.loadFromMs ?? 0)).map((task) => task.task);
    const done = new Set(run.of("task.outcome").map((event) => event.task));
    expect(due.length).toBeGreaterThan(120);
    expect(due.filter((task) => !done.has(task))).toEqual([]);
    expect(run.metrics.tasks_lost).toBe(0);
  });

  it("leaves the same ledger with everybody", () => {
    const finals = run.of("ledger.final");
    expect(finals).toHaveLength(6);
    expect(new Set(finals.map((event) => event.digest)).size).toBe(1);
  });

  it("answers right what could be answered", () => {
    const expected = new Map(run.schedule.tasks.map((task) => [task.task, task.expected]));
    const answers = run.of("task.outcome").filter((event) => event.status === "answered");
    expect(answers.filter((event) => event.answer !== expected.get(event.task))).toEqual([]);
    expect(answers.length).toBeGreaterThan(0);
  });
});

describe("what comes out", () => {
  it("has whole, gapless, valid events", () => {
    expect(run.events.filter((event) => !runEventSchema.safeParse(event).success)).toEqual([]);
    for (const [writer, events] of Map.groupBy(run.events, (event) => `${event.src}/${event.inc}`)) {
      const numbers = events.map((event) => event.seq).toSorted((a, b) => a - b);
      expect(numbers, writer).toEqual(numbers.map((_, i) => i));
    }
    expect(run.metrics.events.bad_lines).toBe(0);
  });

  it("prints with --json the metrics file on stdout, and nothing else", () => {
    expect(JSON.parse(run.stdout)).toEqual(run.metrics);
  });

  it("fits the schema that `failstorm schema` prints", async () => {
    const { stdout, code } = await sandbox.cli(["schema"]);
    expect(code).toBe(0);
    const schema = JSON.parse(stdout) as Record<string, unknown>;
    expect(findProblems(schema, run.metrics)).toEqual([]);
    expect(findProblems(schema, { ...run.metrics, tasks_lost: -1 })).not.toEqual([]);
  });

  it("is recomputed by `failstorm report` from the events alone, to the last byte", async () => {
    const file = path.join(run.dir, "failstorm_metrics.json");
    const before = readFileSync(file, "utf8");
    const { code, stdout } = await sandbox.cli(["report", run.dir, "--json"]);
    expect(code).toBe(0);
    expect(readFileSync(file, "utf8")).toBe(before);
    expect(JSON.parse(stdout)).toEqual(run.metrics);
  });

  it("is found under `latest`, with manifest and resolved configuration", async () => {
    const latest = path.join(run.results, "latest");
    expect(JSON.parse(readFileSync(path.join(latest, "manifest.json"), "utf8"))).toMatchObject({
      seed: STORM_SEED,
      versions: { node: process.versions.node },
    });
    const again = await sandbox.cli(["validate", path.join(latest, "config.yaml")]);
    expect(again).toMatchObject({ code: 0 });
    expect(again.stdout).toContain(victims().join(", "));
  });
});

describe.each(MUTANT_RULES)("without the mutant $mutant", ({ measure, threshold, read, isRed }) => {
  it(`${measure} is green (not ${threshold})`, () => {
    expect(isRed(run.metrics), `${read(run.metrics)}`).toBe(false);
  });
});

it("mutants are a switch of the tests: --help does not show them", async () => {
  const { code, stdout } = await sandbox.cli(["--help"]);
  expect(code).toBe(0);
  expect(stdout).toContain("--kill-fraction");
  expect(stdout).not.toMatch(/mutant/);
});
