import { createPrng, systemClock } from "@failstorm/core";
import { createAgentNetworkManager, createTcpTransport } from "../../src/index.ts";
import { nodeOptions } from "../nodeOptions.ts";

/*
 * A member of a network in a process of its own. Arguments: agent id, incarnation, and the port of whoever it is to join. It says its own port when
 * it has joined, answers queries, and leaves when its input ends.
 */
const [agentId = "", incarnation = "1", port = "0"] = process.argv.slice(2);
const self = { agentId, incarnation: Number(incarnation), capabilities: ["echo"] };
const options = nodeOptions(self);
const network = createAgentNetworkManager({
  ...options,
  prng: createPrng(1).fork(agentId),
  transport: createTcpTransport({ ...options, listen: { host: "127.0.0.1", port: 0 } }),
});
network.messages.onMessage("Query", ({ payload, from }) => ({ echo: payload, from, pid: process.pid }));
const address = await network.start();
await network.joinNetwork([{ host: "127.0.0.1", port: Number(port) }]);
process.stdout.write(`${address.port}\n`);
process.stdin.resume();
process.stdin.on("end", () => {
  void network
    .leaveNetwork()
    .then(() => network.stop())
    .then(() => process.exit(0));
});
// The network's own timers keep no process alive.
void systemClock.sleep(60_000).then(() => process.exit(1));
