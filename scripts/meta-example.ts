/**
 * A network in which all protocols live together, at a program's disposal: eight agents in eight processes, asked questions across protocol
 * borders, the agents of one protocol killed in the middle and started again. Run it from the project's folder:
 *
 *   node_modules/.bin/node scripts/meta-example.ts [FOLDER FOR THE RUN]
 *
 * `pnpm failstorm report FOLDER` then makes metrics and page of it, as of any run.
 */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { loadConfig } from "../packages/cli/src/config/load.ts";
import { agentEntry, projectRoot } from "../packages/cli/src/project.ts";
import { agentIndex, systemClock } from "../packages/core/src/index.ts";
import { createFailstormMetaNetwork } from "../packages/scenarios/src/index.ts";

const QUESTIONS = 8;
const STRUCK = "anp";
/** So long after the questions the fault strikes. */
const IN_FLIGHT_MS = 100;
const MAX_PROBES = 10;
const PROBE_PAUSE_MS = 500;

const runDir = path.resolve(process.argv[2] ?? mkdtempSync(path.join(tmpdir(), "meta-example-")));
const { config } = await loadConfig({
  file: "configs/meta.yaml",
  flags: [],
  assignments: [
    "scenario.seed=7",
    "scenario.time_scale=0.5",
    "scenario.runtime=20",
    "network.base_port=0",
    "tasks.think_time=0.05",
    "tasks.deadline=60",
    "tasks.attempt_timeout=8",
  ],
  env: {},
  cwd: projectRoot,
  root: projectRoot,
});
const network = await createFailstormMetaNetwork(config, { runDir, agents: { kind: "processes", agentEntry } });
try {
  const adapters = await network.installOutboundAdapters();
  for (const { from, to, protocol, round_trips, ms, error } of adapters.filter(({ from }) => !network.agents.has(from)))
    console.log(`${from} dialled ${to} in ${protocol}: ${error ?? `${round_trips} round trips, ${ms.toFixed(1)} ms`}`);

  const installed = adapters.filter(({ from, error }) => network.agents.has(from) && error === null);
  console.log(`the agents dialled each other: ${installed.length} of ${network.agents.size * (network.agents.size - 1)} ways`);

  // One task for each worker, in the worker's own protocol: a look-up in its shard.
  for (const worker of network.agents.keys()) {
    const { protocol, data, error } = await network.sendShardTask(worker, { query: "capital of the largest neighbour" });
    console.log(`shard task ${worker} over ${protocol}: ${error ?? `${(data as { hits: unknown[] }).hits.flat().length} hits`}`);
  }

  /** Questions whose steps go to whoever has the tool and is free, all at once. */
  const askSome = async (from: number): Promise<number> => {
    const asked = network.questions.slice(from, from + QUESTIONS);
    const answers = await Promise.allSettled(asked.map(({ question }) => network.ask(question)));
    return answers.filter((answer, i) => answer.status === "fulfilled" && answer.value.answer === asked[i]?.expected).length;
  };
  console.log(`before the fault: ${await askSome(0)} of ${QUESTIONS} right`);

  const asking = askSome(QUESTIONS);
  await systemClock.sleep(IN_FLIGHT_MS);
  const victims = network.strike({ protocol: STRUCK });
  console.log(`killed all that host ${STRUCK}: ${victims.join(", ")}`);
  console.log(`in flight at the fault: ${await asking} of ${QUESTIONS} right`);
  // Nobody tells the coordinator who is dead: it asks, and then whoever has taken over.
  for (const victim of victims) {
    const { worker, protocol, error } = await network.submit({ query: "capital", shard: agentIndex(victim) });
    console.log(`shard of ${victim}: ${error ?? `served by ${worker} over ${protocol}`}`);
  }
  console.log(`after the fault: ${await askSome(2 * QUESTIONS)} of ${QUESTIONS} right`);

  await Promise.all(victims.map(async (victim) => network.agents.get(victim)?.start()));
  let { protocols } = await network.health();
  // On a machine that has too much to do a probe may take longer than its time.
  for (let tries = 0; tries < MAX_PROBES && protocols.some(({ agents, up }) => up < agents); tries++) {
    await systemClock.sleep(PROBE_PAUSE_MS);
    ({ protocols } = await network.health());
  }
  for (const { protocol, agents, up } of protocols) console.log(`health ${protocol}: ${up} of ${agents} up`);

  const metrics = network.getFailstormMetrics();
  for (const { protocol, messages, failed, ms } of metrics.protocols)
    console.log(`metrics ${protocol}: ${messages} messages, ${failed} failed, p50 ${ms.p50 ?? "–"} ms, p95 ${ms.p95 ?? "–"} ms`);
  for (const { protocol, noticed_ms, served_ms, back_ms } of metrics.recovery)
    console.log(
      `recovery ${protocol}: noticed ${noticed_ms ?? "–"} ms, served ${served_ms ?? "–"} ms, back ${back_ms ?? "–"} ms`,
    );
} finally {
  await network.close();
}
console.log(`run folder ${runDir}`);
