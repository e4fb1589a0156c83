import { readFileSync } from "node:fs";
import type { AgentSpec } from "@failstorm/core";
import { loadProtocol } from "@failstorm/protocols";
import { AgentProcess } from "./agentProcess.ts";

const specPath = process.argv[2];
if (specPath === undefined) {
  process.stderr.write("usage: node main.ts SPEC.json (an agent is started by the orchestrator)\n");
  process.exit(2);
}
const spec = JSON.parse(readFileSync(specPath, "utf8")) as AgentSpec;
const { protocol, protocolModule = protocol } = spec.config.scenario;
await new AgentProcess(spec, await loadProtocol(protocolModule)).run();
