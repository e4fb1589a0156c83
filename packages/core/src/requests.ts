import { z } from "zod";
import { TOOLS } from "./config.ts";

/**
 * What agents ask of each other, whatever the protocol: the `data` part of a message. Every request names its sender, the
 * sender's incarnation and its address, so that hearing from a restarted agent is news.
 */
const sender = z.object({ agentId: z.string(), incarnation: z.number(), host: z.string(), port: z.number() });

const toolRequest = z.object({
  op: z.literal("tool"),
  tool: z.enum(TOOLS),
  task: z.string(),
  step: z.string(),
  attempt: z.number(),
  /** What is left of the task's deadline, ms. */
  budgetMs: z.number(),
  /** Set when the task was taken over from a dead owner. */
  takeover: z.boolean(),
  input: z.unknown(),
});

/** Look up `query` in the named shards; answered only by their present holders. */
const lookupRequest = z.object({
  op: z.literal("lookup"),
  task: z.string(),
  step: z.string(),
  query: z.string(),
  topK: z.number(),
  shards: z.array(z.number()),
  /** What a fault has caused says so, for whoever relays it; absent = work. */
  cause: z.enum(["retry", "takeover"]).optional(),
});

const documentRequest = z.object({
  op: z.literal("document"),
  offset: z.number(),
  length: z.number(),
  /** Who has not stored it yet answers when it has, or after so long with a refusal. Absent = at once. */
  waitMs: z.number().optional(),
});
/** "I am here": who I am now; the answer says the same of the receiver. */
const helloRequest = z.object({ op: z.literal("hello"), rejoin: z.boolean() });
const ledgerPush = z.object({ op: z.literal("ledger.push"), entries: z.array(z.unknown()).readonly() });
/** Anti-entropy: the digest of what I have; the answer carries what I lack. */
const ledgerSync = z.object({ op: z.literal("ledger.sync"), digest: z.unknown() });
const gossipPush = z.object({ op: z.literal("gossip"), entries: z.array(z.unknown()).readonly() });

export const directRequestSchema = z.discriminatedUnion("op", [
  toolRequest,
  lookupRequest,
  documentRequest,
  helloRequest,
  ledgerPush,
  ledgerSync,
  gossipPush,
]);
export type DirectRequest = z.infer<typeof directRequestSchema>;
export type ToolRequest = z.infer<typeof toolRequest>;
export type LookupRequest = z.infer<typeof lookupRequest>;

/**
 * One request for several agents along the links: each hop serves what is its own, passes the rest on to the next hops and
 * merges the answers. With one target it is a relayed message; on a mesh nothing is relayed.
 */
export const relayRequestSchema = z.object({
  op: z.literal("relay"),
  ttl: z.number(),
  path: z.array(z.string()),
  targets: z.array(z.object({ agentId: z.string(), request: directRequestSchema })),
  /** The sender at the start of the path. */
  origin: sender,
});

export const agentRequestSchema = z.object({
  from: sender,
  body: z.union([directRequestSchema, relayRequestSchema]),
});
export type AgentRequest = z.infer<typeof agentRequestSchema>;
export type RelayRequest = z.infer<typeof relayRequestSchema>;
export type Sender = z.infer<typeof sender>;
