export type { ExecuteOptions, Outcome, Timeouts } from "./execute.ts";
export { planFaults } from "./faultPlan.ts";
export type { Exit, LaunchedAgent, Launcher } from "./launcher/launcher.ts";
export { localLauncher } from "./launcher/local.ts";
export { describeMachine, type MachineDescription } from "./machine.ts";
export { type MergedEvents, mergeEvents } from "./mergeEvents.ts";
export { checkPorts, type PortChoice } from "./ports.ts";
export { killAllNow } from "./shutdown.ts";
export { execute } from "./stormFlow.ts";
