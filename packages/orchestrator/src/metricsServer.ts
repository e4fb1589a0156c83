import { InputError, type RunEvent } from "@failstorm/core";
import type * as PromClient from "prom-client";

export interface MetricsServer {
  /** Counts an event, own or an agent's. */
  observe(event: RunEvent): void;
  close(): Promise<void>;
}

/**
 * Serves `/metrics` (Prometheus text format) on 127.0.0.1:`port`, derived from the events seen. Fastify and prom-client are
 * loaded only when this is used. Throws InputError when the port cannot be listened on.
 */
export async function startMetricsServer(port: number): Promise<MetricsServer> {
  const [{ fastify }, prom] = await Promise.all([import("fastify"), import("prom-client")]);
  const registry = new prom.Registry();
  prom.collectDefaultMetrics({ register: registry });
  const observe = createObserver(prom, registry);
  const app = fastify({ logger: false, forceCloseConnections: true });
  app.get("/metrics", async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()));
  try {
    await app.listen({ host: "127.0.0.1", port });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`output.metrics_port (--metrics-port): ${port}: ${reason}; choose a free port, or leave it out`, {
      cause: error,
    });
  }
  return { observe, close: async () => app.close() };
}

type Prom = typeof PromClient;

/** Seconds; as the agents have them. */
const TASK_BUCKETS = [0.25, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];

function createObserver(prom: Prom, registry: InstanceType<Prom["Registry"]>): (event: RunEvent) => void {
  const registers = [registry];
  const counter = <Label extends string>(name: string, help: string, labelNames: Label[]) =>
    new prom.Counter({ name: `failstorm_${name}`, help, labelNames, registers });
  const gauge = (name: string, help: string) => new prom.Gauge({ name: `failstorm_${name}`, help, registers });

  const up = gauge("agents_up", "Agents that reported ready and have not exited");
  const busy = gauge("machine_busy_ratio", "Busy share of all cores over the last sample interval");
  const steal = gauge("machine_steal_ratio", "Stolen share of all cores over the last sample interval");
  const faults = counter("faults_total", "Faults injected, by kind", ["kind", "fake"]);
  const exits = counter("agent_exits_total", "Agent processes that ended, by cause", ["cause"]);
  const tasks = counter("tasks_total", "Outcomes of tasks logged by agents", ["status"]);
  const latency = new prom.Histogram({
    name: "failstorm_task_seconds",
    help: "From intended start to answer, as agents log it",
    buckets: TASK_BUCKETS,
    registers,
  });
  const detections = counter("detections_total", "Peers declared dead, by how it was learned", ["how"]);
  const reconnects = counter("reconnects_total", "Handshakes completed because of a lost link", ["reason"]);
  const takeovers = counter("takeovers_total", "Orphans claimed by a survivor", ["kind"]);
  const messages = counter("messages_total", "Messages between agents", ["kind", "cause"]);
  const bytes = counter("message_bytes_total", "TCP payload of messages between agents, as their senders counted it", [
    "cause",
    "direction",
  ]);
  const upNow = new Set<string>();

  return (event) => {
    if (event.ev === "agent.ready") up.set(upNow.add(event.agent).size);
    else if (event.ev === "agent.exited") {
      upNow.delete(event.agent);
      up.set(upNow.size);
      exits.inc({ cause: event.cause });
    } else if (event.ev === "machine") {
      busy.set(event.busy);
      steal.set(event.steal);
    } else if (event.ev === "fault.injected") faults.inc({ kind: event.kind, fake: String(event.fake) });
    else if (event.ev === "task.outcome") {
      tasks.inc({ status: event.status });
      if (event.status === "answered") latency.observe(event.latencyMs / 1000);
    } else if (event.ev === "detect.dead") detections.inc({ how: event.how });
    else if (event.ev === "link.up" && event.reason !== "setup") reconnects.inc({ reason: event.reason });
    else if (event.ev === "takeover.claimed") takeovers.inc({ kind: event.kind });
    else if (event.ev === "msg.second") {
      messages.inc({ kind: event.kind, cause: event.cause }, event.n);
      bytes.inc({ cause: event.cause, direction: "sent" }, event.bytesSent);
      bytes.inc({ cause: event.cause, direction: "received" }, event.bytesReceived);
    }
  };
}
