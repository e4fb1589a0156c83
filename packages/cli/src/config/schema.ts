import { MUTANTS } from "@failstorm/core";
import { z } from "zod";
import { DEFAULTS } from "./defaults.ts";
import { llmSchema } from "./llm.ts";

/*
 * The shape of a configuration file. Each message completes the sentence "<option> <value>: …" and says what would be right.
 */
const number = (min: number, max: number, example: string) => {
  const error = `must be a number from ${min} to ${max}, for example ${example}`;
  return z.number({ error }).min(min, { error }).max(max, { error });
};
const integer = (min: number, max: number, example: string) => {
  const error = `must be a whole number from ${min} to ${max}, for example ${example}`;
  return z.number({ error }).int({ error }).min(min, { error }).max(max, { error });
};
const seconds = (min: number, max: number, example: string) => {
  const error = `must be a number of seconds from ${min} to ${max}, for example ${example}`;
  return z.number({ error }).min(min, { error }).max(max, { error });
};
/** One of some words, or what `other` accepts; null in a file means the first of the words. */
const wordOr = <W extends string, T extends z.ZodType>(words: readonly [W, ...W[]], other: T, what: string) => {
  const error = `must be ${words.map((word) => `"${word}"`).join(" or ")} or ${what}`;
  const word = z.union([z.literal(words), z.null().transform(() => words[0])], { error });
  return z.union([word, other], { error });
};
const choice = <W extends string>(words: readonly [W, ...W[]]) =>
  z.enum(words, { error: `must be ${words.length > 1 ? `one of ${words.join(", ")}` : words[0]}` });
const flag = z.boolean({ error: "must be true or false" });
const text = z.union([z.string().min(1), z.number().transform(String)], { error: "must be a text that is not empty" });
const path = z.union([text, z.null()], { error: "must be a path" });

const hopsError = "must be a list of whole numbers from 1 to 4, for example 2,3";
const hops = z.preprocess(
  (value) => {
    if (typeof value === "number") return [value];
    return typeof value === "string" ? value.split(",").map(Number) : value;
  },
  z
    .array(z.number({ error: hopsError }).int({ error: hopsError }).min(1, { error: hopsError }).max(4, { error: hopsError }), {
      error: hopsError,
    })
    .min(1, { error: hopsError }),
);

const edgeError = "must be a list of pairs of agents, for example [[0, 1], [1, 2], [agent-2, agent-3]]";
const edgeEnd = z.preprocess(
  (value) => (typeof value === "string" && /^agent-\d+$/.test(value) ? Number(value.slice("agent-".length)) : value),
  z.number({ error: edgeError }).int({ error: edgeError }).min(0, { error: edgeError }),
);
const edges = z.array(z.tuple([edgeEnd, edgeEnd], { error: edgeError }), { error: edgeError });

const { scenario, network, tasks, qa, logging, output } = DEFAULTS;
const MAX_SECONDS = 86_400;

const scenarioSchema = z.strictObject({
  name: text.default(scenario.name),
  protocol: text.default(scenario.protocol),
  agent_count: integer(1, 1000, "8").default(scenario.agent_count),
  kill_fraction: number(0, 1, "0.3").default(scenario.kill_fraction),
  kill_count: wordOr(["auto"], integer(0, 999, "2"), "a whole number from 0 to 999, for example 2").default(scenario.kill_count),
  kill_protocol: z
    .union([text, z.null()], { error: "must be a protocol that some agents host, for example anp" })
    .default(scenario.kill_protocol),
  fault: choice(["sigkill", "sigstop", "sigterm"]).default(scenario.fault),
  fake_fault: flag.default(scenario.fake_fault),
  runtime: seconds(1, MAX_SECONDS, "120").default(scenario.runtime),
  fault_time: wordOr(["auto"], seconds(0.1, MAX_SECONDS, "60"), "seconds above 0, for example 60").default(scenario.fault_time),
  warmup: wordOr(["auto"], seconds(0, MAX_SECONDS, "30"), "seconds from 0 up, for example 30").default(scenario.warmup),
  recovery_duration: wordOr(["auto"], seconds(0.1, MAX_SECONDS, "60"), "seconds above 0, for example 60").default(
    scenario.recovery_duration,
  ),
  restart_after: wordOr(["auto", "never"], seconds(0, MAX_SECONDS, "20"), "seconds from 0 up, for example 20").default(
    scenario.restart_after,
  ),
  cycles: integer(1, 1000, "1").default(scenario.cycles),
  cycle_interval: wordOr(["auto"], seconds(0.1, MAX_SECONDS, "30"), "seconds above 0, for example 30").default(
    scenario.cycle_interval,
  ),
  seed: wordOr(["random"], integer(0, 2 ** 32 - 1, "42"), "a whole number from 0 to 4294967295, for example 42").default(
    scenario.seed,
  ),
  time_scale: number(0.01, 100, "0.1").default(scenario.time_scale),
});

const networkSchema = z.strictObject({
  topology: choice(["mesh", "ring", "star", "custom"]).default(network.topology),
  custom_edges: edges.default([]),
  redundancy_level: wordOr(["auto"], integer(0, 999, "1"), "a whole number from 0 to 999, for example 1").default(
    network.redundancy_level,
  ),
  base_port: integer(0, 65_535, "9000 (0 = any free port)").default(network.base_port),
  connection_timeout: seconds(0.01, 600, "10").default(network.connection_timeout),
  heartbeat_interval: seconds(0.01, 600, "1").default(network.heartbeat_interval),
  heartbeat_timeout: wordOr(["auto"], seconds(0.01, 3600, "3"), "seconds above 0, for example 3").default(
    network.heartbeat_timeout,
  ),
  detector: choice(["heartbeat", "phi-accrual", "swim"]).default(network.detector),
  monitors: wordOr(["auto", "all"], integer(1, 999, "3"), "a number of ring successors from 1 to 999, for example 3").default(
    network.monitors,
  ),
  transport_signals: flag.default(network.transport_signals),
  adaptive: flag.default(network.adaptive),
  predictive: flag.default(network.predictive),
  ledger_sync: seconds(0.01, 600, "1").default(network.ledger_sync),
});

const tasksSchema = z.strictObject({
  rate: number(0.0001, 1000, "2").default(tasks.rate),
  deadline: seconds(0.01, 3600, "10").default(tasks.deadline),
  think_time: seconds(0, 3600, "0.3").default(tasks.think_time),
  ttl: integer(1, 1000, "15").default(tasks.ttl),
  attempt_timeout: wordOr(["auto"], seconds(0.01, 3600, "4"), "seconds above 0, for example 4").default(tasks.attempt_timeout),
});

const qaSchema = z.strictObject({
  corpus: path.default(qa.corpus),
  document: path.default(qa.document),
  questions: path.default(qa.questions),
  question_count: integer(1, 1_000_000, "2000").default(qa.question_count),
  hops: hops.default([...qa.hops]),
  passages: integer(1, 1_000_000, "2000").default(qa.passages),
  top_k: integer(1, 100, "5").default(qa.top_k),
});

/** The sections every configuration has. */
const sections = {
  scenario: scenarioSchema.prefault({}),
  network: networkSchema.prefault({}),
  tasks: tasksSchema.prefault({}),
  qa: qaSchema.prefault({}),
  llm: llmSchema.prefault({}),
  logging: z.strictObject({ level: choice(["debug", "info", "warning", "error"]).default(logging.level) }).prefault({}),
  output: z
    .strictObject({
      dir: text.default(output.dir),
      metrics_port: z
        .union([integer(1, 65_535, "9464"), z.null()], { error: "must be a port from 1 to 65535, for example 9464" })
        .default(output.metrics_port),
    })
    .prefault({}),
  mutants: z
    .array(z.enum(MUTANTS, { error: `must be one of ${MUTANTS.join(", ")}` }), { error: "must be a list of names" })
    .default([]),
};
const settingsSchema = z.strictObject(sections);
export type Settings = z.output<typeof settingsSchema>;

export const SECTION_NAMES: readonly string[] = Object.keys(sections);
/** `scenario.seed`, …: every key there is, for suggestions and for the environment. */
export const KNOWN_KEYS: readonly string[] = Object.entries(DEFAULTS).flatMap(([section, keys]) =>
  Array.isArray(keys) ? [section] : Object.keys(keys).map((key) => `${section}.${key}`),
);

/** Checks everything but the protocols' sections. */
export const parseSettings = (value: unknown): z.ZodSafeParseResult<Settings> => settingsSchema.safeParse(value);
