import type { AgentRequest, Sender, TrafficCause } from "@failstorm/core";
import { expect, test } from "vitest";
import { createInbox } from "../src/inbox.ts";
import type { Messenger } from "../src/messenger.ts";

const SENDER: Sender = { agentId: "agent-1", incarnation: 1, host: "127.0.0.1", port: 9001 };
type Body = Extract<AgentRequest["body"], { op: "relay" }>["targets"][number]["request"];

/** What a hop books the relayed bytes under. */
async function bookedAs(...requests: Body[]): Promise<TrafficCause | null> {
  let booked: TrafficCause | null = null;
  const relay: Messenger["relay"] = async (_, { cause }) => {
    booked = cause;
    return {};
  };
  const inbox = createInbox({
    parse: (data) => data as AgentRequest,
    heard: () => {},
    heardOf: () => {},
    serve: async () => null,
    messenger: () => ({ relay }) as unknown as Messenger,
  });
  const targets = requests.map((request, index) => ({ agentId: `agent-${index}`, request }));
  const data: AgentRequest = { from: SENDER, body: { op: "relay", ttl: 3, path: ["agent-1"], targets, origin: SENDER } };
  const context = { payload: { parts: [{ kind: "data", data }] } } as unknown as Parameters<typeof inbox.execute>[0];
  const queue = { enqueue: () => {} } as unknown as Parameters<typeof inbox.execute>[1];
  await inbox.execute(context, queue);
  return booked;
}

const step = (attempt: number, takeover: boolean): Body => ({
  op: "tool",
  tool: "reason",
  task: "t-0",
  step: "reason",
  attempt,
  budgetMs: 100,
  takeover,
  input: null,
});

test("what a fault has caused is the fault's at every hop", async () => {
  expect(await bookedAs(step(1, false))).toBe("work");
  expect(await bookedAs(step(2, false))).toBe("retry");
  expect(await bookedAs(step(1, true))).toBe("takeover");
  const lookup: Extract<Body, { op: "lookup" }> = { op: "lookup", task: "t-0", step: "search", query: "q", topK: 1, shards: [0] };
  expect(await bookedAs(lookup)).toBe("work");
  expect(await bookedAs({ ...lookup, cause: "retry" })).toBe("retry");
  expect(await bookedAs({ ...lookup, cause: "takeover" })).toBe("takeover");
  expect(await bookedAs({ op: "hello", rejoin: true })).toBe("handshake");
  expect(await bookedAs({ op: "ledger.sync", digest: null })).toBe("rereplication");
  expect(await bookedAs({ op: "ledger.push", entries: [] })).toBe("ledger");
});
