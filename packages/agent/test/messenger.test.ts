import { type AgentId, type AgentRequest, type CommBackend, FakeClock, type Payload } from "@failstorm/core";
import { buildLinks, nextHops } from "@failstorm/network";
import { expect, test } from "vitest";
import { Messenger } from "../src/messenger.ts";
import { recording } from "./recorded.ts";

const IDS = ["agent-0", "agent-1", "agent-2", "agent-3", "agent-4"];

/** agent-0's messenger in a ring of five, and what it handed to the backend. */
function inRing() {
  const clock = new FakeClock();
  const links = buildLinks("ring", IDS);
  const sent: { readonly to: AgentId; readonly op: string }[] = [];
  const backend: Pick<CommBackend, "send"> = {
    async send(_src, dst, payload: Payload) {
      const [part] = "parts" in payload ? payload.parts : [];
      const { body } = (part?.kind === "data" ? part.data : {}) as AgentRequest;
      sent.push({ to: dst, op: body.op });
      const reply = { ok: true, data: `from ${dst}` };
      const data = body.op === "relay" ? Object.fromEntries(body.targets.map(({ agentId }) => [agentId, reply])) : reply;
      const traffic = { bytesSent: 1, bytesReceived: 1, roundTrips: 1, firstByteAt: 0, ms: 1 };
      return { raw: null, text: "", parts: [{ kind: "data", data }], traffic };
    },
  };
  const messenger = new Messenger({
    self: () => ({ agentId: "agent-0", incarnation: 1, host: "127.0.0.1", port: 1 }),
    backend: backend as CommBackend,
    recorder: recording(clock).recorder,
    routing: { hops: (targets, path) => nextHops(links, "agent-0", targets, new Set(path)).hops },
    ttl: 15,
    serve: async () => null,
    now: () => clock.now(),
    watchDeath: () => ({ signal: new AbortController().signal, release: () => {} }),
  });
  const tell = (to: readonly AgentId[], direct?: boolean) =>
    messenger.askAll(
      to.map((agentId) => ({ agentId, request: { op: "gossip", entries: [] } })),
      { kind: "gossip", cause: "ledger", signal: new AbortController().signal, ...(direct === undefined ? {} : { direct }) },
    );
  return { tell, sent };
}

test("over the links what goes further than a neighbour is relayed; direct, it goes to its target whatever the links are", async () => {
  const { tell, sent } = inRing();
  const relayed = await tell(["agent-1", "agent-2"]);
  expect(sent).toEqual([{ to: "agent-1", op: "relay" }]);
  expect(relayed.get("agent-2")).toMatchObject({ ok: true });

  sent.length = 0;
  const direct = await tell(["agent-1", "agent-2"], true);
  expect(sent).toEqual([
    { to: "agent-1", op: "gossip" },
    { to: "agent-2", op: "gossip" },
  ]);
  expect([...direct]).toEqual([
    ["agent-1", { ok: true, data: "from agent-1" }],
    ["agent-2", { ok: true, data: "from agent-2" }],
  ]);
});
