import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Duplex } from "node:stream";
import { type Address, FakeClock, systemClock } from "@failstorm/core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  createMessagePassing,
  createTcpTransport,
  createWebSocketTransport,
  type LinkedMessagePassing,
  nodeIdOf,
  type Policy,
  type Security,
  type TcpOptions,
  type TlsOptions,
  type Transport,
  type TransportLink,
} from "../src/index.ts";
import { frame } from "../src/transport/frames.ts";
import { type LogLine, recordingLog } from "./messagingWorld.ts";

const HERE: Address = { host: "127.0.0.1", port: 0 };
/** A port that nobody is ever given by chance, unlike one that was free a moment ago. */
const NOBODY: Address = { host: HERE.host, port: 2 };

const keys = {
  node: { secret: "the secret of all nodes", role: "member" },
  guest: { secret: "the secret of the guests", role: "observer" },
};
const shared = (keyId: keyof typeof keys): Security => ({ kind: "secret", keyId, keys });

interface Node {
  readonly address: Address;
  readonly messages: LinkedMessagePassing;
  readonly transport: Transport;
  readonly lines: LogLine[];
  readonly links: TransportLink[];
}

const started: Transport[] = [];
const servers: Server[] = [];
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(started.splice(0).map((transport) => transport.stop()));
  for (const server of servers.splice(0)) server.close();
});

type Make = (options: Omit<TcpOptions, "listen">) => Transport | Promise<Transport>;
const overTcp: Make = (options) => createTcpTransport({ ...options, listen: HERE });
const overWebSocket: Make = async (options) => {
  const server = createServer((_request, response) => response.end("a page"));
  servers.push(server);
  server.listen(HERE);
  await once(server, "listening");
  const bound = server.address();
  const address = { host: HERE.host, port: typeof bound === "object" && bound !== null ? bound.port : 0 };
  return createWebSocketTransport({ ...options, server, address: () => address });
};

async function startNode(
  agentId: string,
  options: Partial<TcpOptions> & { readonly policy?: Policy } = {},
  make: Make = overTcp,
): Promise<Node> {
  const { log, lines } = recordingLog();
  const self = { agentId, incarnation: 1 };
  const transport = await make({ self, security: shared("node"), clock: systemClock, log, ...options });
  const { policy } = options;
  const messages = createMessagePassing({
    self: { ...self, nodeId: nodeIdOf(agentId, 1), role: "member" },
    clock: systemClock,
    log,
    ...(policy === undefined ? {} : { policy }),
  });
  messages.onMessage("Query", ({ payload, from }) => ({ echo: payload, from }));
  messages.onMessage("Command", () => {});
  const links: TransportLink[] = [];
  const address = await transport.start({
    opened: (link) => {
      links.push(link);
      messages.attach(link);
    },
    received: (link, packet) => messages.receive(link, packet),
    drained: (link) => messages.drained(link),
    closed: (link) => {
      links.splice(links.indexOf(link), 1);
      messages.detach(link);
    },
  });
  started.push(transport);
  return { address, messages, transport, lines, links };
}

const ask = (node: Node, to: string, payload: Parameters<Node["messages"]["sendQuery"]>[1] = "hello") =>
  node.messages.sendQuery(to, payload, { timeoutMs: 30_000 });

/** A socket that speaks none of it, to the node's port. */
async function rawSocket(node: Node): Promise<Socket> {
  const socket = connect({ host: node.address.host, port: node.address.port });
  sockets.push(socket);
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

/** Until the node has closed the connection. */
async function untilClosed(socket: Socket): Promise<void> {
  socket.resume();
  if (!socket.closed) await once(socket, "close");
}

describe.each([
  ["TCP", overTcp],
  ["WebSocket", overWebSocket],
] as const)("links over %s", (_name, make) => {
  it.each([["msgpack"], ["json"]] as const)("carry messages both ways in %s, sealed", async (codec) => {
    const a = await startNode("a", { codecs: [codec] }, make);
    const b = await startNode("b", {}, make);
    await a.transport.dial(b.address);
    const payload = { list: [1, "é", null], bytes: Buffer.from([1, 2, 3]) };
    expect(await ask(a, "b", payload)).toEqual({ echo: payload, from: "a" });
    expect(await ask(b, "a", payload)).toEqual({ echo: payload, from: "b" });
  });

  it("carry more than the kernel takes at once, and what is large, in order", async () => {
    const a = await startNode("a", {}, make);
    const b = await startNode("b", {}, make);
    const got: unknown[] = [];
    b.messages.onMessage("Command", ({ payload }) => void got.push((payload as [number])[0]));
    await a.transport.dial(b.address);
    const big = randomBytes(200_000);
    const deliveries = Array.from({ length: 60 }, (_, index) => a.messages.sendCommand("b", [index, big]));
    for (const delivery of await Promise.all(deliveries)) expect(delivery).toEqual({ status: "delivered", attempts: 1 });
    expect(got).toEqual(Array.from({ length: 60 }, (_, index) => index));
  });

  it("give a message back that no frame can hold, and stay up", async () => {
    const a = await startNode("a", { maxFrameBytes: 10_000 }, make);
    const b = await startNode("b", {}, make);
    await a.transport.dial(b.address);
    const [small, large, odd, last] = await Promise.all([
      a.messages.sendCommand("b", "x"),
      a.messages.sendCommand("b", "x".repeat(20_000)),
      a.messages.sendCommand("b", new Date() as never),
      a.messages.sendCommand("b", "y"),
    ]);
    expect([small.status, large.status, odd.status, last.status]).toEqual(["delivered", "refused", "refused", "delivered"]);
    expect(await ask(a, "b")).toEqual({ echo: "hello", from: "a" });
  });

  it("do not come to be with a wrong secret, and both sides say why", async () => {
    const b = await startNode("b", {}, make);
    const wrong: Security = {
      kind: "secret",
      keyId: "node",
      keys: { node: { secret: "not the secret at all", role: "operator" } },
    };
    const a = await startNode("a", { security: wrong }, make);
    await expect(a.transport.dial(b.address)).rejects.toMatchObject({ code: "remote" });
    expect(b.lines.map(({ message, fields }) => `${message}: ${fields["detail"]}`)).toContain(
      "refused: handshake: authentication failed",
    );
    expect(b.links).toHaveLength(0);
  });

  it("a dial that nobody answers fails as what it is", async () => {
    const a = await startNode("a", {}, make);
    await expect(a.transport.dial(NOBODY)).rejects.toMatchObject({ code: "refused" });
    await expect(a.transport.dial(NOBODY, AbortSignal.abort(new Error("no")))).rejects.toMatchObject({ code: "aborted" });
  });

  it("a closed link gives its messages back to the queue", async () => {
    const a = await startNode("a", {}, make);
    const b = await startNode("b", {}, make);
    await a.transport.dial(b.address);
    await started.pop()?.stop();
    expect(await a.messages.sendCommand("b", 1)).toEqual({ status: "queued" });
  });
});

describe("who may send what", () => {
  it("an observer may ask, and not command; it is told, logged, and the link stays", async () => {
    const b = await startNode("b");
    const guest = await startNode("guest", { security: shared("guest") });
    await guest.transport.dial(b.address);
    expect(await guest.messages.sendCommand("b", "stop")).toEqual({
      status: "refused",
      reason: "role observer may not send Command",
    });
    expect(await ask(guest, "b")).toEqual({ echo: "hello", from: "guest" });
    expect(b.lines.find(({ message }) => message === "a message was refused")?.fields).toMatchObject({
      peer: "guest",
      role: "observer",
      type: "Command",
    });
  });

  it("a role may be given rights over some only", async () => {
    const policy: Policy = { observer: { Command: ["b"] } };
    const [b, c] = [await startNode("b", { policy }), await startNode("c", { policy })];
    const guest = await startNode("guest", { security: shared("guest") });
    for (const node of [b, c]) await guest.transport.dial(node.address);
    expect(await guest.messages.sendCommand("b", "stop")).toMatchObject({ status: "delivered" });
    expect(await guest.messages.sendCommand("c", "stop")).toMatchObject({ status: "refused" });
  });
});

describe("bad frames", () => {
  /** Two that talk to each other while a third talks nonsense to one of them. */
  async function honestPair(options: Partial<TcpOptions> = {}) {
    const [a, b] = [await startNode("a", options), await startNode("b", options)];
    await a.transport.dial(b.address);
    return { a, b };
  }

  const hello = (fields: object = {}): Buffer =>
    frame(
      Buffer.from(
        JSON.stringify({ version: 1, agentId: "x", incarnation: 1, keyId: null, nonce: "n", codecs: ["msgpack"], ...fields }),
      ),
    );

  it("from a stranger cost the stranger its connection, and nobody else anything", async () => {
    const { a, b } = await honestPair();
    const prompts: readonly (() => Buffer)[] = [
      () => randomBytes(1 + (randomBytes(1)[0] ?? 0)),
      () => Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
      () => frame(randomBytes(50)),
      () => frame(Buffer.from("[]")),
      () => frame(Buffer.from("null")),
      () => Buffer.from([0xff, 0xff, 0xff, 0xff, 1]),
      () => frame(Buffer.alloc(9_000)),
      () => hello(),
      () => hello({ keyId: "node" }),
      () => hello({ keyId: "__proto__" }),
      () => hello({ version: 2 }),
      () => hello({ agentId: "a", incarnation: 1e99 }),
      () => Buffer.concat([hello({ keyId: "node" }), frame(Buffer.from(JSON.stringify({ proof: "AAAA" })))]),
    ];
    for (let round = 0; round < 4; round++) {
      await Promise.all(
        prompts.map(async (prompt) => {
          const socket = await rawSocket(b);
          // Half of a frame is patiently waited for: so say that there is no more.
          socket.end(prompt());
          await untilClosed(socket);
        }),
      );
      expect(await ask(a, "b", round)).toEqual({ echo: round, from: "a" });
    }
    expect(b.links).toHaveLength(1);
    expect(b.transport.statistics().refused).toMatchObject({
      "oversized frame": expect.any(Number) as number,
      handshake: expect.any(Number) as number,
    });
  });

  it("from an authenticated peer cost it that connection", async () => {
    const { a, b } = await honestPair({ security: { kind: "open", role: "member" } });
    const bodies = [
      Buffer.from([0xdd, 0x7f, 0xff, 0xff, 0xff]), // claims 2^31 packets
      randomBytes(40),
      Buffer.from([0xc0]), // no list
      Buffer.from([0x91, 0x93, 0x00, 0xc0, 0x01]), // a packet of three fields
      Buffer.from([0x91, 0x92, 0x05, 0xc0]), // a packet of no kind
      Buffer.alloc(0),
    ];
    for (const body of bodies) {
      const socket = await rawSocket(b);
      socket.write(hello());
      await once(socket, "data"); // the challenge: with that, an open link is up
      expect(b.links).toHaveLength(2);
      socket.write(frame(body));
      await untilClosed(socket);
      expect(b.links).toHaveLength(1);
      expect(await ask(a, "b")).toEqual({ echo: "hello", from: "a" });
    }
    expect(b.transport.statistics().refused).toEqual({ "malformed frame": bodies.length });
  });

  it("repeated, changed or inserted on a sealed link are noticed", async () => {
    const b = await startNode("b");
    const a = await startNode("a");
    // Between them: sees and changes what both say.
    const { createServer: createTcpServer } = await import("node:net");
    const seen: Buffer[] = [];
    const inside: Socket[] = [];
    const between = createTcpServer((outer) => {
      const inner = connect({ host: b.address.host, port: b.address.port });
      inside.push(inner);
      sockets.push(outer, inner);
      for (const socket of [outer, inner]) socket.on("error", () => {});
      outer.on("data", (chunk: Buffer) => {
        seen.push(chunk);
        inner.write(chunk);
      });
      inner.pipe(outer);
      inner.on("close", () => outer.destroy());
    });
    between.listen(HERE);
    await once(between, "listening");
    const bound = between.address();
    const port = typeof bound === "object" && bound !== null ? bound.port : 0;
    const replay = async (bytes: (last: Buffer) => Buffer): Promise<void> => {
      await a.transport.dial({ host: HERE.host, port });
      expect(await ask(a, "b")).toEqual({ echo: "hello", from: "a" });
      inside.at(-1)?.write(bytes(seen.at(-1) ?? Buffer.alloc(0)));
      await expect.poll(() => b.links.length).toBe(0);
    };
    await replay((last) => last);
    await replay((last) => {
      const changed = Buffer.from(last);
      changed[8] = (changed[8] ?? 0) ^ 1;
      return changed;
    });
    await replay(() => frame(Buffer.from([0x90])));
    expect(b.transport.statistics().refused).toEqual({ "forged or replayed frame": 3 });
    expect(b.messages.statistics().receiving.handedOver).toBe(3);
    between.close();
  });

  it("a crowd of silent connections does not keep the honest out, and is dropped in time", async () => {
    // Of the handshakes: only the silent are to take too long.
    const clock = new FakeClock();
    const { a, b } = await honestPair({ maxGreeting: 8, handshakeTimeoutMs: 200, clock });
    const crowd = await Promise.all(Array.from({ length: 30 }, () => rawSocket(b)));
    const c = await startNode("c");
    await c.transport.dial(b.address);
    expect(await ask(c, "b")).toEqual({ echo: "hello", from: "c" });
    await clock.advance(200);
    await Promise.all(crowd.map(untilClosed));
    expect(b.transport.statistics().refused).toEqual({ "too many handshakes at once": 23, handshake: 7 });
    expect(await ask(a, "b")).toEqual({ echo: "hello", from: "a" });
  });

  it("a peer that sends and never reads is cut off", async () => {
    const { a, b } = await honestPair({ security: { kind: "open", role: "member" }, maxPendingBytes: 100_000 });
    const socket = await rawSocket(b);
    socket.write(hello());
    await once(socket, "data");
    socket.pause();
    for (let round = 0; b.links.length > 1 && round < 400; round++) {
      b.links.at(-1)?.send({ kind: "refused", namespace: "n", sequence: round, reason: "x".repeat(500_000) });
      await new Promise<void>((resolve) => void setImmediate(resolve));
    }
    expect(b.transport.statistics().refused).toEqual({ "does not read what it is sent": 1 });
    expect(await ask(a, "b")).toEqual({ echo: "hello", from: "a" });
  });
});

describe("a TCP transport that is stopped", () => {
  it("does not wait for ever for a peer that it has dialled and that reads nothing", async () => {
    const { createServer: createTcpServer } = await import("node:net");
    const challenge = { version: 1, agentId: "b", incarnation: 1, keyId: null, nonce: "n", codecs: ["json"] };
    const server = createTcpServer((socket) => {
      sockets.push(socket);
      socket.on("error", () => {});
      socket.once("data", () => {
        socket.pause();
        socket.write(frame(Buffer.from(JSON.stringify(challenge))));
      });
    });
    server.listen(HERE);
    await once(server, "listening");
    const bound = server.address();
    const a = await startNode("a", { security: { kind: "open", role: "member" } });
    const link = await a.transport.dial({ host: HERE.host, port: typeof bound === "object" && bound !== null ? bound.port : 0 });
    for (let number = 0; number < 30; number++) {
      link.send({ kind: "refused", namespace: "n", sequence: number, reason: "x".repeat(1_000_000) });
    }
    await a.transport.stop();
    let got = 0;
    const [peer] = sockets.slice(-1);
    peer?.on("data", (chunk: Buffer) => (got += chunk.length));
    if (peer !== undefined) await untilClosed(peer);
    server.close();
    expect(got).toBeLessThan(20_000_000);
  });
});

describe("a WebSocket transport", () => {
  it("leaves the server's own work alone, and other upgrades to others", async () => {
    const b = await startNode("b", {}, overWebSocket);
    const url = `http://${b.address.host}:${b.address.port}/`;
    expect(await (await fetch(url)).text()).toBe("a page");
    const socket = await rawSocket(b);
    socket.write("GET /else HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 404/);
    await b.transport.stop();
    expect(await (await fetch(url)).text()).toBe("a page");
  });

  it("survives who asks for another upgrade and is gone, or never hangs up", async () => {
    const b = await startNode("b", {}, overWebSocket);
    const gone = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done(new Error("reset")) });
    // Not by `once`, which listens to errors too.
    const closed = new Promise<void>((resolve) => void gone.on("close", () => resolve()));
    servers.at(-1)?.emit("upgrade", { url: "/else" }, gone, Buffer.alloc(0));
    await closed;
    const stays = connect({ host: b.address.host, port: b.address.port, allowHalfOpen: true });
    sockets.push(stays);
    stays.resume();
    stays.write("GET /else HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    await once(stays, "end");
    const open = (): Promise<number> =>
      new Promise((resolve) => void servers.at(-1)?.getConnections((_error, count) => resolve(count)));
    await expect.poll(open).toBe(0);
  });

  it("refuses bad frames like TCP does", async () => {
    const [a, b] = [await startNode("a", {}, overWebSocket), await startNode("b", {}, overWebSocket)];
    await a.transport.dial(b.address);
    const url = `ws://${b.address.host}:${b.address.port}/network`;
    for (const data of [
      Buffer.concat([Buffer.alloc(4, 0xff), randomBytes(96)]),
      "words",
      new Uint8Array(2_000_000),
      Buffer.alloc(0),
    ]) {
      const socket = new WebSocket(url);
      await new Promise<void>((resolve) => {
        socket.addEventListener("open", () => {
          socket.send(data);
          if (data.length === 0) socket.close();
        });
        socket.addEventListener("close", () => resolve());
      });
    }
    expect(await ask(a, "b")).toEqual({ echo: "hello", from: "a" });
    expect(b.links).toHaveLength(1);
    // Random bytes and words announce frames that are too large; two megabytes are more than a message of a WebSocket may have.
    expect(b.transport.statistics().refused).toEqual({ "oversized frame": 2, "malformed frame": 1 });
  });
});

describe("links over TLS", () => {
  let dir: string;
  let certificates: Record<"a" | "b" | "foreign", TlsOptions>;

  beforeAll(() => {
    dir = mkdtempSync(path.join(tmpdir(), "tls-"));
    const file = (name: string): string => path.join(dir, name);
    const openssl = (...args: string[]): void => void execFileSync("openssl", args, { stdio: "pipe" });
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    const authority = (name: string): void =>
      openssl("req", "-x509", ...curve, "-keyout", file(`${name}.key`), "-out", file(`${name}.pem`), "-subj", `/CN=${name}`);
    const issue = (name: string, subject: string, ca: string): TlsOptions => {
      openssl("req", ...curve, "-keyout", file(`${name}.key`), "-out", file(`${name}.csr`), "-subj", subject);
      const signer = ["-CA", file(`${ca}.pem`), "-CAkey", file(`${ca}.key`), "-CAcreateserial"];
      openssl("x509", "-req", "-in", file(`${name}.csr`), ...signer, "-out", file(`${name}.pem`));
      const read = (ending: string): string => readFileSync(file(ending), "utf8");
      return { key: read(`${name}.key`), cert: read(`${name}.pem`), ca: read("network.pem") };
    };
    authority("network");
    authority("elsewhere");
    certificates = {
      a: issue("a", "/CN=a/OU=member", "network"),
      b: issue("b", "/CN=b/OU=operator", "network"),
      foreign: issue("foreign", "/CN=a/OU=member", "elsewhere"),
    };
    writeFileSync(file("done"), "");
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const security: Security = { kind: "certificates" };

  it("take names and roles from certificates", async () => {
    const a = await startNode("a", { security, tls: certificates.a });
    const b = await startNode("b", { security, tls: certificates.b });
    const link = await a.transport.dial(b.address);
    expect(link.peer).toMatchObject({ agentId: "b", role: "operator" });
    expect(await ask(a, "b")).toEqual({ echo: "hello", from: "a" });
    expect(b.links[0]?.peer.role).toBe("member");
  });

  it("do not come to be with a foreign certificate, another's name, or none", async () => {
    const b = await startNode("b", { security, tls: certificates.b });
    const foreign = await startNode("a", { security, tls: certificates.foreign });
    await expect(foreign.transport.dial(b.address)).rejects.toMatchObject({ name: "CommError" });
    const liar = await startNode("c", { security, tls: certificates.a });
    await expect(liar.transport.dial(b.address)).rejects.toThrow("the certificate is for somebody else");
    const socket = await rawSocket(b);
    socket.write("not TLS at all\r\n\r\n");
    await untilClosed(socket);
    expect(b.links).toHaveLength(0);
    expect(b.transport.statistics().refused).toMatchObject({ "TLS handshake": expect.any(Number) as number });
    expect(() =>
      createTcpTransport({ self: { agentId: "a", incarnation: 1 }, security, clock: systemClock, log: () => {}, listen: HERE }),
    ).toThrow(RangeError);
  });
});
