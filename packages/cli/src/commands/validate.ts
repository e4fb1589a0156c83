import type { RunConfig, RunPlan } from "@failstorm/core";
import { agentId, hostedById } from "@failstorm/core";
import { log } from "../view/log.ts";
import { describeShortfall, describeVictims } from "../view/victims.ts";
import type { LoadedConfig } from "../config/load.ts";
import { isQueueFile, loadQueue } from "../queue/load.ts";
import { checkWritable } from "../run/folder.ts";
import { type ConfigRequest, loadRequested, shownPath, stormWarnings } from "./config.ts";

/** Steps of a hop that are messages of their own: search, extract, triple. */
const STEPS_PER_HOP = 3;

const seconds = (ms: number): string => `${Number((ms / 1000).toFixed(3))} s`;
const round = (value: number): string => Math.round(value).toLocaleString("en-US");

/** Requests of a run without faults: every step and look-up leaves its agent, every probe and comparison of ledgers is one. */
async function estimateMessages({ config }: LoadedConfig, plan: RunPlan): Promise<string> {
  const { buildLinks, monitoredBy } = await import("@failstorm/network");
  const { scenario, network } = config;
  const ids = Array.from({ length: scenario.agentCount }, (_, index) => agentId(index));
  const links = buildLinks(network.topology, ids, network.customEdges);
  const live = new Set(ids);
  const pairs = ids.reduce(
    (sum, self) =>
      sum + monitoredBy({ self, monitors: network.monitors, ids, live, initialLinks: links, links: () => links }).length,
    0,
  );
  const work = plan.schedule.tasks.reduce((sum, { hops }) => sum + hops * (STEPS_PER_HOP + scenario.agentCount - 1) + 1, 0);
  const heartbeats = (pairs * scenario.runtimeMs) / network.heartbeatIntervalMs;
  const perSecond = ((work + heartbeats) * 1000) / scenario.runtimeMs;
  return `about ${round(work)} for the work, ${round(heartbeats)} heartbeats over ${pairs} monitored pairs; ${round(perSecond)} per second in all`;
}

function describeStorm({ config, settings }: LoadedConfig, plan: RunPlan): string[] {
  if (plan.schedule.faults.length === 0) return ["no fault"];
  // Without a seed the next run draws other victims than this look at it.
  return plan.schedule.faults.map(({ kind, fake, atMs, victims, restartAtMs }) => {
    const who = settings.seedGiven ? `: ${victims.join(", ")}` : " (drawn by the seed)";
    const after =
      restartAtMs === null ? "never restarted" : `${kind === "sigstop" ? "continued" : "restarted"} at ${seconds(restartAtMs)}`;
    return `${fake ? "fake " : ""}${kind} at ${settings.seedGiven ? "" : "about "}${seconds(atMs)} to ${describeVictims(config.scenario)}${who}; ${after}`;
  });
}

/** A file for a network of several protocols that does not say which: they come from elsewhere. */
function missingMix({ file }: ConfigRequest, { config, sections }: LoadedConfig): string[] {
  const { hosts, protocol } = config.scenario;
  const own = sections.find(([where]) => where === file)?.[1] ?? [];
  if (hosts === undefined || file === null || own.includes(protocol)) return [];
  return [`${file}: has no section ${protocol}; which agent hosts what is as configs/${protocol}.yaml has it, or by default`];
}

/** Of a network of several protocols: how many agents host each, and where its configuration comes from. */
function describeMix({ config, sections }: LoadedConfig): [string, string][] {
  const { hosts } = config.scenario;
  if (hosts === undefined) return [];
  const names = [...new Set(hosts.flat())].toSorted();
  const counts = names.map((name) => `${name} on ${hosts.filter((hosted) => hosted.includes(name)).length}`);
  const several = hosts.filter((hosted) => hosted.length > 1).length;
  return [
    [
      "protocols",
      `${counts.join(", ")}${several === 0 ? "" : `; ${several === 1 ? "one agent hosts" : `${several} agents host`} several`}`,
    ],
    ...sections.map(([where, names]): [string, string] => ["sections", `${names.join(", ")} from ${where}`]),
  ];
}

/** The model that would think, without its key. */
function describeModel({ config: { llm }, llmKey }: LoadedConfig): [string, string][] {
  if (llm === null) return [];
  const { model, type, baseUrl, requestsPerMinute, timeoutMs, retries, price } = llm;
  const limit = requestsPerMinute === null ? "" : `, at most ${requestsPerMinute} requests a minute in all`;
  return [
    [
      "model",
      `${model} (${type}) at ${baseUrl}, ${llmKey === null ? "without a key" : "with a key"}: an LLM does the steps, not the built-in tools`,
    ],
    [
      "",
      `${seconds(timeoutMs)} for a request, ${retries} retries${limit}; cost ${price === null ? "not known (llm.prices)" : "recorded"}`,
    ],
  ];
}

/** Of a queue over a network of several protocols: who hosts what, process by process. */
function describeQueueMix({ scenario }: RunConfig): [string, string][] {
  const hosted = [...(hostedById(scenario) ?? [])];
  return hosted.map(([id, names], index): [string, string] => [index === 0 ? "hosts" : "", `${id} ${names.join(" + ")}`]);
}

/** Of a file with a section `queue`: what `failstorm queue --config` would run. */
async function validateQueue(request: ConfigRequest): Promise<number> {
  const { draftQueue } = await import("../queue/prepare.ts");
  const queue = await loadQueue({ ...request, preset: null });
  const { config, warnings } = queue.loaded;
  checkWritable(config.output.dir);
  const { checkPorts } = await import("@failstorm/orchestrator");
  const draft = await draftQueue(queue, async (drafted) => void (await checkPorts(drafted)));
  for (const warning of warnings) log("WARNING", warning);
  const { workers, external, topology, questions, count, batch, engine } = queue.settings;
  const rows: [string, string][] = [
    ["scenario", `queue over ${config.scenario.protocol}, ${topology}`],
    [
      "processes",
      `1 coordinator, ${workers} workers (${engine})${external.length > 0 ? `, and ${external.join(", ")} (not asked)` : ""}`,
    ],
    [
      "questions",
      `${questions === "generated" ? `${count} generated` : questions}, ${batch === "auto" ? "as many in a message as come back at once" : `${batch} in a message`}`,
    ],
    ...describeQueueMix(draft.config),
    ["seed", String(config.scenario.seed)],
    ["results", shownPath(config.output.dir)],
  ];
  for (const [name, text] of rows) process.stdout.write(`${name.padEnd(10)}${text}\n`);
  log("SUCCESS", "the configuration is valid");
  return 0;
}

/** `failstorm validate`: everything that is checked before a run, and what the run would be. Starts nothing, writes nothing. */
export async function validate(request: ConfigRequest): Promise<number> {
  if (isQueueFile(request.file)) return validateQueue(request);
  const loaded = await loadRequested(request);
  const { config } = loaded;
  const [{ findScenario }, { checkPorts }] = await Promise.all([
    import("@failstorm/scenarios"),
    import("@failstorm/orchestrator"),
  ]);
  const scenario = findScenario(config.scenario.name);
  checkWritable(config.output.dir);
  const { ports, skipped } = await checkPorts(config);
  const plan = await scenario.plan(config);
  const warnings = [...stormWarnings(loaded), ...missingMix(request, loaded), ...(plan.notes ?? []), ...describeShortfall(plan)];
  for (const warning of warnings) log("WARNING", warning);
  const { agentCount, runtimeMs, warmupMs, seed, timeScale } = config.scenario;
  const first = plan.schedule.tasks[0];
  const rows: [string, string][] = [
    ["scenario", `${scenario.name} over ${config.scenario.protocol}, ${config.network.topology}`],
    ["agents", String(agentCount)],
    ...describeMix(loaded),
    [
      "ports",
      config.network.basePort === 0
        ? "any free ones"
        : `${ports[0]} to ${ports.at(-1)}${skipped.length > 0 ? `, skipping ${skipped.map(({ port, reason }) => `${port} (${reason})`).join(", ")}` : ""}`,
    ],
    ["seed", loaded.settings.seedGiven ? String(seed) : "random"],
    [
      "timeline",
      `load from the end of the broadcast, measured from ${seconds(warmupMs)}, end at ${seconds(runtimeMs)}${timeScale === 1 ? "" : ` (all times × ${timeScale})`}`,
    ],
    ...describeStorm(loaded, plan).map((storm): [string, string] => ["storm", storm]),
    [
      "tasks",
      `${plan.schedule.tasks.length} questions (${round(plan.document.length / 1000)} kB of passages), for example "${first?.question ?? "none"}"`,
    ],
    ["messages", await estimateMessages(loaded, plan)],
    ...describeModel(loaded),
    ["results", shownPath(config.output.dir)],
  ];
  for (const [name, text] of rows) process.stdout.write(`${name.padEnd(10)}${text}\n`);
  if (config.scenario.hosts !== undefined) {
    const { renderNetwork } = await import("../view/networkTable.ts");
    process.stdout.write(`${renderNetwork(plan, ports, loaded.settings.seedGiven)}\n`);
  }
  log("SUCCESS", "the configuration is valid");
  return 0;
}
