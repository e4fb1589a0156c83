import type { Server } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { MAX_BODY_BYTES } from "./identity.ts";
import { type JsonObject, parseJson } from "./json.ts";
import { errorAnswer, idOf, RpcError } from "./rpc.ts";

/** HTTP servers that dispatch upgrades already. */
const upgrading = new WeakSet<Server>();

/**
 * Registers @fastify/websocket for a host that may not be the only one on its server. Each registration listens for upgrades and
 * dispatches them to the whole server's routes, and a socket that is dispatched twice is upgraded twice, which fails.
 */
async function acceptUpgrades(server: FastifyInstance): Promise<void> {
  const { default: websocket } = await import("@fastify/websocket");
  const before = server.server.listeners("upgrade");
  await server.register(websocket, { options: { maxPayload: MAX_BODY_BYTES, perMessageDeflate: false } });
  if (upgrading.has(server.server))
    for (const listener of server.server.listeners("upgrade"))
      if (!before.includes(listener)) server.server.off("upgrade", listener as () => void);
  upgrading.add(server.server);
}

/** The text of a frame, whichever of the forms of `ws` it came in. */
function textOf(data: Buffer | ArrayBuffer | Buffer[]): string {
  if (Array.isArray(data)) return Buffer.concat(data).toString("utf8");
  return (data instanceof ArrayBuffer ? Buffer.from(data) : data).toString("utf8");
}

/** What an executor answered may have no JSON form. */
function textOfReply(reply: JsonObject, id: string | null): string {
  try {
    return JSON.stringify(reply);
  } catch {
    return JSON.stringify(errorAnswer(id, new RpcError("internal_error", "internal error")));
  }
}

/**
 * `GET /anp` as a WebSocket: each text frame is one JSON-RPC message of the caller that the upgrade request authenticated (`authenticate`
 * tells its DID), as a POST would carry it; answers come in the order in which they are ready.
 */
export async function webSocketHost(
  server: FastifyInstance,
  authenticate: (request: FastifyRequest, reply: FastifyReply) => Promise<string | null>,
  serve: (message: unknown, caller: string) => Promise<JsonObject | null>,
): Promise<void> {
  await acceptUpgrades(server);
  const callers = new WeakMap<FastifyRequest, string>();
  const preValidation = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    const caller = await authenticate(request, reply);
    if (caller === null) return reply;
    callers.set(request, caller);
    return undefined;
  };
  server.get("/anp", { websocket: true, preValidation }, (socket, request) => {
    const caller = callers.get(request) as string;
    const answer = async (text: string): Promise<void> => {
      const message = parseJson(text);
      const reply = await serve(message, caller);
      if (reply !== null && socket.readyState === socket.OPEN) socket.send(textOfReply(reply, idOf(message)));
    };
    socket.on("message", (data) => void answer(textOf(data)));
  });
}
