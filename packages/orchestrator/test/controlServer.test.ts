import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { FromAgent } from "@failstorm/core";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { lineSplitter } from "../src/control/lines.ts";
import { genuineEvents } from "../src/control/messages.ts";
import { type ControlLink, type ControlServer, startControlServer } from "../src/control/server.ts";

describe("lineSplitter", () => {
  it("joins chunks, splits lines and gives up on one that is too long", () => {
    const lines: string[] = [];
    const tooLong = vi.fn<() => void>();
    const feed = lineSplitter(10, (line) => lines.push(line), tooLong);
    for (const chunk of ["ab", "c\nde", "f\n\nexactly10c\nand", " too long by now", "\nmore\n"]) feed(chunk);
    expect(lines).toEqual(["abc", "def", "exactly10c"]);
    expect(tooLong).toHaveBeenCalledOnce();
  });
});

describe("genuineEvents", () => {
  it("keeps well-formed events of the agent itself", () => {
    const good = { t: 1, src: "agent-0", inc: 1, seq: 0, ev: "log", level: "error", message: "x" };
    expect(genuineEvents([good, { ...good, src: "agent-1" }, { ...good, level: 5 }, null], "agent-0")).toEqual([good]);
  });
});

describe("the control server", () => {
  let server: ControlServer;
  let heard: { link: ControlLink; message: FromAgent }[];
  let refused: string[];
  let changed: () => void;
  const sockets: Socket[] = [];
  const hello = { type: "hello", agentId: "agent-0", token: "secret", pid: 5, incarnation: 2 };

  beforeEach(async () => {
    heard = [];
    refused = [];
    changed = () => undefined;
    server = await startControlServer("127.0.0.1", "secret");
    server.attach({
      onHello: (link) => link.agentId !== "agent-9",
      onMessage: (link, message) => {
        heard.push({ link, message });
        changed();
      },
      onClosed: () => undefined,
      onRefused: (reason) => void refused.push(reason),
    });
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await server.close();
  });
  const dial = (text: string): Socket => {
    const socket = connect(server.port, "127.0.0.1");
    sockets.push(socket);
    socket.on("error", () => undefined);
    socket.write(text);
    return socket;
  };
  const nextMessage = (): Promise<void> =>
    new Promise((resolve) => {
      changed = resolve;
    });

  it.each([
    ["rubbish", "rubbish\n", /no hello/],
    ["another first message", '{"type":"drained"}\n', /no hello/],
    ["a wrong token", `${JSON.stringify({ ...hello, token: "secreT" })}\n`, /wrong token/],
    ["an agent nobody started", `${JSON.stringify({ ...hello, agentId: "agent-9" })}\n`, /not expected/],
  ])("closes a connection that opens with %s", async (_, text, reason) => {
    await new Promise((resolve) => dial(text).once("close", resolve));
    expect(refused.join()).toMatch(reason);
    expect(heard).toEqual([]);
  });

  it("drops an agent's malformed line and goes on with it and with the others", async () => {
    const message = nextMessage();
    dial(`${JSON.stringify(hello)}\n{"type":"ready","port":"80"}\n{"type":"__proto__"}\n{"type":"drained"}\n`);
    await message;
    expect(heard).toMatchObject([{ link: { agentId: "agent-0", pid: 5, incarnation: 2 }, message: { type: "drained" } }]);
    expect(refused).toHaveLength(2);
  });

  it("closes an agent's link over a line too long to be held, and no other's", async () => {
    const loud = dial(`${JSON.stringify(hello)}\n`);
    const quiet = dial(`${JSON.stringify({ ...hello, agentId: "agent-1" })}\n`);
    const closed = new Promise((resolve) => loud.once("close", resolve));
    loud.write("x".repeat(9 * 1024 * 1024));
    await closed;
    const message = nextMessage();
    quiet.write('{"type":"drained"}\n');
    await message;
    expect(heard[0]?.link.agentId).toBe("agent-1");
  });

  it("sends whole lines to the agent", async () => {
    const message = nextMessage();
    const socket = dial(`${JSON.stringify(hello)}\n{"type":"drained"}\n`);
    await message;
    const answer = once(socket, "data");
    heard[0]?.link.send('{"type":"stop"}\n');
    expect(String(await answer)).toBe('{"type":"stop"}\n');
  });
});
