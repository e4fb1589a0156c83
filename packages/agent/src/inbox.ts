import type { AgentExecutor, AgentRequest, DirectRequest, Sender, TrafficCause } from "@failstorm/core";
import { type Messenger, Refusal, type Reply } from "./messenger.ts";

export type Handlers = {
  readonly [Op in DirectRequest["op"]]: (request: Extract<DirectRequest, { op: Op }>, from: Sender) => Promise<unknown>;
};

/** Serves a request by the handler of its operation. */
export function serveWith(handlers: Handlers): (request: DirectRequest, from: Sender) => Promise<unknown> {
  return (request, from) => (handlers[request.op] as (request: DirectRequest, from: Sender) => Promise<unknown>)(request, from);
}

/** Relayed messages are given up after this long; the caller's own deadline is shorter. */
const RELAY_TIMEOUT_MS = 30_000;

/** What a relayed message is for: a hop's share of what a fault has caused belongs to the fault like the sender's. */
function relayCause(requests: readonly DirectRequest[]): TrafficCause {
  if (requests.some(({ op }) => op === "document" || op === "ledger.sync")) return "rereplication";
  if (requests.some(({ op }) => op.startsWith("ledger") || op === "gossip")) return "ledger";
  if (requests.some(({ op }) => op === "hello")) return "handshake";
  const steps = requests.filter((request) => request.op === "tool");
  const lookups = requests.filter((request) => request.op === "lookup");
  if (steps.some(({ attempt }) => attempt > 1) || lookups.some(({ cause }) => cause === "retry")) return "retry";
  return steps.some(({ takeover }) => takeover) || lookups.some(({ cause }) => cause === "takeover") ? "takeover" : "work";
}

/**
 * The executor behind the protocol host: reads the data part, notes who was heard, and serves or relays. A refusal is thrown, so
 * that the protocol answers with its own error and no idempotency record keeps it.
 */
export function createInbox(options: {
  /** Checks what came over the network; null when it is no request. */
  readonly parse: (data: unknown) => AgentRequest | null;
  /** Somebody's own message came in. */
  readonly heard: (from: Sender) => void;
  /** A message was relayed from somebody: no sign of life now, but perhaps news of an incarnation. */
  readonly heardOf: (origin: Sender) => void;
  readonly serve: (request: DirectRequest, from: Sender) => Promise<unknown>;
  readonly messenger: () => Messenger;
}): AgentExecutor {
  const answer = async ({ body, from }: AgentRequest): Promise<Reply | Record<string, Reply>> => {
    if (body.op !== "relay") return { ok: true, data: await options.serve(body, from) };
    const cause = relayCause(body.targets.map(({ request }) => request));
    return options.messenger().relay(body, { kind: "relay", cause, signal: AbortSignal.timeout(RELAY_TIMEOUT_MS) });
  };
  return {
    async execute({ payload }, queue) {
      const data = "parts" in payload ? payload.parts.find((part) => part.kind === "data")?.data : undefined;
      const request = options.parse(data);
      if (request === null) throw new Refusal("bad_request", "expected a data part {from, body: {op, …}}");
      const { from, body } = request;
      options.heard(from);
      if (body.op === "relay") options.heardOf(body.origin);
      queue.enqueue({ type: "agent_parts_message", parts: [{ kind: "data", data: await answer(request) }] });
    },
    async cancel() {
      // Tool steps cannot be cancelled: what was begun is finished, and counted.
    },
  };
}
