import type { RunEvent } from "@failstorm/core";
import type { MessageRecord } from "./recorder.ts";

/** Seconds; think time is 0.3 s a step, a task has 7 to 10 of them, its deadline is 10 s. */
const TASK_BUCKETS = [0.25, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];
const MESSAGE_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** What Prometheus may scrape from an agent. Fed by what is recorded; loaded after `ready`, so that starting does not wait for it. */
export interface AgentMetrics {
  onEvent(event: RunEvent): void;
  onMessage(message: MessageRecord): void;
  readonly contentType: string;
  /** In the exposition format. */
  text(): Promise<string>;
}

export async function loadMetrics(labels: { agent: string; incarnation: string; protocol: string }): Promise<AgentMetrics> {
  const { Registry, Gauge, Counter, Histogram, collectDefaultMetrics } = await import("prom-client");
  const registry = new Registry();
  registry.setDefaultLabels(labels);
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: L[]) =>
    new Counter({ name, help, labelNames, registers });
  const tasks = counter("failstorm_tasks_total", "Outcomes of tasks, by status", ["status"]);
  const detections = counter("failstorm_detections_total", "Peers declared dead, by how it was learnt", ["how"]);
  const links = counter("failstorm_handshakes_total", "Completed handshakes, by reason", ["reason"]);
  const takeovers = counter("failstorm_takeovers_total", "Shards, tools and tasks taken over from the dead", ["kind"]);
  const messages = counter("failstorm_messages_total", "Messages sent, by kind and result", ["kind", "result"]);
  const bytes = counter("failstorm_bytes_total", "TCP payload of the client sockets, by cause and direction", [
    "cause",
    "direction",
  ]);
  const heartbeats = counter("failstorm_heartbeats_total", "Probes sent, by result", ["result"]);
  const steps = counter("failstorm_steps_total", "Executions of tool steps, by tool", ["tool"]);
  const inFlight = new Gauge({ name: "failstorm_tasks_in_flight", help: "Tasks being worked on", registers });
  const lag = new Gauge({ name: "failstorm_event_loop_lag_p99_seconds", help: "Event-loop lag of the last sample", registers });
  const latency = new Histogram({
    name: "failstorm_task_seconds",
    help: "From intended start to answer",
    buckets: TASK_BUCKETS,
    registers,
  });
  const messageTime = new Histogram({
    name: "failstorm_message_seconds",
    help: "From sending a message to the end of its answer",
    labelNames: ["kind"],
    buckets: MESSAGE_BUCKETS,
    registers,
  });
  // From the first scrape on: they measure the event loop's delay with a timer of their own, which wakes an idle process all the time.
  let collectsDefaults = false;
  return {
    onEvent(event) {
      if (event.ev === "task.outcome") {
        tasks.inc({ status: event.status });
        if (event.status === "answered") latency.observe(event.latencyMs / 1000);
      } else if (event.ev === "detect.dead") detections.inc({ how: event.how });
      else if (event.ev === "link.up") links.inc({ reason: event.reason });
      else if (event.ev === "takeover.claimed") takeovers.inc({ kind: event.kind });
      else if (event.ev === "step.started") steps.inc({ tool: event.tool });
      else if (event.ev === "process") {
        inFlight.set(event.tasksInFlight);
        lag.set(event.loopLagP99Ms / 1000);
      }
    },
    onMessage({ kind, cause, error, ms, bytesSent, bytesReceived }) {
      const result = error ?? "ok";
      messages.inc({ kind, result });
      if (kind === "probe") heartbeats.inc({ result });
      messageTime.observe({ kind }, ms / 1000);
      bytes.inc({ cause, direction: "sent" }, bytesSent);
      bytes.inc({ cause, direction: "received" }, bytesReceived);
    },
    contentType: registry.contentType,
    text() {
      if (!collectsDefaults) collectDefaultMetrics({ register: registry });
      collectsDefaults = true;
      return registry.metrics();
    },
  };
}
