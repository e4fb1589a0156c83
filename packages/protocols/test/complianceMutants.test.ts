import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { AgentExecutor, BackendContext, CommBackend, Protocol, Traffic } from "@failstorm/core";
import { describe, expect, test } from "vitest";
import { complianceCases } from "../src/compliance/suite.ts";
import { loadProtocol } from "../src/index.ts";

/** A way to break simple_json, and the cases that must say so. */
interface Mutant {
  readonly name: string;
  readonly red: readonly string[];
  readonly context?: (context: BackendContext) => BackendContext;
  readonly backend?: (backend: CommBackend) => Partial<CommBackend>;
  readonly protocol?: (protocol: Protocol) => Partial<Protocol>;
  readonly section?: unknown;
}

const declares =
  (capability: string, value: boolean) =>
  (protocol: Protocol): Partial<Protocol> => {
    const info = protocol.getProtocolInfo();
    return { getProtocolInfo: () => ({ ...info, capabilities: { ...info.capabilities, [capability]: value } }) };
  };

/** The same host with another executor behind it. */
const executing =
  (wrap: (executor: AgentExecutor) => AgentExecutor) =>
  (backend: CommBackend): Partial<CommBackend> => ({
    hostPlugin: (id, executor) => backend.hostPlugin(id, wrap(executor)),
    spawnLocalAgent: (id, host, port, executor) => backend.spawnLocalAgent(id, host, port, wrap(executor)),
  });

const NOTHING: Traffic = { bytesSent: 0, bytesReceived: 0, roundTrips: 0, firstByteAt: null, ms: 0 };

const MUTANTS: readonly Mutant[] = [
  {
    name: "leaves data out of its answers",
    red: ["contract-parts", "contract-several-events"],
    backend: (backend) => ({
      send: async (...args) => {
        const answer = await backend.send(...args);
        return { ...answer, parts: answer.parts.filter(({ kind }) => kind === "text") };
      },
    }),
  },
  {
    name: "answers everybody with its first answer",
    red: ["contract-context", "contract-idempotent"],
    backend: (backend) => {
      let first: ReturnType<CommBackend["send"]> | null = null;
      return { send: (...args) => (first ??= backend.send(...args)) };
    },
  },
  {
    name: "throws whatever it gets",
    red: ["contract-refused", "contract-unknown-agent", "contract-reset", "contract-remote-error", "contract-abort"],
    backend: (backend) => ({
      send: (...args) =>
        backend.send(...args).catch((error: unknown) => {
          throw new Error("it did not work", { cause: error });
        }),
    }),
  },
  {
    name: "takes a failure for an empty answer",
    red: ["contract-reset", "contract-garbage", "contract-cut-answer", "contract-remote-error"],
    backend: (backend) => ({
      send: (...args) => backend.send(...args).catch(() => ({ raw: null, text: "", parts: [], traffic: NOTHING })),
    }),
  },
  {
    name: "does not hear its caller give up",
    red: ["contract-abort", "contract-slow"],
    backend: (backend) => ({ send: (src, dst, payload) => backend.send(src, dst, payload) }),
  },
  {
    name: "loses the traffic of failures",
    red: ["contract-bytes-of-failures"],
    backend: (backend) => ({
      send: (...args) =>
        backend.send(...args).catch((error: unknown) => {
          throw Object.assign(error as Error, { traffic: undefined });
        }),
    }),
  },
  {
    name: "goes past the measured client",
    red: ["contract-bytes", "contract-connect", "contract-probe", "contract-text"],
    context: (context) => ({
      ...context,
      client: { ...context.client, measure: async (_tag, fn) => ({ value: await fn(), traffic: NOTHING }) },
    }),
  },
  {
    name: "accounts everything as work",
    red: ["contract-tags"],
    context: (context) => ({
      ...context,
      client: { ...context.client, measure: (tag, fn) => context.client.measure({ ...tag, cause: "work" }, fn) },
    }),
  },
  {
    name: "executes repetitions that it says it knows",
    red: ["contract-idempotent", "contract-idempotent-at-once", "contract-replay"],
    section: { idempotency: false },
    protocol: declares("idempotency", true),
  },
  {
    name: "knows repetitions without saying so",
    red: ["contract-not-idempotent"],
    protocol: declares("idempotency", false),
  },
  {
    name: "keeps failures as answers",
    red: ["contract-remote-error"],
    backend: executing((executor) => {
      const failures = new Map<string, unknown>();
      return {
        ...executor,
        execute: async (context, queue) => {
          if (failures.has(context.messageId)) throw failures.get(context.messageId);
          await executor.execute(context, queue).catch((error: unknown) => {
            failures.set(context.messageId, error);
            throw error;
          });
        },
      };
    }),
  },
  {
    name: "cancels what its caller does not wait for",
    red: ["contract-lost-client"],
    backend: executing((executor) => ({
      ...executor,
      execute: (context, queue) => executor.execute({ ...context, signal: AbortSignal.timeout(20) }, queue),
    })),
  },
  { name: "only says that it streams", red: ["contract-stream-long"], protocol: declares("streaming", true) },
  { name: "only says that it can cancel", red: ["contract-info"], protocol: declares("cancel", true) },
  { name: "only says that it can resume", red: ["contract-info"], protocol: declares("resume", true) },
  { name: "does not say that its probe is native", red: ["contract-info"], protocol: declares("nativeProbe", false) },
  {
    name: "remembers the first description for ever",
    red: ["contract-connect", "contract-elsewhere"],
    backend: (backend) => {
      let first: ReturnType<CommBackend["connect"]> | null = null;
      return { connect: (...args) => (first ??= backend.connect(...args)) };
    },
  },
  {
    name: "shakes hands twice",
    red: ["contract-connect-again"],
    backend: (backend) => ({
      connect: async (...args) => {
        const { traffic } = await backend.connect(...args);
        const second = await backend.connect(...args);
        return { ...second, traffic: { ...traffic, roundTrips: traffic.roundTrips + second.traffic.roundTrips } };
      },
    }),
  },
  {
    name: "takes whoever answers for the one it called",
    red: ["contract-somebody-else"],
    backend: (backend) => ({
      connect: (src, dst, options) =>
        backend
          .connect(src, dst, options)
          .catch(() => ({ peer: { agentId: dst, incarnation: 1, capabilities: [] }, traffic: NOTHING })),
    }),
  },
  {
    name: "probes with a message",
    red: ["contract-probe"],
    backend: (backend) => ({
      healthCheck: async (peer, options) => {
        const { traffic } = await backend.send("agent-0", peer, { text: "alive?" }, options);
        return { incarnation: null, traffic };
      },
    }),
  },
  {
    name: "does not know prefixes",
    red: ["contract-mount"],
    backend: (backend) => ({ registerEndpoint: (id, { host, port }) => backend.registerEndpoint(id, { host, port }) }),
  },
  {
    name: "takes any configuration",
    red: ["contract-config"],
    protocol: (protocol) => ({ parseConfig: () => protocol.parseConfig({}) }),
  },
];

const original = await loadProtocol("simple_json");

function mutate({ context = (same) => same, backend = () => ({}), protocol = () => ({}) }: Mutant): Protocol {
  return {
    ...original,
    createBackend: (given) => {
      const made = original.createBackend(context(given));
      return { ...made, ...backend(made) };
    },
    ...protocol(original),
  };
}

describe.each(MUTANTS)("a protocol that $name", (mutant) => {
  const subject = { protocol: mutate(mutant), module: "simple_json", section: mutant.section };
  const cases = complianceCases(subject);
  test.each(mutant.red)("fails %s", async (id) => {
    const found = cases.find((candidate) => candidate.id === id);
    if (found === undefined) throw new Error(`there is no case ${id}`);
    await expect(found.run()).rejects.toThrow();
  });
});

test("a protocol that leaves a timer behind fails contract-close", { timeout: 120_000 }, async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "failstorm-leak-"));
  try {
    const module = path.join(dir, "leaky.ts");
    const registry = path.resolve(import.meta.dirname, "..", "src", "index.ts");
    writeFileSync(
      module,
      `import { loadProtocol } from ${JSON.stringify(registry)};
const original = await loadProtocol("simple_json");
export const protocol = { ...original, createBackend: (context) => (setInterval(() => {}, 1000), original.createBackend(context)) };
`,
    );
    const close = complianceCases({ protocol: original, module }).find(({ id }) => id === "contract-close");
    await expect(close?.run()).rejects.toThrow(/the process ends by itself; it holds .*Timeout/);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
