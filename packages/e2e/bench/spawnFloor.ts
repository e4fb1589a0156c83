import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type AddressInfo, connect } from "node:net";
import { createInterface } from "node:readline";
import type { AgentSpec, FromAgent, ToAgent } from "@failstorm/core";

/**
 * The floor of an agent's start: what every Node process with a Fastify server on a port of its own and a TCP link to the
 * orchestrator has to do before it can say that it is ready; and nothing else.
 */
interface BareFastify {
  get(path: string, handler: () => Promise<unknown>): unknown;
  listen(options: { host: string; port: number }): Promise<string>;
  addresses(): AddressInfo[];
}

// The agent's own copy, so that both load the same files.
const require = createRequire(new URL("../../agent/package.json", import.meta.url));
const fastify = require("fastify") as () => BareFastify;
const spec = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as AgentSpec;
const server = fastify();
server.get("/health", async () => ({ status: "ok" }));
await server.listen({ host: spec.host, port: spec.port });
const port = server.addresses()[0]?.port ?? spec.port;

const { control, agentId } = spec;
const socket = connect({ host: control.host, port: control.port, noDelay: true });
const send = (message: FromAgent): void => void socket.write(`${JSON.stringify(message)}\n`);
socket.on("error", () => process.exit(1));
socket.on("close", () => process.exit(0));
socket.once("connect", () => {
  createInterface({ input: socket }).on("line", (line) => {
    if ((JSON.parse(line) as ToAgent).type === "stop") process.exit(0);
  });
  send({ type: "hello", agentId, token: control.token, pid: process.pid, incarnation: 1 });
  send({ type: "ready", port, rssBytes: process.memoryUsage.rss() });
});
