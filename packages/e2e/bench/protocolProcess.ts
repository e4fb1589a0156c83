import { createPublicKey, generateKeyPairSync, type JsonWebKey, type KeyObject } from "node:crypto";
import { createRequire } from "node:module";
import path from "node:path";
import {
  type Address,
  type BackendContext,
  type CommBackend,
  createPrng,
  type Part,
  RunError,
  systemClock,
  type Traffic,
} from "@failstorm/core";
import { ed25519 } from "../../protocols/src/anp/ed25519.ts";
import { createMeteredClient, loadProtocol } from "../../protocols/src/index.ts";

/** One process of a pair: it asks, or it is asked. Both listen, since some protocols look the caller up. */
export interface PairSpec {
  readonly role: "caller" | "callee";
  /** null: none of ours, but what anybody would use: undici and a bare Fastify route, or the A2A SDK's own server and client. */
  readonly protocol: string | null;
  /** `raw with a proof`: each message is signed by the caller and verified by the callee (Ed25519), and nothing else is added. */
  readonly rival: "raw" | "raw with a proof" | "a2a sdk";
  readonly section: unknown;
  readonly workspaceDir: string;
}

export type PairOrder =
  | { readonly type: "meet"; readonly peer: Address }
  /** One after the other for the latency, then so many at a time for the throughput. */
  | { readonly type: "measure"; readonly oneByOne: number; readonly atOnce: number; readonly concurrency: number }
  | { readonly type: "cpu" };

export type PairAnswer =
  | { readonly type: "listening"; readonly address: Address }
  | { readonly type: "met" }
  | { readonly type: "measured"; readonly p50Ms: number; readonly perSecond: number; readonly traffic: Traffic | null }
  | { readonly type: "cpu"; readonly ms: number }
  | { readonly type: "failed"; readonly message: string };

/** Asks once; what it moved, when it was measured. */
type Ask = () => Promise<Traffic | null>;

interface Party {
  readonly address: Address;
  meet(peer: Address): Promise<Ask>;
}

const HOST = "127.0.0.1";

/** A library in the protocols' own copy, so that all load the same files. */
const libraryOf: (name: string) => unknown = createRequire(new URL("../../protocols/package.json", import.meta.url));

/** What a tool step of a storm looks like; the answer is the same again. */
const PARTS: readonly Part[] = [
  {
    kind: "data",
    data: {
      from: { agentId: "agent-0", incarnation: 1, host: HOST, port: 9000 },
      body: {
        op: "tool",
        tool: "extract",
        task: "t-17",
        step: "1.extract",
        attempt: 1,
        budgetMs: 4000,
        input: { question: "What is the currency of the country whose capital is Bern?", sentences: 3 },
      },
    },
  },
];

interface BareFastify {
  post(path: string, handler: (request: { body: unknown }) => Promise<unknown>): unknown;
  listen(options: { host: string; port: number }): Promise<string>;
}
interface BareUndici {
  Agent: new (options: object) => unknown;
  readonly request: (url: string, options: object) => Promise<{ body: { json(): Promise<unknown> } }>;
}

/** A message and, at the other end, whether it is what was signed. */
interface Proof {
  readonly sign: (text: string) => string;
  /** For the callee, once it knows the caller's key. */
  readonly verify: (text: string, proof: string) => boolean;
  readonly publicKey: JsonWebKey;
  learn(peerKey: JsonWebKey): void;
}

function proofOfOrigin(): Proof {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  let peer: KeyObject | null = null;
  return {
    sign: (text) => ed25519.sign(privateKey, Buffer.from(text)).toString("base64"),
    verify: (text, proof) => peer !== null && ed25519.verify(peer, Buffer.from(text), Buffer.from(proof, "base64")),
    publicKey: publicKey.export({ format: "jwk" }),
    learn(key) {
      peer = createPublicKey({ key, format: "jwk" });
    },
  };
}

/** What anybody would write with the same two libraries: a JSON text there, a JSON text back. */
async function raw(proof: Proof | null): Promise<Party> {
  const fastify = libraryOf("fastify") as () => BareFastify;
  const server = fastify();
  server.post("/", async ({ body }) => {
    if (proof === null) return body;
    const { signature, ...message } = body as { signature: string };
    if (!proof.verify(JSON.stringify(message), signature)) throw new RunError("BENCH_BAD_PROOF", "the signature does not hold");
    return message;
  });
  server.post("/key", async ({ body }) => proof?.learn(body as JsonWebKey) ?? {});
  const port = Number(new URL(await server.listen({ host: HOST, port: 0 })).port);
  return {
    address: { host: HOST, port },
    async meet(peer) {
      const { Agent, request } = libraryOf("undici") as BareUndici;
      const dispatcher = new Agent({ pipelining: 1, keepAliveTimeout: 30_000, headersTimeout: 0, bodyTimeout: 0 });
      const headers = { "content-type": "application/json" };
      const post = async (path: string, body: string): Promise<unknown> => {
        const answer = await request(`http://${peer.host}:${peer.port}${path}`, { method: "POST", headers, body, dispatcher });
        return answer.body.json();
      };
      if (proof !== null) await post("/key", JSON.stringify(proof.publicKey));
      let sequence = 0;
      return async () => {
        const message = { id: `bench-${sequence++}`, parts: PARTS };
        const text = JSON.stringify(message);
        const answer = await post("/", proof === null ? text : JSON.stringify({ ...message, signature: proof.sign(text) }));
        if (!("parts" in (answer as object))) throw new RunError("BENCH_WRONG_ANSWER", JSON.stringify(answer));
        return null;
      };
    },
  };
}

async function sdk(): Promise<Party> {
  const { sdkClient, startSdkServer } = await import("./a2aSdk.ts");
  return {
    address: await startSdkServer(HOST),
    async meet(peer) {
      const ask = await sdkClient(
        peer,
        PARTS.map((part) => (part.kind === "data" ? part.data : part.text)),
      );
      return async () => {
        await ask();
        return null;
      };
    },
  };
}

/** The same through a protocol's CommBackend, as an agent uses it. */
async function speaking(name: string, { role, section, workspaceDir }: PairSpec): Promise<Party> {
  const [agentId, peerId] = role === "caller" ? (["agent-0", "agent-1"] as const) : (["agent-1", "agent-0"] as const);
  const protocol = await loadProtocol(name);
  const client = createMeteredClient({ clock: systemClock, connectTimeoutMs: 5000, onResidual: () => {} });
  const address = { host: HOST, port: 0 };
  const context: BackendContext = {
    describeSelf: () => ({ agentId, incarnation: 1, capabilities: ["tool:extract", "shard:0"] }),
    selfAddress: () => address,
    client,
    onDeduplicated: () => {},
    clock: systemClock,
    prng: createPrng(1, agentId),
    workspaceDir: path.join(workspaceDir, agentId),
    config: protocol.parseConfig(section),
  };
  const backend: CommBackend = protocol.createBackend(context);
  const { baseUrl } = await backend.spawnLocalAgent(agentId, HOST, 0, {
    execute: async ({ payload }, queue) => {
      if ("parts" in payload) queue.enqueue({ type: "agent_parts_message", parts: payload.parts });
    },
    cancel: async () => {},
  });
  address.port = Number(new URL(baseUrl).port);
  return {
    address,
    async meet(peer) {
      backend.registerEndpoint(peerId, peer);
      await backend.connect(agentId, peerId);
      let sequence = 0;
      return async () => {
        const { traffic, parts } = await backend.send(
          agentId,
          peerId,
          { parts: PARTS },
          { idempotencyKey: `t-${sequence++}/1.extract` },
        );
        if (parts.length !== 1) throw new RunError("BENCH_WRONG_ANSWER", `${name} answered with ${parts.length} parts`);
        return traffic;
      };
    },
  };
}

async function measure(
  ask: Ask,
  { oneByOne, atOnce, concurrency }: Extract<PairOrder, { type: "measure" }>,
): Promise<PairAnswer> {
  const latencies: number[] = [];
  let traffic: Traffic | null = null;
  for (let i = 0; i < oneByOne; i++) {
    const from = systemClock.now();
    traffic = await ask();
    latencies.push(systemClock.now() - from);
  }
  let left = atOnce;
  const from = systemClock.now();
  const lane = async (): Promise<void> => {
    while (left-- > 0) await ask();
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
  const perSecond = (atOnce * 1000) / (systemClock.now() - from);
  latencies.sort((a, b) => a - b);
  return { type: "measured", p50Ms: latencies[Math.floor(latencies.length / 2)] ?? Number.NaN, perSecond, traffic };
}

const spec = JSON.parse(process.argv[2] ?? "") as PairSpec;
const tell = (answer: PairAnswer): void => void process.send?.(answer);
const rivals = { raw: () => raw(null), "raw with a proof": () => raw(proofOfOrigin()), "a2a sdk": sdk };
const party = await (spec.protocol === null ? rivals[spec.rival]() : speaking(spec.protocol, spec));
let ask: Ask = () => Promise.reject(new RunError("BENCH_NOT_MET", "the peer comes first"));

async function obey(order: PairOrder): Promise<PairAnswer> {
  if (order.type === "measure") return measure(ask, order);
  if (order.type === "meet") {
    ask = await party.meet(order.peer);
    return { type: "met" };
  }
  const { user, system } = process.cpuUsage();
  return { type: "cpu", ms: (user + system) / 1000 };
}

process.on("message", (order: PairOrder) => {
  void obey(order).then(tell, (error: unknown) => tell({ type: "failed", message: String(error) }));
});
process.on("disconnect", () => process.exit(0));
tell({ type: "listening", address: party.address });
