import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { loadCharts } from "../src/charts/render.ts";
import { computeMetrics, type RunRecord, writeRunPage } from "../src/index.ts";
import { stormEvidence } from "../src/page/evidence.ts";
import { linksAt, nodeAt } from "../src/page/meshFigure.ts";
import { html, raw } from "../src/page/html.ts";
import { renderRunPage } from "../src/page/runPage.ts";
import { chooseQuestions, followQuestion } from "../src/page/sequence.ts";
import type { RunView } from "../src/page/runView.ts";
import { gradeTasks } from "../src/tasks.ts";
import { readTimeline } from "../src/timeline.ts";
import { buildConfig, RunBuilder, T0 } from "./builder.ts";

async function render(run: RunRecord, violations: { invariant: string; message: string }[] = []): Promise<string> {
  const page = await renderRunPage({ run, metrics: computeMetrics(run), violations });
  expect(page).not.toContain("could not be drawn");
  return page;
}

async function viewOf(run: RunRecord): Promise<RunView> {
  const timeline = readTimeline(run);
  return {
    run,
    metrics: computeMetrics(run),
    violations: [],
    timeline,
    tasks: gradeTasks(run, timeline),
    charts: await loadCharts(),
  };
}

const message = {
  ev: "msg",
  kind: "lookup",
  cause: "work",
  step: "1.search",
  attempt: 1,
  ms: 20,
  bytesSent: 400,
  bytesReceived: 900,
} as const;

/** agent-3 dies at 60 s with a task in flight, which agent-0 takes over and answers; its links are repaired. */
function storm(): RunBuilder {
  const run = new RunBuilder().meshUp(500);
  for (let at = 30_000; at < 100_000; at += 250) run.served(at, `agent-${(at / 250) % 3}`);
  const task = run.task(59_500, "agent-3");
  run.started(59_500, "agent-3", task).step(59_600, null, "agent-3", task, { exec: 900 });
  run.at(59_700, { ...message, to: "agent-3", task, error: null }, "agent-1");
  run.kill(60_000, "agent-3");
  run.at(60_400, { ev: "transport.notice", peer: "agent-3", peerInc: 1 }, "agent-0");
  for (const [i, survivor] of ["agent-0", "agent-1", "agent-2"].entries()) {
    run.at(61_000 + i, { ev: "detect.suspect", peer: "agent-3", peerInc: 1, how: "probe", lastHeard: T0 + 59_900 }, survivor);
    run.dead(63_000 + i * 100, survivor).linkDown(63_001 + i * 100, survivor, "agent-3");
  }
  run.at(63_300, { ev: "takeover.claimed", kind: "task", id: task, from: "agent-3", fromInc: 1, view: "v" }, "agent-0");
  run.at(63_400, { ...message, to: "agent-3", task, error: "refused" }, "agent-0");
  run.started(63_410, "agent-0", task, 1, 2).step(63_500, 63_700, "agent-1", task, { exec: 1 });
  run.outcome(64_000, "agent-0", task);
  run.at(
    64_500,
    {
      ev: "msg.second",
      second: 63,
      kind: "tool",
      cause: "takeover",
      n: 2,
      failed: 0,
      bytesSent: 900,
      bytesReceived: 100,
      roundTrips: 2,
      msSum: 5,
      msMax: 3,
    },
    "agent-0",
  );
  return run.finish();
}

const withoutScripts = (page: string): string => page.replaceAll(/<(script|style)>.*?<\/\1>/gs, "");

describe("the events behind a number", () => {
  it("are, for duplicate work, those of tasks done again for nothing, too: the ratio counts them", async () => {
    const run = new RunBuilder().meshUp(500);
    const done = run.task(58_000, "agent-3");
    run.started(58_000, "agent-3", done).step(58_100, 58_200, "agent-0", done, { exec: 1 });
    run.outcome(58_300, "agent-3", done).kill(60_000, "agent-3");
    run.at(63_300, { ev: "takeover.claimed", kind: "task", id: done, from: "agent-3", fromInc: 1, view: "v" }, "agent-1");
    run.step(63_400, 63_500, "agent-0", done, { exec: 2 });
    const view = await viewOf(run.finish().build());
    const [storm, metrics] = [view.timeline.storms[0], view.metrics.storms[0]];
    if (storm === undefined || metrics === undefined) throw new Error("no storm");
    expect(metrics.duplicate_work).toMatchObject({ executions: 2, duplicates: 1 });
    expect(stormEvidence(view, storm, metrics).find(({ key }) => key === "duplicate_work_ratio")?.total).toBe(2);
  });
});

describe("the page of a run", () => {
  it("stands alone: no address but within itself and its folder, every link has its target, tags are closed", async () => {
    const page = await render(storm().build());
    expect(page.length).toBeLessThan(5_000_000);
    const addresses = [...page.matchAll(/(?:src|href)="([^"#][^"]*)"/g)].map(([, to]) => to);
    expect(new Set(addresses)).toEqual(new Set(["data:,", "config.yaml", "events.ndjson", "failstorm_metrics.json"]));
    expect(page.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:|url\((?!#)|@import/);
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [, target] of page.matchAll(/href="#([^"]+)"/g)) expect(ids).toContain(target);
    const body = withoutScripts(page);
    for (const tag of ["section", "figure", "svg", "table", "tr", "td", "details", "dl", "div", "span", "p"])
      expect([tag, body.match(new RegExp(`<${tag}[ >]`, "g"))?.length]).toEqual([
        tag,
        body.match(new RegExp(`</${tag}>`, "g"))?.length,
      ]);
    expect(page).not.toMatch(/undefined|NaN|\[object/);
  });

  it("leads from every number to its events, also where a run has few of them, or more than most", async () => {
    const config = buildConfig({ scenario: { runtimeMs: 70_000 }, network: { predictive: true } });
    const run = new RunBuilder(config).meshUp(500).kill(60_000, "agent-3");
    run.at(61_000, { ev: "link.predicted", peer: "agent-1", peerInc: 1, reason: "phi", score: 9 }, "agent-0");
    run.at(62_000, { ev: "agent.spawned", agent: "agent-3", pid: 9 }).up(62_300, "agent-3", 2);
    run.linkUp(62_500, "agent-0", "agent-3", { peerInc: 2, reason: "incarnation", lost: "agent-3", recovered: ["failed"] });
    const exit = { ev: "agent.exited", agent: "agent-2", agentInc: 1, pid: 1102, code: 1, signal: null } as const;
    const page = await render(
      run
        .at(65_000, { ...exit, cause: "unexpected" })
        .finish(80_000)
        .build(),
    );
    const ids = new Set([...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id));
    const targets = [...page.matchAll(/href="#([^"]+)"/g)].map(([, target]) => target);
    expect(targets.filter((target) => !ids.has(target))).toEqual([]);
    for (const key of ["recovered_work", "prediction.recall", "unexpected_exits", "steady_state_ms", "bytes_reconnect.window"])
      expect(targets).toContain(`ev-${key}`);
    // Nobody was hit, so nobody was left without an answer.
    expect(page).not.toContain("was answered right in time.");
  });

  it("says of a SIGSTOP that it stops, and shows the handshake that a rejoin ended with", async () => {
    const stopped = new RunBuilder(buildConfig({ scenario: { fault: "sigstop" } })).meshUp(500);
    expect(await render(stopped.kill(60_000, "agent-3", { kind: "sigstop" }).finish().build())).toContain("4 agents, 1 stopped");
    const back = storm().at(80_000, { ev: "agent.spawned", agent: "agent-3", pid: 9 }).up(80_300, "agent-3", 2);
    for (const [i, peer] of ["agent-0", "agent-1", "agent-2"].entries()) {
      back.linkUp(80_400, "agent-3", peer, { inc: 2, reason: "rejoin" });
      back.linkUp(80_500 + i, peer, "agent-3", { peerInc: 2, reason: "incarnation", lost: "agent-3" });
    }
    const view = await viewOf(back.build());
    const [struck, metrics] = [view.timeline.storms[0], view.metrics.storms[0]];
    if (struck === undefined || metrics === undefined) throw new Error("no storm");
    expect(metrics.rejoin_ms.last).toBe(502);
    const behind = stormEvidence(view, struck, metrics).find(({ key }) => key === "rejoin_ms")?.events;
    expect(behind?.map(({ ev, t }) => [ev, t - T0])).toEqual([
      ["agent.spawned", 80_000],
      ["link.up", 80_502],
    ]);
  });

  it("has every picture, and says what happened", async () => {
    const page = await render(storm().build());
    for (const id of [
      "chart-timeline",
      "chart-detection-0",
      "chart-mesh-0",
      "chart-takeover-0",
      "chart-traffic",
      "chart-sequence",
    ])
      expect(page).toContain(`id="${id}"`);
    expect(page).toMatch(/SIGKILL was sent to\s+<strong>1 of 4 agents<\/strong> \(agent-3\)/);
    expect(page).toContain("agent-0 noticed agent-3 after 3000 ms (own probe)");
    // A row of first, median and last is not defined by the first alone.
    expect(page).toMatch(/data-def="Over all pairs of a survivor and a victim[^"]*">detection</);
    expect(page).toMatch(/data-def="TCP payload of the requests with headers[^"]*">kB sent</);
    expect(page).toContain("t-000280: claimed by agent-0 after 3300 ms, served after 4000 ms");
  });

  it("has behind a number the events that decided it, with writer and seq", async () => {
    const run = storm().build();
    const page = await render(run);
    const section = (key: string): string =>
      /<div id="ev-[^"]*"[^>]*>(.*?)<\/details>/s.exec(page.slice(page.indexOf(`id="ev-${key}"`) - 5))?.[1] ?? "";
    const answer = run.events.find((event) => event.ev === "task.outcome" && event.t === T0 + 64_000);
    expect(section("service_gap_ms")).toContain(`<td>agent-0/1</td><td class="num">#${answer?.seq}</td>`);
    expect(section("detection_ms").match(/detect\.dead/g)).toHaveLength(3);
    expect(section("bytes_reconnect")).toContain("&quot;cause&quot;:&quot;takeover&quot;");
  });

  it("escapes what agents and questions say", async () => {
    const run = storm();
    const record = run.build();
    const schedule = {
      ...record.schedule,
      tasks: record.schedule.tasks.map((task) => Object.assign({}, task, { question: "<img src=x onerror=alert(1)>" })),
    };
    const page = await render({ ...record, schedule }, [{ invariant: "no<script>", message: "a & b" }]);
    expect(page).not.toContain("<img");
    expect(page).toContain("&lt;img src=x onerror=alert(1)&gt;");
    expect(page).toContain("no&lt;script&gt;: a &amp; b");
  });

  it("leaves out what a run without a fault does not have, and says so", async () => {
    const run = new RunBuilder(buildConfig({ scenario: { killCount: 0 } })).meshUp(500);
    for (let at = 30_000; at < 100_000; at += 500) run.served(at, "agent-0");
    const page = await render(run.finish().build());
    expect(page).toContain("No fault in this run");
    expect(page).not.toMatch(/id="chart-(detection|mesh|takeover)/);
    expect(page).toContain('id="chart-timeline"');
  });

  it("can be made of a record that broke off before the load, of a fake fault, and of several storms", async () => {
    const broken = new RunBuilder();
    const cut = toCutOff(broken.build());
    expect(await render(cut)).toContain("Not valid, do not compare: partial");
    const fake = new RunBuilder(buildConfig({ scenario: { fakeFault: true } })).meshUp(500);
    fake.served(40_000, "agent-0");
    expect(await render(fake.kill(60_000, "agent-3", { fake: true }).finish().build())).toContain(
      "was marked, and nothing sent, to",
    );
    const two = storm();
    two.up(80_000, "agent-3", 2).kill(90_000, "agent-1", { cycle: 1 });
    const page = await render(two.build());
    expect(page).toContain("Storm 2, at 90.0 s");
    expect(page).toContain('id="ev-recovery_ms-1"');
  });
});

/** The record as it is when the orchestrator died before the load began. */
const toCutOff = (record: RunRecord): RunRecord => ({
  ...record,
  events: record.events.filter((event) => event.ev !== "run.load"),
});

describe("what the pictures are made of", () => {
  it("replays the links of any moment: held by both, by one, to the dead", async () => {
    const view = await viewOf(storm().build());
    expect(linksAt(view, T0 + 59_000)).toHaveLength(6);
    const struck = linksAt(view, T0 + 60_001);
    expect(struck.filter(({ state }) => state === "stale").map(({ a, b }) => `${a} ${b}`)).toEqual([
      "agent-0 agent-3",
      "agent-1 agent-3",
      "agent-2 agent-3",
    ]);
    expect(linksAt(view, T0 + 70_000).map(({ state }) => state)).toEqual(["up", "up", "up"]);
  });

  it("shows who is stopped, dead, or started again, at any moment", async () => {
    const run = new RunBuilder(buildConfig({ scenario: { fault: "sigstop" } })).meshUp(500);
    run.kill(60_000, "agent-3", { kind: "sigstop" });
    const cleared = { ev: "fault.cleared", kind: "sigstop", cycle: 0, agent: "agent-3", agentInc: 1 } as const;
    run.at(80_000, { ...cleared, before: T0 + 80_000, after: T0 + 80_000.1 });
    run.at(110_000, { ev: "agent.stopping", reason: "ordered" }, "agent-2");
    const view = await viewOf(run.finish().build());
    const states = (id: string): unknown[] => [59_000, 60_001, 90_000, 111_000].map((t) => nodeAt(view, id, T0 + t).state);
    expect(states("agent-3")).toEqual(["alive", "stopped", "alive", "alive"]);
    expect(states("agent-2")).toEqual(["alive", "alive", "alive", "dead"]);
    expect(await render(run.build())).toContain("1 stopped");
  });

  it("follows a question over its first owner's death to the answer of the second, bytes added up", async () => {
    const view = await viewOf(storm().build());
    const [path] = chooseQuestions(view);
    expect(path?.title).toBe("Its owner was killed");
    const said = path?.happenings.map((event) => (event.kind === "note" ? `${event.lane}: ${event.text}` : event.kind));
    expect(said).toEqual([
      "agent-3: starts",
      "work",
      "request",
      "reply",
      "agent-3: killed",
      "agent-0: takes it over from agent-3",
      "request",
      "reply",
      "agent-0: starts",
      "work",
      "agent-0: “Paris”",
    ]);
    expect(path?.bytes).toBe(2600);
    expect(path?.lanes).toEqual(["agent-0", "agent-1", "agent-3"]);
    const untouched = view.tasks[0];
    if (untouched !== undefined) expect(followQuestion(view, untouched, "x").messages).toBe(0);
  });
});

describe("questions of very many messages", () => {
  it("are not drawn, and it is said why", async () => {
    const run = storm();
    const { task = "" } = run.tasks[200] ?? {};
    for (let i = 0; i < 90; i++) run.at(70_000 + i, { ...message, to: "agent-2", task, error: null }, "agent-0");
    const view = await viewOf(run.build());
    expect(chooseQuestions(view).map(({ title }) => title)).toEqual(["Its owner was killed"]);
  });
});

describe("charts", () => {
  it("refuse a specification that vega-lite only half understands, by the chart's name", async () => {
    const charts = await loadCharts();
    await expect(
      charts.svg("odd", {
        data: { values: [{ a: 1 }] },
        mark: "point",
        encoding: { x: { field: "a", type: "quantitative", scale: { type: "nonsense" } } },
      }),
    ).rejects.toThrow(/chart odd: /);
  });

  it("leave colours to the page, and have ids of their own", async () => {
    const charts = await loadCharts();
    const spec = {
      data: { values: [{ a: 1 }] },
      mark: { type: "point", clip: true, color: "var(--fault)" },
      encoding: { x: { field: "a", type: "quantitative" } },
    };
    const svg = await charts.svg("mine", spec);
    expect(svg).toContain("var(--fault)");
    expect(svg).toMatch(/id="mine-clip\d+"/);
    expect(svg).not.toMatch(/id="clip/);
  });
});

describe("html", () => {
  it("escapes values, joins lists, leaves out what is not there, and keeps markup", () => {
    const items = ["<a>", "b"].map((word) => html`<li title="${word}">${word}</li>`);
    expect(html`<ul>${items}</ul>${null}${false}${undefined}${0}${raw("<br>")}`.markup).toBe(
      '<ul><li title="&lt;a&gt;">&lt;a&gt;</li><li title="b">b</li></ul>0<br>',
    );
  });
});

describe("writeRunPage", () => {
  it("writes the page whole, and nothing beside it", async () => {
    const dir = await mkdtemp(path.join(tmpdir(), "failstorm-page-"));
    try {
      const run = storm().build();
      const file = await writeRunPage(dir, { run, metrics: computeMetrics(run), violations: [] });
      expect(await readdir(dir)).toEqual(["report.html"]);
      expect(await readFile(file, "utf8")).toMatch(/^<!doctype html>.*<\/html>\n$/s);
      await expect(
        writeRunPage(path.join(dir, "nowhere"), { run, metrics: computeMetrics(run), violations: [] }),
      ).rejects.toMatchObject({ code: "PAGE_NOT_WRITTEN" });
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });
});
