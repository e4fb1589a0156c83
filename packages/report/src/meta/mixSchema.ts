import { z } from "zod";

const ms = z.number().nullable();
const count = z.number().int().nonnegative();
const spread = z.object({ first: ms, p50: ms, last: ms, reached: count, total: count });
const latencies = z
  .object({ n: count, p50: ms, p95: ms.describe("null with fewer than 20") })
  .describe("ms, messages that succeeded");

/** The section `meta` of `failstorm_metrics.json`; only of a network of several protocols. */
export const mixSchema = z
  .object({
    protocols: z.array(
      z.object({
        protocol: z.string(),
        agents: count.describe("that host it"),
        goodput: z
          .object({ n: count, good: count, rate: z.number().min(0).max(1).nullable() })
          .describe("tasks whose home owner hosts it, whole run"),
      }),
    ),
    recovery: z
      .array(
        z.object({
          cycle: z.number().int(),
          protocol: z.string(),
          victims: count,
          detection_ms: spread,
          recovery_ms: ms,
          takeover_ms: z.object({ shard: spread, tool: spread, task: spread }),
          service_gap_ms: ms,
          rejoin_ms: spread,
          takeovers: z
            .object({ served: count, across: count })
            .describe("across: by an agent that hosts none of the protocols of the dead one"),
        }),
      )
      .describe("the storm's measures over the victims that host a protocol; an agent that hosts several counts under each"),
    pairs: z
      .array(
        z.object({
          caller: z.string().describe("what the caller hosts"),
          callee: z.string().describe("the protocol the message went by, one that the callee hosts"),
          n: count,
          failed: count,
          bytes_sent: z.number(),
          bytes_received: z.number(),
          work_ms: latencies,
          probe_ms: latencies,
          handshake_ms: latencies,
        }),
      )
      .describe("messages recorded singly: from 10 s before to 30 s after each fault"),
    crossed: z
      .object({ n: count, total: count })
      .describe("messages by a protocol that the caller does not host, of all recorded"),
    routes: z.array(
      z.object({
        at_ms: z.number(),
        agent: z.string(),
        peer: z.string(),
        protocol: z.string(),
        before: z.string().nullable(),
        reason: z.string(),
      }),
    ),
    routes_total: count,
  })
  .describe("by protocol and by pair of them");

export type MixMetrics = z.infer<typeof mixSchema>;
