import { type Command, Option } from "commander";
import type { Entry } from "../config/entry.ts";
import { parseWord } from "../config/yamlFile.ts";
import { DEFAULT_SEED, QUEUE_SETTINGS as D } from "./settings.ts";

/** One option of `failstorm queue` and the key it sets. */
interface QueueOption {
  readonly flags: string;
  readonly key: string;
  readonly help: string;
  /** Taken as it stands. */
  readonly text?: true;
  /** May be given several times; the values are a list. */
  readonly list?: true;
}

const NETWORK: readonly QueueOption[] = [
  { flags: "-w, --workers <n>", key: "queue.workers", help: `worker processes to start (default: ${D.workers})` },
  {
    flags: "--worker <url>",
    key: "queue.external",
    list: true,
    help: "an agent that runs already, of this protocol (repeatable); without --workers no others are started",
  },
  {
    flags: "-p, --protocol <name>",
    key: "scenario.protocol",
    text: true,
    help: "a name from `failstorm protocols`, a module's path or a package (default: simple_json)",
  },
  {
    flags: "--topology <kind>",
    key: "queue.topology",
    text: true,
    help: `star, mesh, or layered: sub-coordinators with pools of their own (default: ${D.topology})`,
  },
  { flags: "--sub-coordinators <n>", key: "queue.sub_coordinators", help: `with layered (default: ${D.sub_coordinators})` },
  { flags: "--base-port <port>", key: "network.base_port", help: "first port; taken ones are skipped; 0 = any (default: 9000)" },
];

const WORK: readonly QueueOption[] = [
  {
    flags: "--questions <file|n|->",
    key: "queue.questions",
    text: true,
    help: `JSON Lines {"id", "q"}, a number to generate, or - for the standard input (default: ${D.count} generated)`,
  },
  {
    flags: "--skip-bad-lines",
    key: "queue.skip_bad_lines",
    help: "leave out lines that are no questions, and say which",
  },
  {
    flags: "--batch <n>",
    key: "queue.batch",
    help: "questions in one message, at most (default: auto, as many as a worker gives back at once)",
  },
  { flags: "--concurrency <n>", key: "queue.concurrency", help: `messages at one worker at a time (default: ${D.concurrency})` },
  { flags: "--rate <x>", key: "queue.rate", help: "questions due per second (default: as fast as workers are free)" },
  { flags: "--deadline <s>", key: "queue.deadline", help: `of one message, in seconds (default: ${D.deadline})` },
  { flags: "--attempts <n>", key: "queue.max_attempts", help: `messages a question may be in (default: ${D.max_attempts})` },
  {
    flags: "--engine <name>",
    key: "queue.engine",
    text: true,
    help: "what answers at our workers: corpus, echo, llm (default: llm when one is configured, else corpus)",
  },
  {
    flags: "--think-time <s>",
    key: "queue.think_time",
    help: `mean think time of a worker per question (default: ${D.think_time})`,
  },
  {
    flags: "--seed <n>",
    key: "scenario.seed",
    help: `same seed: same questions, victims, think times (default: ${DEFAULT_SEED})`,
  },
  { flags: "--time-scale <x>", key: "scenario.time_scale", help: "multiply every time together, for tests" },
];

const FAULTS: readonly QueueOption[] = [
  { flags: "--kill-fraction <x>", key: "queue.kill_fraction", help: "share of the started workers to SIGKILL (default: 0)" },
  { flags: "--kill-coordinator", key: "queue.kill_coordinator", help: "SIGKILL the coordinator, too" },
  { flags: "--fault-time <s>", key: "queue.fault_time", help: `when, after the start (default: ${D.fault_time})` },
  {
    flags: "--restart-after <s>",
    key: "queue.restart_after",
    help: `when the killed are started again (default: ${D.restart_after})`,
  },
];

const OUTPUT: readonly QueueOption[] = [
  { flags: "--results <dir>", key: "output.dir", text: true, help: "where run folders go (default: results)" },
  {
    flags: "--metrics-port <port>",
    key: "output.metrics_port",
    help: "serve the orchestrator's Prometheus metrics there (default: off)",
  },
];

const GROUPS: readonly (readonly [string, readonly QueueOption[]])[] = [
  ["The network:", NETWORK],
  ["The work:", WORK],
  ["The crash:", FAULTS],
  ["What comes out:", OUTPUT],
];

const collect = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];

/** Of what a queue can be told, what concerns a worker. */
const AGENT_KEYS = new Set(["scenario.protocol", "queue.engine", "queue.think_time", "scenario.seed", "scenario.time_scale"]);

export const addQueueOptions = (command: Command): Command => addOptions(command, () => true);

export const addAgentOptions = (command: Command): Command => addOptions(command, ({ key }) => AGENT_KEYS.has(key));

function addOptions(command: Command, isWanted: (option: QueueOption) => boolean): Command {
  for (const [heading, options] of GROUPS) {
    for (const { flags, help, list } of options.filter(isWanted)) {
      const option = new Option(flags, help).helpGroup(heading);
      if (list) option.argParser(collect);
      command.addOption(option);
    }
  }
  return command.addOption(
    new Option("--set <key=value>", "any key of configs/queue.yaml or configs/failstorm.yaml (repeatable)")
      .argParser(collect)
      .helpGroup("Configuration:"),
  );
}

/** What was said on the command line, as entries of the configuration. */
export function queueFlagEntries(command: Command): { flags: Entry[]; assignments: string[] } {
  const given = command.opts<Record<string, unknown>>();
  const flags: Entry[] = [];
  const say = (path: string, value: unknown, name: string): void =>
    void flags.push({ path, value, origin: { kind: "flag", name } });
  for (const { flags: text, key, ...option } of GROUPS.flatMap(([, group]) => group)) {
    const attribute = new Option(text).attributeName();
    if (command.getOptionValueSource(attribute) !== "cli") continue;
    const name = /--[a-z-]+/.exec(text)?.[0] ?? text;
    const value = given[attribute];
    if (key === "queue.questions" && /^\d+$/.test(String(value))) say("queue.count", Number(value), name);
    else say(key, option.text || option.list || typeof value !== "string" ? value : parseWord(value), name);
  }
  const isGiven = (path: string): boolean => flags.some((entry) => entry.path === path);
  // Agents that run already are enough, unless others are asked for.
  if (isGiven("queue.external") && !isGiven("queue.workers")) say("queue.workers", 0, "--worker");
  return { flags, assignments: (given["set"] as string[] | undefined) ?? [] };
}
