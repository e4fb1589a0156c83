import { type AgentDescription, type AgentId, CommError } from "@failstorm/core";
import { type AgentManifest, agentNameOf, isRecord } from "./model.ts";

/**
 * An agent's manifest. Where our own terms stand in it: the agent's id and incarnation in `metadata.annotations.failstorm`
 * (annotations are free by the specification), its capabilities as the names of `metadata.capabilities`.
 */
export function manifestOf(agentId: AgentId, { incarnation, capabilities }: AgentDescription): AgentManifest {
  return {
    name: agentNameOf(agentId),
    description: `${agentId}: a failstorm shard worker. It takes a JSON part {from, body: {op, …}} and answers with one.`,
    input_content_types: ["text/plain", "application/json"],
    output_content_types: ["text/plain", "application/json"],
    metadata: {
      annotations: { failstorm: { agent_id: agentId, incarnation } },
      capabilities: capabilities.map((name) => ({ name, description: `Serves ${name}` })),
      programming_language: "TypeScript",
      framework: "failstorm",
    },
  };
}

/**
 * Who a manifest describes. An agent that is not ours has no annotation of ours: then its name is its id, and its incarnation 0.
 * `name`: by which it was asked for. Throws CommError `protocol` when it is no manifest, or somebody else's.
 */
export function descriptionOf(raw: unknown, expected: AgentId, name: string): AgentDescription {
  const manifest = isRecord(raw) ? raw : {};
  const metadata = isRecord(manifest["metadata"]) ? manifest["metadata"] : {};
  const annotations = isRecord(metadata["annotations"]) ? metadata["annotations"] : {};
  const own = annotations["failstorm"];
  const { agent_id: agentId, incarnation } = isRecord(own) ? own : { agent_id: expected, incarnation: 0 };
  if (manifest["name"] !== name || agentId !== expected || typeof incarnation !== "number")
    throw new CommError("protocol", expected, `${expected}: the manifest does not describe ${expected}`, { detail: raw });
  const listed = Array.isArray(metadata["capabilities"]) ? (metadata["capabilities"] as unknown[]) : [];
  const capabilities = listed.flatMap((entry) => (isRecord(entry) && typeof entry["name"] === "string" ? [entry["name"]] : []));
  return { agentId: expected, incarnation, capabilities };
}
