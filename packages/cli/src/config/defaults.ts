/**
 * Every default, in the units of the configuration file (times in seconds). `auto` values depend on others:
 * fault_time = runtime / 2; warmup = fault_time / 2; restart_after = 20 s, or a third of the time that is left if that is less (never of sigstop);
 * recovery_duration = to the end; cycle_interval = what is left after the first fault, shared evenly;
 * heartbeat_timeout = 3 s, or 3 intervals of swim; redundancy_level = 1 (0 for a single agent); attempt_timeout = 4 s, or 13 mean think
 * times if that is more; where a model thinks, the time for one request to it if that is more.
 */
export const DEFAULTS = {
  scenario: {
    name: "fail-storm",
    protocol: "simple_json",
    agent_count: 8,
    kill_fraction: 0.3,
    kill_count: "auto",
    kill_protocol: null,
    fault: "sigkill",
    fake_fault: false,
    runtime: 120,
    fault_time: "auto",
    warmup: "auto",
    recovery_duration: "auto",
    restart_after: "auto",
    cycles: 1,
    cycle_interval: "auto",
    seed: "random",
    time_scale: 1,
  },
  network: {
    topology: "mesh",
    custom_edges: [] as (readonly [number, number])[],
    redundancy_level: "auto",
    base_port: 9000,
    connection_timeout: 10,
    heartbeat_interval: 1,
    heartbeat_timeout: "auto",
    detector: "heartbeat",
    monitors: "auto",
    transport_signals: false,
    adaptive: false,
    predictive: false,
    ledger_sync: 1,
  },
  tasks: { rate: 2, deadline: 10, think_time: 0.3, ttl: 15, attempt_timeout: "auto" },
  qa: { corpus: null, document: null, questions: null, question_count: 2000, hops: [2, 3], passages: 2000, top_k: 5 },
  llm: {
    type: null,
    model: null,
    base_url: null,
    api_key: null,
    max_tokens: 1024,
    temperature: null,
    timeout: 30,
    retries: 2,
    requests_per_minute: null,
    stream: true,
    max_rounds: 6,
    prices: [] as { model: string; prompt: number; completion: number }[],
  },
  logging: { level: "info" },
  output: { dir: "results", metrics_port: null },
  mutants: [] as string[],
} as const;

export const RESTART_AFTER_SECONDS = 20;
export const ATTEMPT_TIMEOUT_SECONDS = 4;
/** P(think time > 13 means) = e^-13 = 2e-6: an attempt is practically never given up because its executor thinks long. */
export const ATTEMPT_TIMEOUT_THINK_TIMES = 13;
