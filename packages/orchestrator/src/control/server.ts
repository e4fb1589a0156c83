import { timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import type { AgentId, FromAgent } from "@failstorm/core";
import { lineSplitter } from "./lines.ts";
import { decodeMessage, MAX_ACCEPTED_LINE } from "./messages.ts";

/** The orchestrator's end of one agent's control link, from its `hello` on. */
export interface ControlLink {
  readonly agentId: AgentId;
  readonly pid: number;
  readonly incarnation: number;
  /** Sends an encoded message; nothing happens when the link is closed. */
  send(line: string): void;
  close(): void;
}

export interface ControlHandlers {
  /** An agent with the right token introduced itself; false refuses it. */
  onHello(link: ControlLink): boolean;
  onMessage(link: ControlLink, message: Exclude<FromAgent, { type: "hello" }>): void;
  onClosed(link: ControlLink): void;
  /** A connection or a line was refused. */
  onRefused(reason: string): void;
}

export interface ControlServer {
  readonly port: number;
  /** Who is told; connections before that are closed. */
  attach(handlers: ControlHandlers): void;
  close(): Promise<void>;
}

const HELLO_TIMEOUT_MS = 10_000;
/** Before it has introduced itself, a connection may send no more than this. */
const MAX_HELLO_LENGTH = 4096;

/**
 * Listens on `host` for agents. A connection speaks newline-delimited JSON, `hello` with the token first. What is malformed is
 * refused without harm to others: a stranger's connection is closed; an agent's bad line is dropped, and only one too long to
 * be held costs it the connection.
 */
export async function startControlServer(host: string, token: string): Promise<ControlServer> {
  const sockets = new Set<Socket>();
  let handlers: ControlHandlers | null = null;
  const server = createServer({ noDelay: true }, (socket) => {
    if (handlers === null) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    serve(socket, token, handlers);
  });
  server.listen(0, host);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    attach: (given) => {
      handlers = given;
    },
    close: async () => {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function serve(socket: Socket, token: string, handlers: ControlHandlers): void {
  let link: ControlLink | null = null;
  const refuse = (reason: string): void => {
    handlers.onRefused(`control link ${link?.agentId ?? "of a stranger"}: ${reason}`);
    socket.destroy();
  };
  const introduce = (line: string): void => {
    const message = line.length <= MAX_HELLO_LENGTH ? decodeMessage(line) : null;
    if (message?.type !== "hello") return refuse("the first line is no hello");
    if (!sameToken(message.token, token)) return refuse("wrong token");
    const { agentId, pid, incarnation } = message;
    const candidate: ControlLink = {
      agentId,
      pid,
      incarnation,
      send: (text) => {
        if (socket.writable) socket.write(text);
      },
      close: () => socket.destroy(),
    };
    if (!handlers.onHello(candidate)) return refuse(`${agentId} (incarnation ${incarnation}, pid ${pid}) is not expected`);
    link = candidate;
    socket.setTimeout(0);
  };
  const hear = (line: string): void => {
    if (socket.destroyed) return;
    if (link === null) return introduce(line);
    const message = decodeMessage(line);
    if (message === null || message.type === "hello") {
      handlers.onRefused(`control link ${link.agentId}: malformed line of ${line.length} characters dropped`);
      return;
    }
    handlers.onMessage(link, message);
  };
  socket.setEncoding("utf8");
  socket.setTimeout(HELLO_TIMEOUT_MS, () => refuse("no hello in time"));
  socket.on(
    "data",
    lineSplitter(MAX_ACCEPTED_LINE, hear, () => refuse(`a line longer than ${MAX_ACCEPTED_LINE} characters`)),
  );
  socket.on("error", () => undefined); // a reset is followed by close
  socket.once("close", () => {
    if (link !== null) handlers.onClosed(link);
  });
}

function sameToken(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}
