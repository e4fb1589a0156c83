import { InputError } from "@failstorm/core";
import { type Command, Option } from "commander";
import { DEFAULTS } from "./config/defaults.ts";
import type { Entry } from "./config/entry.ts";
import { parseWord } from "./config/yamlFile.ts";

/** One option of the command line and the key of the configuration it sets. */
interface ConfigOption {
  readonly flags: string;
  readonly key: string;
  readonly help: string;
  /** `text`: taken as it stands (paths, names); else read as in a YAML file. */
  readonly text?: true;
  /** What the option's presence (a flag without argument) or text means, where it is not the value itself. */
  readonly toValue?: (given: string | boolean) => unknown;
  readonly hidden?: true;
}

const { scenario, network, tasks, qa, output } = DEFAULTS;
const s = (seconds: number): string => `${seconds} s`;

const STORM: readonly ConfigOption[] = [
  {
    flags: "-n, --agents <n>",
    key: "scenario.agent_count",
    help: `how many agent processes, 1 to 1000 (default: ${scenario.agent_count})`,
  },
  { flags: "--agent-count <n>", key: "scenario.agent_count", help: "the same as --agents" },
  {
    flags: "-p, --protocol <name>",
    key: "scenario.protocol",
    text: true,
    help: `a name from \`failstorm protocols\`, a module's path or a package (default: ${scenario.protocol})`,
  },
  {
    flags: "--kill-fraction <x>",
    key: "scenario.kill_fraction",
    help: `share of the agents to kill, 0 to 1; 0 = the same run without a fault (default: ${scenario.kill_fraction})`,
  },
  { flags: "--kill-count <n>", key: "scenario.kill_count", help: "how many agents to kill, instead of a share" },
  {
    flags: "--kill-protocol <name>",
    key: "scenario.kill_protocol",
    text: true,
    help: "in a network of several protocols: kill only agents that host this one; share and count are of those",
  },
  {
    flags: "--fault <kind>",
    key: "scenario.fault",
    text: true,
    help: `sigkill, sigstop (SIGCONT at the end) or sigterm (default: ${scenario.fault})`,
  },
  {
    flags: "--fake-fault",
    key: "scenario.fake_fault",
    help: "record the fault's marker and kill nobody (a check of the measures)",
  },
  {
    flags: "--seed <n>",
    key: "scenario.seed",
    help: "same seed: same questions, victims, think times (default: random, printed)",
  },
];

const TIMELINE: readonly ConfigOption[] = [
  { flags: "--runtime <s>", key: "scenario.runtime", help: `length of the run (default: ${s(scenario.runtime)})` },
  { flags: "--fault-time <s>", key: "scenario.fault_time", help: "when the storm strikes (default: half of the runtime)" },
  {
    flags: "--restart-after <s>",
    key: "scenario.restart_after",
    help: "victims are started again this long after the fault (default: 20 s, or a third of what is left; not with sigstop)",
  },
  { flags: "--no-restart", key: "scenario.restart_after", help: "victims stay dead", toValue: () => "never" },
  { flags: "--cycles <n>", key: "scenario.cycles", help: `how many storms (default: ${scenario.cycles})` },
  {
    flags: "--cycle-interval <s>",
    key: "scenario.cycle_interval",
    help: "from one storm to the next (default: what is left after the first, shared evenly)",
  },
  {
    flags: "--time-scale <x>",
    key: "scenario.time_scale",
    help: "multiply every time together but not the rate, for tests; measures that need full windows are then null",
  },
];

const NETWORK: readonly ConfigOption[] = [
  {
    flags: "--topology <kind>",
    key: "network.topology",
    text: true,
    help: `mesh, ring, star or custom (network.custom_edges) (default: ${network.topology})`,
  },
  { flags: "--redundancy-level <n>", key: "network.redundancy_level", help: "further holders of each shard, warm (default: 1)" },
  {
    flags: "--base-port <port>",
    key: "network.base_port",
    help: `first port; taken ones are skipped; 0 = any (default: ${network.base_port})`,
  },
  {
    flags: "--heartbeat-interval <s>",
    key: "network.heartbeat_interval",
    help: `between two probes of a peer (default: ${s(network.heartbeat_interval)})`,
  },
  {
    flags: "--heartbeat-timeout <s>",
    key: "network.heartbeat_timeout",
    help: "silence that means death (default: 3 s; of swim, 3 times the interval)",
  },
  {
    flags: "--detector <kind>",
    key: "network.detector",
    text: true,
    help: `heartbeat, phi-accrual or swim (default: ${network.detector})`,
  },
  {
    flags: "--monitors <who>",
    key: "network.monitors",
    help: "whom an agent probes: all, that many ring successors, or auto: its links, above 32 agents 3 successors (default: auto)",
  },
  {
    flags: "--transport-signals",
    key: "network.transport_signals",
    help: "act upon connections the kernel closes; else they are only recorded",
  },
];

const WORK: readonly ConfigOption[] = [
  { flags: "--rate <x>", key: "tasks.rate", help: `tasks per second and agent (default: ${tasks.rate})` },
  { flags: "--deadline <s>", key: "tasks.deadline", help: `of a task, from its intended start (default: ${s(tasks.deadline)})` },
  {
    flags: "--think-time <s>",
    key: "tasks.think_time",
    help: `mean think time of a step, 0 = none (default: ${s(tasks.think_time)})`,
  },
  { flags: "--ttl <n>", key: "tasks.ttl", help: `hops a relayed message may take (default: ${tasks.ttl})` },
  { flags: "--corpus <dir>", key: "qa.corpus", text: true, help: "sharded JSONL questions instead of the generated ones" },
  { flags: "--document <file>", key: "qa.document", text: true, help: "a plain text to ask about; with --questions FILE" },
  {
    flags: "--questions <n|file>",
    key: "qa.questions",
    text: true,
    help: `how many to generate (default: ${qa.question_count}), or a JSONL file about --document`,
  },
  { flags: "--hops <list>", key: "qa.hops", text: true, help: `hops of the generated questions (default: ${qa.hops.join(",")})` },
];

const OUTPUT: readonly ConfigOption[] = [
  { flags: "--results <dir>", key: "output.dir", text: true, help: `where run folders go (default: ${output.dir})` },
  {
    flags: "--metrics-port <port>",
    key: "output.metrics_port",
    help: "serve the orchestrator's Prometheus metrics there (default: off)",
  },
  { flags: "--debug", key: "logging.level", help: "say more, on the terminal and in the logs", toValue: () => "debug" },
  { flags: "--mutant <name>", key: "mutants", text: true, help: "break one mechanism (repeatable)", hidden: true },
];

const GROUPS: readonly (readonly [string, readonly ConfigOption[]])[] = [
  ["The storm:", STORM],
  ["The timeline (seconds):", TIMELINE],
  ["The network (times in seconds):", NETWORK],
  ["The work (times in seconds):", WORK],
  ["What comes out:", OUTPUT],
];

const collect = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];

/** Adds every option that sets a key of the configuration, in groups, and `--set`. */
export function addConfigOptions(command: Command): Command {
  for (const [heading, options] of GROUPS) {
    for (const { flags, help, hidden } of options) {
      const option = new Option(flags, help).helpGroup(heading);
      if (hidden) option.hideHelp().argParser(collect);
      command.addOption(option);
    }
  }
  return command.addOption(
    new Option("--set <key=value>", "any key of configs/failstorm.yaml (repeatable)")
      .argParser(collect)
      .helpGroup("Configuration:"),
  );
}

const longName = (flags: string): string => /--[a-z-]+/.exec(flags)?.[0] ?? flags;

function valueOf(option: ConfigOption, given: unknown): unknown {
  if (option.toValue !== undefined) return option.toValue(given as string | boolean);
  if (typeof given !== "string" || option.text || given === "") return given;
  return parseWord(given);
}

/** What was said on the command line, as entries of the configuration. */
export function flagEntries(command: Command): { flags: Entry[]; assignments: string[] } {
  const flags: Entry[] = [];
  const options = command.opts<Record<string, unknown>>();
  for (const option of GROUPS.flatMap(([, group]) => group)) {
    const name = longName(option.flags);
    const attribute = new Option(option.flags).attributeName();
    const negated = name.startsWith("--no-");
    if (command.getOptionValueSource(attribute) !== "cli") continue;
    const isCount = option.key === "qa.questions" && /^\d+$/.test(String(options[attribute]));
    const key = isCount ? "qa.question_count" : option.key;
    const given = isCount ? Number(options[attribute]) : options[attribute];
    if (negated && given !== false) continue;
    flags.push({ path: key, value: valueOf(option, given), origin: { kind: "flag", name } });
  }
  return { flags, assignments: (options["set"] as string[] | undefined) ?? [] };
}

/** Options before a command's word are those of a run: the command would not see them. Throws InputError. */
export function rejectOptionsBefore(program: Command, command: Command): void {
  for (const option of program.options) {
    const attribute = option.attributeName();
    // Whether there are colours is looked up in the whole command line.
    if (attribute === "color" || program.getOptionValueSource(attribute) !== "cli") continue;
    const name = command.name();
    throw new InputError(
      `${option.long ?? option.flags}: stands before ${name}, which would not see it; write failstorm ${name} first and its options after that`,
    );
  }
}
