import type { Traffic } from "@failstorm/core";
import { afterEach, beforeEach, expect, test } from "vitest";
import { signRequest } from "../src/anp/httpSignature.ts";
import { failure, nowS, type Peer, World } from "./anp/world.ts";

const section = { transport: "websocket" };
let world: World;
let a: Peer;
beforeEach(async () => {
  world = new World();
  a = await world.peer("agent-0", { section });
});
afterEach(() => world.close());

const introduce = (b: Peer): void => a.backend.registerEndpoint(b.agentId, b.address);
const send = (text: string) => a.backend.send("agent-0", "agent-1", { text });

test("[anp-websocket] a handshake opens the connection; messages then share it, each an exchange of its own", async () => {
  introduce(await world.peer("agent-1", { section }));
  expect((await a.backend.connect("agent-0", "agent-1")).traffic.roundTrips).toBe(3);
  const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => send(`message ${i}`)));
  expect(answers.map(({ text }) => text)).toEqual(answers.map((_, i) => `message ${i}`));
  expect(answers.every(({ traffic }) => traffic.roundTrips === 1)).toBe(true);
  expect((await a.backend.healthCheck("agent-1")).incarnation).toBe(1);
});

test("[anp-websocket] a message without a handshake makes one; many at once make one", async () => {
  introduce(await world.peer("agent-1", { section }));
  const answers = await Promise.all(["a", "b", "c"].map(send));
  expect(answers.map(({ text }) => text)).toEqual(["a", "b", "c"]);
  expect(answers.map(({ traffic }) => traffic.roundTrips).toSorted((x, y) => x - y)).toEqual([1, 1, 4]);
});

test("[anp-websocket-bytes] each message's bytes are its own while the connection is open, and all that the sockets moved is somebody's", async () => {
  introduce(await world.peer("agent-1", { section }));
  const { traffic: handshake } = await a.backend.connect("agent-0", "agent-1");
  const sizes = [1, 1_000, 200_000];
  const sent = await Promise.all(sizes.map((size) => send("x".repeat(size))));
  for (const [i, { traffic }] of sent.entries()) {
    expect(traffic.bytesSent).toBeGreaterThan(sizes[i] as number);
    expect(traffic.bytesSent, "meta, proof and frame").toBeLessThan((sizes[i] as number) + 1_200);
    expect(traffic.bytesReceived, "the answer").toBeGreaterThan(sizes[i] as number);
    expect(traffic.bytesReceived).toBeLessThan((sizes[i] as number) + 700);
    expect(traffic.firstByteAt).not.toBeNull();
  }
  const gate = Promise.withResolvers<void>();
  const deadline = new AbortController();
  const b = await world.peer("agent-2", {
    section,
    execute: async ({ payload }, queue) => {
      if ("text" in payload && payload.text === "slow") {
        // When the message has arrived, not before it was sent.
        deadline.abort(new DOMException("too late", "TimeoutError"));
        await gate.promise;
      }
      queue.enqueue({ type: "agent_text_message", text: "done" });
    },
  });
  introduce(b);
  const { traffic: second } = await a.backend.connect("agent-0", "agent-2");
  const options = { signal: deadline.signal, cause: "retry" } as const;
  const givenUp = await failure(a.backend.send("agent-0", "agent-2", { text: "slow" }, options));
  expect(a.residuals).toEqual([]);
  gate.resolve();
  const after = await a.backend.send("agent-0", "agent-2", { text: "quick" });
  await expect.poll(() => a.residuals).toHaveLength(1);
  expect(a.residuals[0]?.tag).toEqual({ peer: "agent-2", kind: "tool", cause: "retry" });
  const all = [
    handshake,
    second,
    after.traffic,
    givenUp.traffic as Traffic,
    ...sent.map(({ traffic }) => traffic),
    ...a.residuals,
  ];
  const { bytesSent, bytesReceived } = a.client.socketTotals();
  expect(all.reduce((sum, one) => sum + one.bytesSent, 0)).toBe(bytesSent);
  expect(all.reduce((sum, one) => sum + one.bytesReceived, 0)).toBe(bytesReceived);
});

test("[anp-websocket-death] a peer that dies fails what is under way at once, and the next message with refused; back again it is met by token and signature", async () => {
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const b = await world.peer("agent-1", {
    section,
    execute: async () => {
      begun.resolve();
      await gate.promise;
    },
  });
  introduce(b);
  const underWay = failure(send("x"));
  await begun.promise;
  const stopping = b.stop();
  expect((await underWay).code).toBe("reset");
  gate.resolve();
  await stopping;
  expect((await failure(send("y"))).code).toBe("refused");
  await world.peer("agent-1", { section, workspaceDir: b.workspaceDir, port: b.address.port, incarnation: 2 });
  expect((await send("z")).text).toBe("z");
});

test("[anp-websocket-abort] a caller that gives up is told so, and the connection stays", async () => {
  const gate = Promise.withResolvers<void>();
  const b = await world.peer("agent-1", {
    section,
    execute: async ({ payload }, queue) => {
      if ("text" in payload && payload.text === "wait") await gate.promise;
      queue.enqueue({ type: "agent_text_message", text: "done" });
    },
  });
  introduce(b);
  await a.backend.connect("agent-0", "agent-1");
  const late = failure(a.backend.send("agent-0", "agent-1", { text: "wait" }, { signal: AbortSignal.timeout(30) }));
  expect((await late).code).toBe("timeout");
  gate.resolve();
  const answer = await send("go");
  expect([answer.text, answer.traffic.roundTrips]).toEqual(["done", 1]);
});

/** A bare WebSocket with the stranger's signature, and the next frame that comes. */
async function open(
  b: Peer,
  headers: Record<string, string>,
): Promise<{ socket: WebSocket; readonly next: () => Promise<unknown> }> {
  const socket = await a.client.webSocket(`${b.base.replace("http", "ws")}/anp`, { headers });
  world.onClose(() => socket.close());
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener("open", () => resolve());
    socket.addEventListener("error", () => reject(new Error("refused")));
  });
  const next = (): Promise<unknown> =>
    new Promise((resolve) =>
      socket.addEventListener("message", ({ data }) => resolve(JSON.parse(String(data)) as unknown), { once: true }),
    );
  return { socket, next };
}

test("[anp-websocket-signed] an upgrade has to be signed, once; frames are answered as requests are", async () => {
  const b = await world.peer("agent-1", { section });
  const stranger = await world.stranger();
  const url = `${b.base}/anp`;
  const headers = signRequest(stranger.identity.signingKey, { method: "GET", url }, { nowS: nowS() });
  await expect(open(b, {})).rejects.toThrow("refused");
  const { socket, next } = await open(b, headers);
  await expect(open(b, headers)).rejects.toThrow("refused");
  for (const [frame, code] of [
    ["{", -32700],
    ["[]", 1004],
    ['{"jsonrpc":"2.0","id":"1","method":"no.such"}', -32601],
  ] as const) {
    const answer = next();
    socket.send(frame);
    expect(await answer).toMatchObject({ jsonrpc: "2.0", error: { code } });
  }
  const answer = next();
  socket.send(new TextEncoder().encode(JSON.stringify(stranger.message(b))));
  expect(await answer).toMatchObject({ id: "1", result: { accepted: true } });
  expect((await fetch(url)).status).toBe(401);
});
