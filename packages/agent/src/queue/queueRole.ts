import { type QueueSpec, RunError } from "@failstorm/core";
import { takeLlmKey } from "@failstorm/qa";
import type { Role, RoleParts } from "../role.ts";
import { loadEngine } from "./answerEngine.ts";
import { Coordinator } from "./coordinator.ts";
import { subCoordinator } from "./subCoordinator.ts";
import { Worker } from "./worker.ts";

/** A process of a queue, by its role. */
export function queueRole(parts: RoleParts<QueueSpec>): Role {
  const { role, config } = parts.spec;
  if (role === "worker") return new Worker(parts, () => loadEngine(parts));
  // Whoever only hands questions on has no use for it.
  takeLlmKey(process.env);
  if (config.queue === undefined) throw new RunError("NO_QUEUE", "a coordinator needs the configuration of a queue");
  return role === "coordinator" ? new Coordinator(parts, config.queue) : subCoordinator(parts, config.queue);
}
