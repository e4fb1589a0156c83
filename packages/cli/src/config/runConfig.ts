import { agentId, type RunConfig } from "@failstorm/core";
import { toLlmConfig } from "./llm.ts";
import type { ResolvedSettings } from "./settings.ts";

const roundToMicroseconds = (ms: number): number => Math.round(ms * 1000) / 1000;

/** The protocol of a run, found and checked. */
interface ResolvedProtocol {
  readonly name: string;
  readonly module: string;
  /** Its section, unchecked. */
  readonly config: unknown;
  /** Which protocols each agent hosts; null where all speak this one. */
  readonly hosts: readonly (readonly string[])[] | null;
}

/**
 * Settings in seconds → the RunConfig in ms. The time scale multiplies every time together. The rate stays: more tasks a second
 * would saturate the machine and measure it, so a scaled run has fewer tasks, and measures that need many are null.
 */
export function toRunConfig(settings: ResolvedSettings, protocol: ResolvedProtocol): RunConfig {
  const { scenario, network, tasks, qa, logging, output, mutants } = settings;
  const scale = scenario.time_scale;
  const ms = (seconds: number): number => roundToMicroseconds(seconds * 1000 * scale);
  const msOrNull = (seconds: number | null): number | null => (seconds === null ? null : ms(seconds));
  return {
    scenario: {
      name: scenario.name,
      protocol: protocol.name,
      ...(protocol.module === protocol.name ? {} : { protocolModule: protocol.module }),
      ...(protocol.hosts === null ? {} : { hosts: protocol.hosts }),
      ...(scenario.kill_protocol === null ? {} : { killProtocol: scenario.kill_protocol }),
      agentCount: scenario.agent_count,
      killFraction: scenario.kill_count === "auto" ? scenario.kill_fraction : scenario.victims / scenario.targets,
      killCount: scenario.victims,
      fault: scenario.fault,
      fakeFault: scenario.fake_fault,
      faultTimeMs: ms(scenario.fault_time),
      runtimeMs: ms(scenario.runtime),
      warmupMs: ms(scenario.warmup),
      recoveryDurationMs: msOrNull(scenario.recovery_duration),
      restartAfterMs: msOrNull(scenario.restart_after),
      cycles: scenario.cycles,
      cycleIntervalMs: ms(scenario.cycle_interval),
      seed: scenario.seed,
      timeScale: scale,
    },
    network: {
      topology: network.topology,
      customEdges: network.custom_edges.map(([a, b]) => [agentId(a), agentId(b)] as const),
      redundancyLevel: network.redundancy_level,
      basePort: network.base_port,
      // Whole: deadlines of requests take no fraction of a millisecond.
      connectionTimeoutMs: Math.ceil(ms(network.connection_timeout)),
      heartbeatIntervalMs: ms(network.heartbeat_interval),
      heartbeatTimeoutMs: ms(network.heartbeat_timeout),
      detector: network.detector,
      monitors: network.monitors,
      transportSignals: network.transport_signals,
      ...(network.adaptive ? { adaptive: true } : {}),
      ...(network.predictive ? { predictive: true } : {}),
      ledgerSyncMs: ms(network.ledger_sync),
    },
    tasks: {
      rate: tasks.rate,
      deadlineMs: ms(tasks.deadline),
      thinkTimeMs: ms(tasks.think_time),
      ttl: tasks.ttl,
      attemptTimeoutMs: Math.ceil(ms(tasks.attempt_timeout)),
    },
    qa: {
      source: qa.corpus !== null ? "corpus" : qa.document !== null ? "document" : "generated",
      corpus: qa.corpus,
      document: qa.document,
      questions: qa.questions,
      questionCount: qa.question_count,
      hops: qa.hops,
      passages: qa.passages,
      topK: qa.top_k,
    },
    llm: toLlmConfig(settings.llm, ms),
    protocolConfig: protocol.config,
    logging: { level: logging.level },
    output: { dir: output.dir, metricsPort: output.metrics_port },
    mutants,
  };
}
