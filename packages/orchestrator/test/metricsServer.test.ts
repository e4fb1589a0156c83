import { expect, it } from "vitest";
import { checkPorts } from "../src/index.ts";
import { startMetricsServer } from "../src/metricsServer.ts";
import { testConfig } from "./fixtures/plan.ts";

it("serves what agents log of their tasks, with latencies", async () => {
  const { ports } = await checkPorts(testConfig("out", { scenario: { agentCount: 1 } }));
  const port = ports[0] ?? 0;
  const server = await startMetricsServer(port);
  const of = { t: 0, src: "agent-0", inc: 1, seq: 0, ev: "task.outcome" as const, attempt: 1, evidence: [], orphanOf: null };
  server.observe({ ...of, task: "t-0", status: "answered", answer: "Oslo", latencyMs: 700 });
  server.observe({ ...of, task: "t-1", status: "expired", answer: null, latencyMs: 10_000 });
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  await server.close();
  expect(text).toMatch(/^failstorm_tasks_total\{status="expired"\} 1$/m);
  expect(text).toMatch(/^failstorm_task_seconds_bucket\{le="0.5"\} 0$/m);
  expect(text).toMatch(/^failstorm_task_seconds_bucket\{le="1"\} 1$/m);
});
