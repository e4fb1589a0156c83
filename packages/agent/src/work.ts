import type { AgentId, Roster } from "@failstorm/core";
import { createTaskLedger, type HomeTools, type TaskLedger } from "@failstorm/network";
import type { AgentParts } from "./agent.ts";
import { Holdings } from "./holdings.ts";
import { LedgerSync } from "./ledgerSync.ts";
import { createModelSteps } from "./modelSteps.ts";
import type { Networking } from "./networking.ts";
import { Steps } from "./steps.ts";
import { TaskRunner } from "./taskRunner.ts";
import { ToolServer } from "./toolServer.ts";

/** A mesh larger than this does not push the ledger to everybody. */
const MAX_PUSH_TO_ALL = 32;
const PUSH_FAN_OUT = 3;
/** How often tasks that are due without an outcome are looked at again. */
const SWEEP_MS = 500;
const MIN_SWEEP_MS = 50;

/** What an agent works with and on. */
export interface Work {
  readonly holdings: Holdings;
  readonly ledger: TaskLedger;
  readonly ledgerSync: LedgerSync;
  readonly tools: ToolServer;
  readonly runner: TaskRunner;
}

interface WorkOptions {
  readonly parts: AgentParts;
  readonly roster: Roster;
  readonly homeTools: HomeTools;
  readonly networking: Networking;
  /** The stored document; null while there is none. */
  readonly document: () => Uint8Array | null;
}

const pushesToAll = ({ parts, roster }: WorkOptions): boolean =>
  parts.spec.config.network.topology === "mesh" && roster.agents.length <= MAX_PUSH_TO_ALL;

function ledgerReceivers(options: WorkOptions, everybody: boolean): readonly AgentId[] {
  const { parts, networking } = options;
  const { view } = networking.membership;
  if (pushesToAll(options)) return view.liveIds.filter((id) => id !== parts.self.agentId);
  const candidates = networking.neighbours().filter((id) => view.isLive(id));
  return everybody || candidates.length <= PUSH_FAN_OUT ? candidates : parts.prng.shuffle(candidates).slice(0, PUSH_FAN_OUT);
}

function createLedgerSync(options: WorkOptions, ledger: TaskLedger): LedgerSync {
  const { parts, networking } = options;
  const { clock, prng, self, spec } = parts;
  return new LedgerSync({
    clock,
    prng: prng.fork(`ledger/${self.agentId}/${self.incarnation}`),
    ledger,
    messenger: () => networking.messenger,
    intervalMs: spec.config.network.ledgerSyncMs,
    enabled: !spec.config.mutants.includes("ledger-off"),
    receivers: (everybody) => ledgerReceivers(options, everybody),
  });
}

function createHoldings({ parts, roster, homeTools, document }: WorkOptions): Holdings {
  const { spec, self, clock, recorder } = parts;
  return new Holdings({
    self: self.agentId,
    homeShard: spec.shard,
    homeTools,
    shardCount: roster.document.shards,
    ids: roster.agents.map(({ agentId }) => agentId),
    redundancyLevel: spec.config.network.redundancyLevel,
    takeover: !spec.config.mutants.includes("takeover-off"),
    clock,
    recorder,
    document,
  });
}

function createSteps({ parts, roster, homeTools, networking }: WorkOptions, holdings: Holdings, tools: () => ToolServer): Steps {
  const { spec, self, clock, prng } = parts;
  const { config } = spec;
  return new Steps({
    self: self.agentId,
    clock,
    prng: prng.fork(self.agentId),
    membership: networking.membership,
    messenger: () => networking.messenger,
    holdings,
    homeTools,
    shardCount: roster.document.shards,
    attemptTimeoutMs: config.tasks.attemptTimeoutMs,
    retries: !config.mutants.includes("retry-off"),
    timeScale: config.scenario.timeScale,
    runLocally: (tool, step, { task, takeover, deadlineAt }, input, attempt) =>
      tools().execute({ tool, task, step, attempt, budgetMs: deadlineAt - clock.now(), takeover, input, caller: self.agentId }),
  });
}

export function createWork(options: WorkOptions): Work {
  const { parts, networking } = options;
  const { spec, self, clock, prng, recorder } = parts;
  const { config } = spec;
  const holdings = createHoldings(options);
  const ledger = createTaskLedger({ self: self.agentId, incarnation: self.incarnation, relay: !pushesToAll(options) });
  const steps = createSteps(options, holdings, () => tools);
  const tools = new ToolServer({
    clock,
    prng,
    recorder,
    holdings,
    thinkTimeMs: config.tasks.thinkTimeMs,
    model: createModelSteps(parts, { holdings, steps, shardCount: options.roster.document.shards }),
    lookup: (query, topK, lookup) => steps.lookupEverywhere(query, topK, lookup),
  });
  const runner = new TaskRunner({
    self: self.agentId,
    incarnation: self.incarnation,
    clock,
    recorder,
    ledger,
    membership: networking.membership,
    steps,
    topK: config.qa.topK,
    deadlineMs: config.tasks.deadlineMs,
    sweepMs: Math.max(MIN_SWEEP_MS, SWEEP_MS * config.scenario.timeScale),
    dropOrphans: config.mutants.includes("drop-orphans"),
  });
  return { holdings, ledger, ledgerSync: createLedgerSync(options, ledger), tools, runner };
}
