import assert from "node:assert/strict";
import { InputError } from "@failstorm/core";
import fastify from "fastify";
import type { Definition } from "./define.ts";
import { expectFailure, expectTraffic } from "./expectations.ts";
import { declared } from "./subject.ts";
import { HOST, introduce } from "./world.ts";

const FLAGS = ["streaming", "cancel", "resume", "idempotency", "authentication", "nativeProbe"] as const;

export const description: readonly Definition[] = [
  {
    id: "contract-info",
    title: "the protocol says what it is and what it can, and has exactly the operations that it declares",
    check: async (world, subject) => {
      const { name, version, description, features, heartbeat, capabilities, reconnection } = declared(subject);
      assert.match(name, /^[a-z][a-z0-9_]*$/, "the name is a section of the configuration and part of a path");
      for (const text of [version, description, ...features]) assert.ok(text.length > 0);
      for (const flag of FLAGS) assert.equal(typeof capabilities[flag], "boolean", flag);
      assert.equal(heartbeat, capabilities.nativeProbe ? "native" : "added", "heartbeat and capabilities.nativeProbe agree");
      const { method, authentication, expectedRoundTrips } = reconnection;
      assert.ok(method.length > 0 && authentication.length > 0);
      assert.ok(Number.isInteger(expectedRoundTrips) && expectedRoundTrips >= 1);
      const { backend } = await world.peer("agent-0", { listens: false });
      assert.equal(typeof backend.cancel === "function", capabilities.cancel, "cancel is there exactly where declared");
      assert.equal(typeof backend.resume === "function", capabilities.resume, "resume is there exactly where declared");
    },
  },
  {
    id: "contract-config",
    title: "an empty or absent section is good, an unknown key in it is bad input that names the key",
    check: async (_world, { protocol }) => {
      const { name } = protocol.getProtocolInfo();
      protocol.parseConfig(undefined);
      protocol.parseConfig({});
      const isNamed = (error: unknown): boolean => error instanceof InputError && error.message.includes(`${name}.no_such_key`);
      assert.throws(() => protocol.parseConfig({ no_such_key: 1 }), isNamed, `an InputError that names ${name}.no_such_key`);
    },
  },
];

export const handshake: readonly Definition[] = [
  {
    id: "contract-connect",
    title: "the handshake tells who answers, and what it says of itself at that time",
    check: async (world) => {
      const capabilities = ["tool:search"];
      const a = await world.peer("agent-0");
      const b = await world.peer("agent-1", { incarnation: 3, capabilities: () => capabilities });
      introduce(a, b);
      const first = await a.backend.connect("agent-0", "agent-1");
      assert.deepEqual(first.peer, { agentId: "agent-1", incarnation: 3, capabilities: ["tool:search"] });
      expectTraffic("connect", first.traffic);
      capabilities.push("shard:4", "tool:reason");
      const { peer } = await a.backend.connect("agent-0", "agent-1", { cause: "handshake" });
      assert.deepEqual(peer.capabilities, ["tool:search", "shard:4", "tool:reason"], "after a takeover");
      assert.equal(b.executions.length, 0, "a handshake is no work");
    },
  },
  {
    id: "contract-connect-again",
    title: "a handshake that is repeated takes no more round trips than declared",
    check: async (world, subject) => {
      const { a } = await world.pair();
      await a.backend.connect("agent-0", "agent-1");
      const { roundTrips } = (await a.backend.connect("agent-0", "agent-1", { cause: "handshake" })).traffic;
      assert.ok(roundTrips <= declared(subject).reconnection.expectedRoundTrips, `${roundTrips} round trips`);
    },
  },
  {
    id: "contract-somebody-else",
    title: "an address where another agent answers is not taken for the one that was meant",
    check: async (world) => {
      const { a, b } = await world.pair();
      a.backend.registerEndpoint("agent-2", b.address);
      await expectFailure("connect", a.backend.connect("agent-0", "agent-2"), { peer: "agent-2", codes: ["protocol", "remote"] });
    },
  },
  {
    id: "contract-probe",
    title: "the probe is one exchange, lighter than a message, and no work",
    check: async (world) => {
      const a = await world.peer("agent-0");
      const b = await world.peer("agent-1", { incarnation: 3 });
      introduce(a, b);
      await a.backend.connect("agent-0", "agent-1");
      await a.backend.healthCheck("agent-1");
      const { incarnation, traffic } = await a.backend.healthCheck("agent-1");
      assert.ok(incarnation === 3 || incarnation === null, `incarnation ${incarnation}`);
      expectTraffic("healthCheck", traffic);
      assert.equal(traffic.roundTrips, 1);
      await a.backend.send("agent-0", "agent-1", { text: "x" });
      const message = (await a.backend.send("agent-0", "agent-1", { text: "x" })).traffic;
      assert.equal(b.executions.length, 2, "only messages are executed");
      const bytes = ({ bytesSent, bytesReceived }: typeof traffic): number => bytesSent + bytesReceived;
      assert.ok(bytes(traffic) <= bytes(message), `a probe of ${bytes(traffic)} bytes, a message of ${bytes(message)}`);
    },
  },
  {
    id: "contract-mount",
    title: "hosts mounted under prefixes of one server are reached there, each by itself",
    check: async (world) => {
      const server = fastify();
      world.onClose(() => server.close());
      const a = await world.peer("agent-0");
      const [b, c] = [await world.peer("agent-1", { listens: false }), await world.peer("agent-2", { listens: false })];
      for (const [peer, prefix] of [
        [b, "/one"],
        [c, "/two/deep"],
      ] as const)
        await server.register(peer.backend.hostPlugin(peer.agentId, peer.executor), { prefix });
      const port = Number(new URL(await server.listen({ host: HOST, port: 0 })).port);
      b.address = { host: HOST, port, basePath: "/one" };
      c.address = { host: HOST, port, basePath: "/two/deep" };
      introduce(a, b, c);
      for (const peer of [b, c]) {
        assert.equal((await a.backend.connect("agent-0", peer.agentId)).peer.agentId, peer.agentId);
        assert.equal((await a.backend.send("agent-0", peer.agentId, { text: `to ${peer.agentId}` })).text, `to ${peer.agentId}`);
        await a.backend.healthCheck(peer.agentId);
        assert.equal(peer.executions.length, 1);
      }
      assert.equal((await b.backend.send("agent-1", "agent-0", { text: "back" })).text, "back");
    },
  },
  {
    id: "contract-elsewhere",
    title: "an agent that moves to another address is reached there once it is registered",
    check: async (world) => {
      const { a, b } = await world.pair();
      await a.backend.connect("agent-0", "agent-1");
      await b.local?.close();
      const moved = await world.peer("agent-1", { incarnation: 2 });
      introduce(a, moved);
      assert.equal((await a.backend.connect("agent-0", "agent-1", { cause: "handshake" })).peer.incarnation, 2);
      assert.equal((await a.backend.send("agent-0", "agent-1", { text: "x" })).text, "x");
      assert.equal(moved.executions.length, 1);
    },
  },
];
