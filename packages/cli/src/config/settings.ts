import { randomInt } from "node:crypto";
import { defaultTimeoutMs, InputError } from "@failstorm/core";
import { ATTEMPT_TIMEOUT_SECONDS, ATTEMPT_TIMEOUT_THINK_TIMES, DEFAULTS, RESTART_AFTER_SECONDS } from "./defaults.ts";
import { type Entry, nameEntry } from "./entry.ts";
import { parseSettings, type Settings } from "./schema.ts";

type Scenario = Settings["scenario"];

/** Settings without an `auto` left; times in seconds, not yet scaled. `restart_after`, `recovery_duration`: null = never, to the end. */
export interface ResolvedSettings extends Omit<Settings, "scenario" | "network" | "tasks"> {
  readonly scenario: Omit<
    Scenario,
    "fault_time" | "warmup" | "recovery_duration" | "restart_after" | "cycle_interval" | "seed"
  > & {
    /** How many agents the storm may choose from: all, or those that host `kill_protocol`. */
    readonly targets: number;
    readonly victims: number;
    readonly fault_time: number;
    readonly warmup: number;
    readonly recovery_duration: number | null;
    readonly restart_after: number | null;
    readonly cycle_interval: number;
    readonly seed: number;
  };
  /** Whether the seed was given, not drawn. */
  readonly seedGiven: boolean;
  readonly network: Omit<Settings["network"], "redundancy_level" | "heartbeat_timeout"> & {
    readonly redundancy_level: number;
    readonly heartbeat_timeout: number;
  };
  readonly tasks: Omit<Settings["tasks"], "attempt_timeout"> & { readonly attempt_timeout: number };
}

/** The entry a message about `path` should name: what was given, or the default. */
function nameOf(path: string, value: unknown, entries: ReadonlyMap<string, Entry>): string {
  const entry = entries.get(path);
  return entry === undefined ? `${path} ${String(value)} (default)` : nameEntry(entry);
}

/** Checks each value by itself; throws InputError with one line per problem, each naming option (or file and line), value, remedy. */
export function checkValues(tree: unknown, entries: ReadonlyMap<string, Entry>): Settings {
  const parsed = parseSettings(tree);
  if (parsed.success) return parsed.data;
  const lines = new Set<string>();
  for (const issue of parsed.error.issues) {
    const path = issue.path.map(String);
    // A problem inside a list is a problem of the list: that is what has a place.
    const owner = [path, path.slice(0, 2), path.slice(0, 1)]
      .map((keys) => entries.get(keys.join(".")))
      .find((entry) => entry !== undefined);
    lines.add(`${owner === undefined ? path.join(".") : nameEntry(owner)}: ${issue.message}`);
  }
  throw new InputError([...lines].join("\n"));
}

/** A fraction is one of the agents the storm may choose from; one agent of the network survives, whatever was asked for. */
const countVictims = ({ agent_count, kill_fraction, kill_count }: Scenario, targets: number): number => {
  const wanted = kill_count === "auto" ? (kill_fraction > 0 ? Math.max(1, Math.round(kill_fraction * targets)) : 0) : kill_count;
  return Math.min(wanted, targets, agent_count - 1);
};

/**
 * Fills in every `auto` (rules: defaults.ts). `drawSeed` is asked when no seed was given; `targets` is how many agents the storm may
 * choose from (default: all).
 */
export function fillIn(
  settings: Settings,
  drawSeed: () => number = () => randomInt(2 ** 32),
  targets: number = settings.scenario.agent_count,
): ResolvedSettings {
  const { scenario, network, tasks } = settings;
  const fault_time = scenario.fault_time === "auto" ? scenario.runtime / 2 : scenario.fault_time;
  const left = scenario.runtime - fault_time;
  const cycle_interval = scenario.cycle_interval === "auto" ? left / scenario.cycles : scenario.cycle_interval;
  const lastFault = fault_time + (scenario.cycles - 1) * cycle_interval;
  const cycleLeft = scenario.cycles > 1 ? Math.min(cycle_interval, scenario.runtime - lastFault) : scenario.runtime - lastFault;
  // Whoever was only stopped is not started again.
  const autoRestart = scenario.fault === "sigstop" ? null : Math.min(RESTART_AFTER_SECONDS, cycleLeft / 3);
  const restart = { auto: autoRestart, never: null } as const;
  const thinking = settings.llm.type === null ? ATTEMPT_TIMEOUT_THINK_TIMES * tasks.think_time : settings.llm.timeout;
  return {
    ...settings,
    seedGiven: scenario.seed !== "random",
    scenario: {
      ...scenario,
      targets,
      victims: countVictims(scenario, targets),
      fault_time,
      warmup: scenario.warmup === "auto" ? fault_time / 2 : scenario.warmup,
      recovery_duration: scenario.recovery_duration === "auto" ? null : scenario.recovery_duration,
      restart_after: typeof scenario.restart_after === "number" ? scenario.restart_after : restart[scenario.restart_after],
      cycle_interval,
      seed: scenario.seed === "random" ? drawSeed() : scenario.seed,
    },
    network: {
      ...network,
      heartbeat_timeout:
        network.heartbeat_timeout === "auto"
          ? defaultTimeoutMs(network.detector, network.heartbeat_interval * 1000) / 1000
          : network.heartbeat_timeout,
      redundancy_level: network.redundancy_level === "auto" ? Math.min(1, scenario.agent_count - 1) : network.redundancy_level,
    },
    tasks: {
      ...tasks,
      attempt_timeout:
        tasks.attempt_timeout === "auto"
          ? Math.min(tasks.deadline, Math.max(ATTEMPT_TIMEOUT_SECONDS, thinking))
          : tasks.attempt_timeout,
    },
  };
}

type Findings = { readonly problems: string[]; readonly notes: string[] };
type Check = (settings: ResolvedSettings, name: (path: string, value: unknown) => string, findings: Findings) => void;

const checkVictims: Check = ({ scenario }, name, { problems, notes }) => {
  const { agent_count: n, kill_count, kill_fraction, kill_protocol, targets, victims, cycles, fault } = scenario;
  const wanted = kill_count === "auto" ? Math.round(kill_fraction * targets) : kill_count;
  if (n === 1 && wanted + kill_fraction > 0) notes.push("one agent: nobody is killed, as nobody would survive");
  else if (kill_count !== "auto" && kill_count > n - 1)
    problems.push(`${name("scenario.kill_count", kill_count)}: of ${n} agents at most ${n - 1} can be killed, one must survive`);
  else if (kill_count !== "auto" && kill_count > targets)
    problems.push(`${name("scenario.kill_count", kill_count)}: only ${targets} agents host ${kill_protocol}; give at most that`);
  else if (wanted > victims)
    notes.push(`a fraction of ${kill_fraction} would be all ${n} agents: ${victims} are killed, one must survive`);
  const mortal = Math.min(targets, n - 1);
  if (cycles > 1 && (scenario.restart_after === null || fault === "sigstop") && victims * cycles > mortal)
    problems.push(
      `${name("scenario.cycles", cycles)}: ${cycles} × ${victims} victims that are ${fault === "sigstop" ? "continued only at the end" : "never restarted"} are more than ${mortal} of ${n} agents; ${fault === "sigstop" ? "give" : "restart them (--restart-after), or give"} fewer cycles or victims`,
    );
};

const checkTimeline: Check = ({ scenario, network, tasks }, name, { problems, notes }) => {
  const { runtime, fault, fault_time, cycles, cycle_interval, restart_after, recovery_duration, warmup } = scenario;
  if (fault === "sigstop" && restart_after !== null)
    problems.push(
      `${name("scenario.restart_after", restart_after)}: victims of sigstop are the same processes all along, continued at the end of the run; leave it out, or strike with --fault sigkill`,
    );
  const last = fault_time + (cycles - 1) * cycle_interval;
  if (fault_time >= runtime)
    problems.push(
      `${name("scenario.fault_time", fault_time)}: the fault would come at ${fault_time} s, not before the end of the run (${name("scenario.runtime", runtime)}); give an earlier --fault-time or a longer --runtime`,
    );
  else if (last >= runtime)
    problems.push(
      `${name("scenario.cycles", cycles)}: the last fault would come at ${last} s, not before the end of the run (${runtime} s); give fewer --cycles, a shorter --cycle-interval or a longer --runtime`,
    );
  else {
    const room = runtime - last;
    if (restart_after !== null && restart_after >= room)
      problems.push(
        `${name("scenario.restart_after", restart_after)}: victims would be restarted ${restart_after} s after the fault at ${last} s, not before the end of the run (${runtime} s); give less than ${room}, or --no-restart`,
      );
    if (recovery_duration !== null && recovery_duration > room)
      problems.push(
        `${name("scenario.recovery_duration", recovery_duration)}: only ${room} s are left after the last fault at ${last} s; give at most that, or a longer --runtime`,
      );
    const noticed = network.heartbeat_timeout + network.heartbeat_interval;
    if (scenario.victims > 0 && room <= noticed && !network.transport_signals)
      notes.push(
        `only ${room} s are left after the last fault at ${last} s: heartbeats may take ${noticed} s to notice it, and most measures will not be reached; give an earlier --fault-time or a longer --runtime`,
      );
  }
  if (cycles > 1 && restart_after !== null && restart_after >= cycle_interval)
    problems.push(
      `${name("scenario.restart_after", restart_after)}: victims must be back before the next fault, ${cycle_interval} s later; give less than ${cycle_interval}, or --no-restart`,
    );
  if (warmup >= fault_time)
    problems.push(
      `${name("scenario.warmup", warmup)}: must end before the fault at ${fault_time} s; give less than ${fault_time}`,
    );
  else if (warmup >= fault_time - tasks.deadline)
    notes.push(
      `no task is intended between the warm-up's end (${warmup} s) and a deadline before the fault (${fault_time - tasks.deadline} s): there is no goodput before the fault to compare with`,
    );
};

const checkTimeouts: Check = ({ network, tasks, llm }, name, { problems }) => {
  const { heartbeat_interval, heartbeat_timeout } = network;
  if (heartbeat_timeout <= heartbeat_interval)
    problems.push(
      `${name("network.heartbeat_timeout", heartbeat_timeout)}: must be longer than the heartbeat interval (${heartbeat_interval} s), for example ${heartbeat_interval * 3}`,
    );
  if (llm.type === null && tasks.attempt_timeout <= tasks.think_time)
    problems.push(
      `${name("tasks.attempt_timeout", tasks.attempt_timeout)}: must be longer than the mean think time (${tasks.think_time} s), else most attempts are given up; give a longer attempt_timeout or deadline`,
    );
};

/** Whether every agent can be reached over the edges: the document could not spread otherwise. */
function isConnected(agents: number, edges: readonly (readonly [number, number])[]): boolean {
  const reached = new Set([0]);
  for (let before = -1; before !== reached.size; ) {
    before = reached.size;
    for (const [a, b] of edges) {
      if (reached.has(a)) reached.add(b);
      if (reached.has(b)) reached.add(a);
    }
  }
  return reached.size === agents;
}

const checkNetwork: Check = ({ scenario, network, tasks }, name, { problems, notes }) => {
  const n = scenario.agent_count;
  const farthest = Math.floor(n / 2);
  const { base_port, topology, custom_edges, redundancy_level, monitors } = network;
  if (base_port > 0 && base_port + n - 1 > 65_535)
    problems.push(
      `${name("network.base_port", base_port)}: ${n} agents need ports up to ${base_port + n - 1}; give at most ${65_536 - n}, or 0 for any`,
    );
  if (redundancy_level > n - 1)
    problems.push(
      `${name("network.redundancy_level", redundancy_level)}: a shard of ${n} agents can have at most ${n - 1} further holders`,
    );
  if (typeof monitors === "number" && monitors > Math.max(1, n - 1))
    problems.push(`${name("network.monitors", monitors)}: an agent of ${n} can monitor at most ${n - 1} others`);
  if (topology === "ring" && tasks.ttl < farthest)
    notes.push(
      `${name("tasks.ttl", tasks.ttl)}: on a ring of ${n} agents the farthest is ${farthest} hops away, and its shard could not be looked up; give --ttl ${farthest}`,
    );
  if (topology !== "custom") {
    if (custom_edges.length > 0)
      notes.push(`${name("network.custom_edges", custom_edges)}: not used, as the topology is ${topology}`);
    return;
  }
  const named = name("network.custom_edges", "none");
  const stray = custom_edges.find(([a, b]) => a === b || a >= n || b >= n);
  if (stray !== undefined) problems.push(`${named}: [${stray.join(", ")}] must join two different agents from 0 to ${n - 1}`);
  else if (!isConnected(n, custom_edges))
    problems.push(
      `${named}: a custom topology must connect all ${n} agents; give edges such as --set network.custom_edges='[[0,1],[1,2]]'`,
    );
};

const checkSources: Check = ({ qa }, name, { problems, notes }) => {
  for (const key of qa.corpus === null && qa.document === null ? [] : (["question_count", "hops", "passages"] as const))
    if (JSON.stringify(qa[key]) !== JSON.stringify(DEFAULTS.qa[key]))
      notes.push(`${name(`qa.${key}`, qa[key])}: not used, as no questions are generated`);
  if (qa.questions !== null && qa.document === null)
    problems.push(`${name("qa.questions", qa.questions)}: a file of questions needs its document; give --document FILE`);
  if (qa.document !== null && qa.questions === null)
    problems.push(`${name("qa.document", qa.document)}: a document needs questions about it; give --questions FILE (JSONL)`);
};

const CHECKS: readonly Check[] = [checkVictims, checkTimeline, checkTimeouts, checkNetwork, checkSources];

/** Checks the values against each other. Throws InputError with every problem; returns what the user should be told. */
export function checkTogether(settings: ResolvedSettings, entries: ReadonlyMap<string, Entry>): string[] {
  const findings: Findings = { problems: [], notes: [] };
  for (const check of CHECKS) check(settings, (path, value) => nameOf(path, value, entries), findings);
  if (findings.problems.length > 0) throw new InputError(findings.problems.join("\n"));
  return findings.notes;
}
