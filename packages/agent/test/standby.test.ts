import { type CallOptions, type CommBackend, CommError, FakeClock } from "@failstorm/core";
import { createView, type MembershipView } from "@failstorm/network";
import { expect, test } from "vitest";
import { Standby } from "../src/standby.ts";
import { recording } from "./recorded.ts";

const IDS = ["agent-0", "agent-1", "agent-2", "agent-3", "agent-4"];
const view = createView(IDS.map((id) => ({ id, incarnation: 1 })));

/** agent-0 of a chain: linked with the next two live ones. */
function setUp(replacements: readonly string[]) {
  const clock = new FakeClock();
  const { recorder, of } = recording(clock, [[0, 1e9]]);
  recorder.setEpoch(clock.now());
  const dialled: string[] = [];
  const unreachable = new Set<string>();
  const connect = async (_src: string, dst: string, { cause, kind }: CallOptions) => {
    dialled.push(`${dst} ${kind} ${cause}`);
    await clock.sleep(10);
    if (unreachable.has(dst)) throw new CommError("refused", dst, "nobody listens");
    const traffic = { bytesSent: 10, bytesReceived: 20, roundTrips: 1, firstByteAt: clock.now(), ms: 10 };
    return { peer: { agentId: dst, incarnation: 1, capabilities: [] }, traffic };
  };
  const standby = new Standby({
    self: "agent-0",
    clock,
    recorder,
    backend: { connect } as unknown as CommBackend,
    connectTimeoutMs: 10_000,
    neighboursIn: ({ liveIds }: MembershipView) => liveIds.slice(1, 3),
    replacementsOf: () => replacements.map((agentId) => ({ agentId })),
  });
  return { clock, standby, dialled, unreachable, of };
}

test("who would take over and who would become a neighbour are greeted once each, at no fault's expense, and no link comes of it", async () => {
  const { clock, standby, dialled, unreachable, of } = setUp(["agent-4", "agent-3", "agent-0"]);
  unreachable.add("agent-3");
  standby.prepare("agent-1", view);
  await clock.advance(100);
  expect(dialled).toEqual(["agent-4 handshake heartbeat", "agent-3 handshake heartbeat"]);
  expect(of("msg").map(({ to, kind, cause, bytesSent, error }) => [to, kind, cause, bytesSent, error])).toEqual([
    ["agent-4", "handshake", "heartbeat", 10, null],
    ["agent-3", "handshake", "heartbeat", 0, "refused"],
  ]);
  expect(of("link.up")).toEqual([]);
});

test("nobody is greeted for a peer that is no neighbour", async () => {
  const { clock, standby, dialled } = setUp(["agent-4"]);
  standby.prepare("agent-3", view);
  await clock.advance(100);
  expect(dialled).toEqual([]);
});
