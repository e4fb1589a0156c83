import { type BackendContext, hostedById, type ProcessSpec, type Protocol } from "@failstorm/core";
import type { RoleParts } from "./role.ts";

/** What a protocol's backend is given by this process. */
export const backendContext = (
  parts: Pick<RoleParts<ProcessSpec>, "spec" | "self" | "clock" | "prng" | "recorder" | "client">,
  protocol: Protocol,
  capabilities: () => readonly string[],
): BackendContext => ({
  describeSelf: () => ({ agentId: parts.self.agentId, incarnation: parts.self.incarnation, capabilities: capabilities() }),
  selfAddress: () => ({ host: parts.self.host, port: parts.self.port }),
  client: parts.client,
  onDeduplicated: (messageId) => {
    const [task, step] = messageId.split("/");
    if (task !== undefined && step !== undefined) parts.recorder.event({ ev: "step.deduplicated", task, step });
  },
  hosts: hostedById(parts.spec.config.scenario),
  onRoute: (choice) => parts.recorder.event({ ev: "route.chosen", ...choice }),
  clock: parts.clock,
  timeScale: parts.spec.config.scenario.timeScale,
  prng: parts.prng.fork("protocol"),
  workspaceDir: parts.spec.workspaceDir,
  config: protocol.parseConfig(parts.spec.config.protocolConfig),
});
