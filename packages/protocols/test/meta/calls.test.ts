import { type BackendContext, type CommBackend, CommError, createPrng, type Protocol, type Traffic } from "@failstorm/core";
import { expect, test, vi } from "vitest";
import { Adapters } from "../../src/meta/adapters.ts";
import { Calls } from "../../src/meta/calls.ts";
import { type MetaConfig, parseMetaConfig } from "../../src/meta/config.ts";
import { MEMBERS } from "../../src/meta/members.ts";
import type { Mesh } from "../../src/meta/mesh.ts";
import type { Router } from "../../src/meta/router.ts";

const trafficOf = (ms: number): Traffic => ({ bytesSent: 10, bytesReceived: 20, roundTrips: 1, firstByteAt: 5, ms });

test("[meta-fallback] a handshake that another had tried in vain is measured by itself, and costs its caller both", async () => {
  const backends = {
    a2a: {
      connect: () => Promise.reject(Object.assign(new CommError("protocol", "agent-1", "no card"), { traffic: trafficOf(900) })),
    },
    acp: { connect: async () => ({ peer: { agentId: "agent-1", incarnation: 1, capabilities: [] }, traffic: trafficOf(7) }) },
  } as unknown as Record<string, CommBackend>;
  const connected = vi.fn(() => null);
  const hosted = ["a2a", "acp"];
  const calls = new Calls({
    mesh: { dialled: () => hosted, hosted: () => hosted } as unknown as Mesh,
    adapters: { get: (name: string) => backends[name] } as unknown as Adapters,
    router: { handshake: () => ({ order: hosted, choice: null }), connected, observe: () => {} } as unknown as Router,
    config: {} as MetaConfig,
    now: () => 1,
    onRoute: () => {},
  });
  const { traffic } = await calls.connect("agent-0", "agent-1");
  expect(traffic).toMatchObject({ ms: 907, bytesSent: 20, roundTrips: 2, protocol: "acp" });
  expect(connected).toHaveBeenCalledWith("agent-1", "acp", { ms: 7, failed: [{ protocol: "a2a", code: "protocol" }] }, 1);
});

test("[meta-lazy] a protocol that could not be loaded is loaded by the next operation", async () => {
  const createBackend = vi.fn(() => ({ registerEndpoint: () => {} }) as unknown as CommBackend);
  const load = vi.spyOn(MEMBERS.acp, "load");
  load.mockRejectedValueOnce(new Error("EMFILE")).mockResolvedValue({ createBackend } as unknown as Protocol);
  const adapters = new Adapters({
    context: { prng: createPrng(1), workspaceDir: "w" } as BackendContext,
    config: parseMetaConfig({}),
    addressOf: () => ({ host: "h", port: 1 }),
    endpointOf: () => null,
    peers: () => [],
  });
  await expect(adapters.get("acp")).rejects.toThrow("EMFILE");
  await expect(Promise.all([adapters.get("acp"), adapters.get("acp")])).resolves.toHaveLength(2);
  expect([load.mock.calls.length, createBackend.mock.calls.length]).toEqual([2, 1]);
});

test.each([
  ["tool", "timeout", "overdue"],
  ["lookup", "timeout", "lost"],
  ["tool", "reset", "lost"],
  ["tool", "remote", "answered"],
  ["tool", "aborted", null],
] as const)("[meta-route-loss] a %s that fails with %s says of its protocol: %s", async (kind, code, outcome) => {
  const observe = vi.fn();
  const hosted = ["a2a", "acp"];
  const calls = new Calls({
    mesh: { dialled: () => hosted, hosted: () => hosted } as unknown as Mesh,
    adapters: { get: () => ({ send: () => Promise.reject(new CommError(code, "agent-1", "no")) }) } as unknown as Adapters,
    router: {
      message: () => ({ kind: "route", protocol: "a2a", choices: [], unmet: [] }),
      observe,
    } as unknown as Router,
    config: { router: { largeChars: 1000 } } as MetaConfig,
    now: () => 1,
    onRoute: () => {},
  });
  await expect(calls.send("agent-0", "agent-1", { text: "x" }, { kind })).rejects.toMatchObject({ code });
  expect(observe.mock.calls.map(([, , sample]) => (sample as { outcome: string }).outcome)).toEqual(
    outcome === null ? [] : [outcome],
  );
});
