import { flushCompileCache } from "node:module";
import { systemClock } from "@failstorm/core";
import { loadProtocol } from "@failstorm/protocols";
import { loadMetrics } from "./metrics.ts";
import { rehearseLoss } from "./rehearsal.ts";

/*
 * Fills node's compile cache: `node warm.ts PROTOCOL …` loads what an agent loads, and ends. Started once before the agents, so that they,
 * in the first run on a machine too, neither compile all at the same time nor keep the compiler in memory (30 MB each, measured: the
 * kernel then takes longer to close a victim's sockets).
 */
const [, , protocolName, ...others] = process.argv;
if (protocolName === undefined) {
  process.stderr.write("usage: node warm.ts PROTOCOL … (started by the orchestrator before the agents)\n");
  process.exit(2);
}
await Promise.all([protocolName, ...others].map(loadProtocol));
await Promise.all([
  import("./agentProcess.ts"),
  import("./shardRole.ts"),
  import("./agent.ts"),
  import("./rehearseDeaths.ts"),
  import("@failstorm/core/requests.ts"),
]);
await loadMetrics({ agent: "warm", incarnation: "0", protocol: protocolName });
await rehearseLoss(systemClock);
flushCompileCache();
process.exit(0);
