import { type BackendContext, createPrng, systemClock } from "@failstorm/core";
import { createMeteredClient } from "../meteredClient.ts";
import { loadProtocol } from "../registry.ts";

/**
 * An agent as a process of its own, for cases in which it is killed: `node peerProcess.ts SPEC`. It listens, says so to its parent,
 * and leaves with it. Told to `visit`, it calls itself, closes everything, and must then end for want of anything to do.
 */
export interface PeerSpec {
  readonly module: string;
  readonly section: unknown;
  readonly agentId: string;
  readonly incarnation: number;
  /** 0 = any. */
  readonly port: number;
  readonly workspaceDir: string;
  readonly visit: boolean;
}

export type PeerWord =
  | { readonly type: "listening"; readonly port: number }
  /** An execution has begun; one whose text is `hang` never ends. */
  | { readonly type: "executing"; readonly text: string }
  | { readonly type: "visited"; readonly resources: readonly string[] };

const spec = JSON.parse(process.argv[2] ?? "") as PeerSpec;
const tell = (word: PeerWord): void => void process.send?.(word);

const { agentId, incarnation } = spec;
const protocol = await loadProtocol(spec.module);
const client = createMeteredClient({ clock: systemClock, connectTimeoutMs: 30_000, onResidual: () => {} });
const address = { host: "127.0.0.1", port: spec.port };
const context: BackendContext = {
  describeSelf: () => ({ agentId, incarnation, capabilities: ["tool:search"] }),
  selfAddress: () => address,
  client,
  onDeduplicated: () => {},
  clock: systemClock,
  prng: createPrng(incarnation, agentId),
  workspaceDir: spec.workspaceDir,
  config: protocol.parseConfig(spec.section),
};
const backend = protocol.createBackend(context);
const local = await backend.spawnLocalAgent(agentId, address.host, spec.port, {
  async execute({ payload }, queue) {
    const text = "text" in payload ? payload.text : "";
    tell({ type: "executing", text });
    queue.enqueue({ type: "agent_text_message", text: `incarnation ${incarnation}: ${text}` });
    if (text === "hang") await new Promise(() => {});
  },
  cancel: async () => {},
});
address.port = Number(new URL(local.baseUrl).port);
tell({ type: "listening", port: address.port });

if (spec.visit) {
  backend.registerEndpoint(agentId, address);
  await backend.connect(agentId, agentId);
  await Promise.all(Array.from({ length: 5 }, () => backend.send(agentId, agentId, { text: "x" })));
  await backend.send(agentId, agentId, { text: "x" }, { onEvent: () => {} });
  await backend.healthCheck(agentId);
  const giveUp = new AbortController();
  const hanging = backend.send(agentId, agentId, { text: "hang" }, { signal: giveUp.signal }).catch(() => null);
  await systemClock.sleep(50);
  giveUp.abort();
  await hanging;
  await backend.close();
  await client.close();
  await local.close();
  tell({ type: "visited", resources: process.getActiveResourcesInfo() });
  process.disconnect();
} else process.on("disconnect", () => process.exit(0));
