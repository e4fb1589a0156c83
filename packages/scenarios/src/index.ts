import { InputError } from "@failstorm/core";
import { failStorm } from "./failStorm.ts";
import type { Scenario } from "./scenario.ts";

export { type CheckedRun, type CheckResult, checkRun, type Violation } from "./checker.ts";
export { failStorm } from "./failStorm.ts";
export { type CheckedQueue, checkQueue } from "./queue/checker.ts";
export { asQueueConfig, externalName, planQueue, type QueueFaults, type QueueRunConfig } from "./queue/plan.ts";
export type { BaseAgent } from "./meta/baseAgent.ts";
export type { ShardTask } from "./meta/coordinator.ts";
export type { TaskResult } from "./meta/message.ts";
export type { MetaNetworkMetrics } from "./meta/metaMetrics.ts";
export {
  type AgentPlacement,
  createFailstormMetaNetwork,
  type FailstormMetaNetwork,
  type MetaNetworkOptions,
  type OutboundAdapter,
  type Strike,
} from "./meta/network.ts";
export type { Scenario } from "./scenario.ts";

const SCENARIOS: readonly Scenario[] = [failStorm];

/** Throws InputError when there is none of this name. */
export function findScenario(name: string): Scenario {
  const found = SCENARIOS.find((scenario) => scenario.name === name);
  if (found === undefined)
    throw new InputError(
      `scenario.name: ${name} is no scenario; choose one of ${SCENARIOS.map((scenario) => scenario.name).join(", ")}`,
    );
  return found;
}
