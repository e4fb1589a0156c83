import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { agentId, type AgentSpec, type Roster, RunError, type RunPlan } from "@failstorm/core";
import { encodeMessage } from "./control/messages.ts";
import { type FlowParts, prepareAll, startAll, type SupervisedSpec } from "./flow.ts";
import { AGENT_HOST } from "./ports.ts";
import { toRunError } from "./recorder.ts";
import type { SupervisedAgent } from "./supervisor.ts";

/** What shard workers are made from. */
export type ShardPlan = Pick<RunPlan, "document" | "homeTools">;

/** A network of shard workers that have stored and indexed the document. */
export interface OpenedNetwork {
  /** CLOCK_MONOTONIC ms: when the document began to spread. */
  readonly t0: number;
  /** The message that tells an agent who there is. */
  readonly roster: string;
}

/** A shard worker; the first gets the document, which it broadcasts, into its workspace. Throws RunError. */
export function shardWorkerSpec({ document, homeTools }: ShardPlan, base: SupervisedSpec): AgentSpec {
  const documentPath = base.index === 0 ? path.join(base.workspaceDir, "broadcast-source") : null;
  try {
    if (documentPath !== null) writeFileSync(documentPath, document);
  } catch (error) {
    throw toRunError(error, "the document cannot be written");
  }
  return { ...base, homeTool: homeTools[base.index] ?? "search", shard: base.index, documentPath };
}

/**
 * Starts all agents, introduces them to each other and lets them spread the document; resolves when all have indexed the right one.
 * Throws RunError `BROADCAST_INVALID` when that takes longer than `limitMs` from t=0 (`remedy`: what would help), or one has another.
 */
export async function openShardNetwork(
  parts: FlowParts,
  plan: ShardPlan,
  { limitMs, remedy }: { readonly limitMs: number; readonly remedy: string },
): Promise<OpenedNetwork> {
  await startAll(parts);
  const sha256 = createHash("sha256").update(plan.document).digest("hex");
  const roster = encodeMessage({ type: "roster", roster: rosterOf(parts, plan, sha256) });
  await prepareAll(parts, roster);
  const { supervisor, recorder, clock, signal } = parts;
  recorder.write({ ev: "run.phase", phase: "broadcast" });
  const t0 = clock.now();
  supervisor.tellAll(encodeMessage({ type: "broadcast", t0 }));
  const indexed = (agent: SupervisedAgent): string | undefined => agent.said.get("indexed")?.sha256;
  const wrong = (agent: SupervisedAgent): boolean => indexed(agent) !== undefined && indexed(agent) !== sha256;
  const settled = (): boolean =>
    supervisor.agents.every((agent) => indexed(agent) !== undefined) || supervisor.agents.some(wrong);
  const inTime = await supervisor.waiting.until(settled, t0 + limitMs, signal);
  const damaged = supervisor.agents.find(wrong);
  if (damaged !== undefined) {
    throw new RunError(
      "BROADCAST_INVALID",
      `invalid run: ${damaged.id} has indexed a document with SHA-256 ${indexed(damaged)}, not ${sha256}`,
    );
  }
  if (!inTime) {
    const missing = supervisor.agents.filter((agent) => indexed(agent) === undefined).map((agent) => agent.id);
    throw new RunError(
      "BROADCAST_INVALID",
      `invalid run: ${limitMs} ms after t=0 the document was not indexed by ${missing.join(", ")}; ${remedy}`,
    );
  }
  return { t0, roster };
}

function rosterOf({ supervisor }: FlowParts, { document, homeTools }: ShardPlan, sha256: string): Roster {
  return {
    agents: supervisor.live.map(({ id, index, life, spec }) => ({
      agentId: id,
      host: AGENT_HOST,
      port: spec.port,
      incarnation: life.link.incarnation,
      homeTool: homeTools[index] ?? "search",
      shard: index,
    })),
    document: { sha256, bytes: document.byteLength, shards: supervisor.agents.length, source: agentId(0) },
  };
}
