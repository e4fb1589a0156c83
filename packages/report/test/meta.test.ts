import { describe, expect, it } from "vitest";
import { changesTable, computeMetrics, metricsSchema, pairTable, protocolTable } from "../src/index.ts";
import type { MixMetrics } from "../src/meta/mixSchema.ts";
import { renderRunPage } from "../src/page/runPage.ts";
import { buildConfig, RunBuilder } from "./builder.ts";

const HOSTS = [["a2a"], ["acp"], ["anp"], ["anp", "a2a"]];
const message = { ev: "msg", kind: "lookup", cause: "work", task: null, step: null, attempt: 1, ms: 20 } as const;
const sizes = { bytesSent: 400, bytesReceived: 900 };

/** Two agents that host anp die at 60 s; agent-0 (a2a) takes over what agent-2 (anp) left, and agent-1 what agent-3 left. */
function mixedStorm(): RunBuilder {
  const config = buildConfig({ scenario: { protocol: "meta", hosts: HOSTS, killCount: 2, killProtocol: "anp" } });
  const run = new RunBuilder(config).meshUp(500);
  for (let at = 30_000; at < 100_000; at += 250) run.served(at, `agent-${(at / 250) % 2}`);
  const late = run.served(40_000, "agent-2", { latency: 11_000 });
  expect(late).toBeTruthy();
  const orphan = run.task(59_500, "agent-2");
  run.started(59_500, "agent-2", orphan);
  run.kill(60_000, "agent-2").kill(60_001, "agent-3");
  run.dead(63_000, "agent-0", "agent-2").dead(63_200, "agent-1", "agent-2");
  run.dead(63_400, "agent-0", "agent-3").dead(63_600, "agent-1", "agent-3");
  run.at(63_100, { ev: "takeover.claimed", kind: "shard", id: "2", from: "agent-2", fromInc: 1, view: "v" }, "agent-0");
  run.at(63_500, { ev: "takeover.served", kind: "shard", id: "2", from: "agent-2", fromInc: 1 }, "agent-0");
  run.at(63_300, { ev: "takeover.claimed", kind: "shard", id: "3", from: "agent-3", fromInc: 1, view: "v" }, "agent-0");
  run.at(63_700, { ev: "takeover.served", kind: "shard", id: "3", from: "agent-3", fromInc: 1 }, "agent-0");
  run.started(63_500, "agent-0", orphan, 1, 2).outcome(64_000, "agent-0", orphan, { attempt: 2 });
  run.linkUp(63_900, "agent-1", "agent-0", { reason: "replacement", lost: "agent-2" });
  for (let i = 0; i < 20; i++)
    run.at(58_000 + i, { ...message, ...sizes, ms: 10 + i, to: "agent-1", protocol: "acp", error: null }, "agent-0");
  run.at(58_100, { ...message, kind: "probe", ...sizes, ms: 3, to: "agent-1", protocol: "acp", error: null }, "agent-0");
  run.at(60_500, { ...message, ...sizes, ms: 1, to: "agent-2", error: "refused" }, "agent-0");
  run.at(60_600, { ...message, ...sizes, to: "agent-3", protocol: "anp", error: null }, "agent-2");
  run.at(
    60_700,
    { ev: "route.chosen", peer: "agent-3", protocol: "a2a", before: "anp", reason: "anp lost 3 of 8 <probes>" },
    "agent-0",
  );
  return run.finish();
}

const mixOf = (run: RunBuilder): MixMetrics => {
  const { meta } = computeMetrics(run.build());
  if (meta === undefined) throw new Error("no section meta");
  return meta;
};

describe("a network of several protocols", () => {
  it("counts messages by caller and by the protocol they went by, a failed one under what the callee hosts", () => {
    const { pairs, crossed } = mixOf(mixedStorm());
    const pair = (caller: string, callee: string) => pairs.find((row) => row.caller === caller && row.callee === callee);
    expect(pairs).toHaveLength(3);
    expect(pair("a2a", "acp")).toMatchObject({ n: 21, failed: 0, bytes_sent: 8400, bytes_received: 18_900 });
    expect(pair("a2a", "acp")?.work_ms).toEqual({ n: 20, p50: 19.5, p95: 28.05 });
    expect(pair("a2a", "acp")?.probe_ms).toEqual({ n: 1, p50: 3, p95: null });
    expect(pair("a2a", "anp")).toMatchObject({ n: 1, failed: 1, work_ms: { n: 0, p50: null } });
    expect(pair("anp", "anp")).toMatchObject({ n: 1, failed: 0 });
    expect(crossed).toEqual({ n: 22, total: 23 });
  });

  it("measures recovery over the victims that host a protocol, an agent of two under both", () => {
    const { recovery, protocols } = mixOf(mixedStorm());
    const of = (protocol: string) => recovery.find((row) => row.protocol === protocol);
    expect(recovery.map(({ protocol, victims }) => [protocol, victims])).toEqual([
      ["a2a", 1],
      ["anp", 2],
    ]);
    expect(of("anp")?.detection_ms).toMatchObject({ first: 3000, last: 3599, reached: 4, total: 4 });
    expect(of("a2a")?.detection_ms).toMatchObject({ first: 3399, last: 3599, reached: 2, total: 2 });
    expect(of("anp")).toMatchObject({ recovery_ms: 3896, service_gap_ms: 4000 });
    expect(of("a2a")?.service_gap_ms).toBeNull();
    expect(of("anp")?.takeovers).toEqual({ served: 2, across: 1 });
    expect(of("a2a")?.takeovers).toEqual({ served: 1, across: 0 });
    expect(of("anp")?.takeover_ms.task).toMatchObject({ last: 4000, total: 1 });
    expect(protocols.map(({ protocol, agents }) => [protocol, agents])).toEqual([
      ["a2a", 2],
      ["acp", 1],
      ["anp", 2],
    ]);
    expect(protocols.find(({ protocol }) => protocol === "anp")?.goodput).toEqual({ n: 2, good: 1, rate: 0.5 });
  });

  it("is in the metrics file, in the tables, and on the page with the router's reasons", async () => {
    const run = mixedStorm().build();
    const metrics = computeMetrics(run);
    expect(metricsSchema.parse(JSON.parse(JSON.stringify(metrics))).meta).toEqual(metrics.meta);
    const { meta } = metrics;
    if (meta === undefined) throw new Error("no section meta");
    for (const { head, rows } of [protocolTable(meta), pairTable(meta)])
      for (const row of rows) expect(row).toHaveLength(head.length);
    expect(protocolTable(meta).rows.find(([name]) => name === "acp")).toEqual([
      "acp",
      "1",
      "100",
      "0",
      ...Array.from({ length: 7 }, () => "–"),
    ]);
    expect(changesTable(meta)?.rows).toEqual([["anp", "a2a", "1", "anp lost 3 of 8 <probes>"]]);
    expect(changesTable({ ...meta, routes: meta.routes.map((route) => Object.assign({}, route, { before: null })) })).toBeNull();
    const page = await renderRunPage({ run, metrics, violations: [] });
    expect(page).toContain('<section id="protocols">');
    expect(page).toContain("1 (1 failed)");
    expect(page).toContain("sigkill to 2 of those that host anp at about");
    expect(page).toContain("agent-2 anp, agent-3 anp + a2a");
    expect(page).toContain("anp lost 3 of 8 &lt;probes&gt;");
  });

  it("has the router's changes also where a large mesh has made a thousand first choices before", () => {
    const run = mixedStorm();
    const first = { ev: "route.chosen", peer: "agent-1", protocol: "acp", before: null, reason: "hosts nothing else" } as const;
    for (let i = 0; i < 1200; i++) run.at(100 + i / 10, first, "agent-0");
    const mix = mixOf(run);
    expect([mix.routes.length, mix.routes_total]).toEqual([1000, 1201]);
    expect(changesTable(mix)?.rows).toEqual([["anp", "a2a", "1", "anp lost 3 of 8 <probes>"]]);
    expect(mix.routes.map(({ at_ms }) => at_ms)).toEqual(mix.routes.map(({ at_ms }) => at_ms).toSorted((a, b) => a - b));
  });

  it("is absent where all agents speak one protocol, and files without it stay valid", async () => {
    const run = new RunBuilder().meshUp(500).finish().build();
    const metrics = computeMetrics(run);
    expect(metrics).not.toHaveProperty("meta");
    expect(metricsSchema.parse(metrics)).toEqual(metrics);
    expect(await renderRunPage({ run, metrics, violations: [] })).not.toContain('id="protocols"');
  });
});
