import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { systemClock } from "@failstorm/core";
import { expect, test } from "vitest";
import { ClosedPeers } from "../src/closedPeers.ts";

/** Who is refused or broken off is told so, however long that takes on a busy machine. */
const PATIENCE_MS = 30_000;
const clock = systemClock;

test("only of a peer whose stream was closed is it asked whether anybody listens, and once", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  let accepted = 0;
  server.on("connection", () => accepted++);
  const placeOf = (peer: string) => (peer === "agent-1" ? { address: "127.0.0.1", port } : null);
  const closed = new ClosedPeers({ clock, placeOf }, { refusalMs: PATIENCE_MS });

  expect(await closed.isGone("agent-1")).toBe(false);
  closed.add("agent-1");
  const connected = once(server, "connection");
  expect(await closed.isGone("agent-1")).toBe(false);
  await connected;
  expect(await closed.isGone("agent-1")).toBe(false);
  expect(accepted).toBe(1);

  server.close();
  await once(server, "close");
  expect(await closed.isGone("agent-1")).toBe(false);
  closed.add("agent-1");
  expect(await closed.isGone("agent-1")).toBe(true);
  closed.add("agent-2");
  expect(await closed.isGone("agent-2")).toBe(false);
});

test("who accepts and breaks off is asked once more: refused then, it is gone; accepted again, it is not", async () => {
  const server = createServer((socket) => {
    socket.resetAndDestroy();
    if (isDying) server.close();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  let isDying = false;
  const closed = new ClosedPeers(
    { clock, placeOf: () => ({ address: "127.0.0.1", port }) },
    {
      refusalMs: PATIENCE_MS,
      lingerMs: PATIENCE_MS,
    },
  );
  closed.add("agent-1");
  expect(await closed.isGone("agent-1")).toBe(false);
  isDying = true;
  closed.add("agent-1");
  expect(await closed.isGone("agent-1")).toBe(true);
});

test("a refusal that came while this process was kept from running counts, though patience is at an end", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  const closed = new ClosedPeers({ clock, placeOf: () => ({ address: "127.0.0.1", port }) }, { refusalMs: 1 });
  closed.add("agent-1");
  const answer = closed.isGone("agent-1");
  for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => process.nextTick(resolve)); // the connection is begun
  for (const until = performance.now() + 20; performance.now() < until; );
  expect(await answer).toBe(true);
});

test("who accepts while this process is kept from running, and stays, is there", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const closed = new ClosedPeers({ clock, placeOf: () => ({ address: "127.0.0.1", port }) }, { refusalMs: 1, lingerMs: 1 });
  for (let tries = 0; tries < 5; tries++) {
    closed.add("agent-1");
    const answer = closed.isGone("agent-1");
    for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => process.nextTick(resolve)); // the connection is begun
    for (const until = performance.now() + 20; performance.now() < until; );
    expect(await answer).toBe(false);
    expect(closed.isAsked("agent-1")).toBe(false);
  }
  server.close();
});

test("where there is no address to connect to nobody is said to be gone, nor asked for ever", async () => {
  const closed = new ClosedPeers({ clock, placeOf: () => ({ address: "127.0.0.1", port: 70_000 }) });
  closed.add("agent-1");
  expect(await closed.isGone("agent-1")).toBe(false);
  expect(closed.isAsked("agent-1")).toBe(false);
});
