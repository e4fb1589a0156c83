import { readFileSync } from "node:fs";
import type { AgentSpec, QueueSpec } from "@failstorm/core";
import { loadProtocol } from "@failstorm/protocols";
import { AgentProcess } from "./agentProcess.ts";

const isShard = (spec: AgentSpec | QueueSpec): spec is AgentSpec => spec.role === undefined || spec.role === "shard";

const specPath = process.argv[2];
if (specPath === undefined) {
  process.stderr.write("usage: node main.ts SPEC.json (an agent is started by the orchestrator)\n");
  process.exit(2);
}
const spec = JSON.parse(readFileSync(specPath, "utf8")) as AgentSpec | QueueSpec;
const { protocol: name, protocolModule = name } = spec.config.scenario;
const protocol = await loadProtocol(protocolModule);
if (isShard(spec)) {
  const { shardRole } = await import("./shardRole.ts");
  await new AgentProcess(spec, protocol, shardRole).run();
} else {
  const { queueRole } = await import("./queue/queueRole.ts");
  await new AgentProcess(spec, protocol, queueRole).run();
}
