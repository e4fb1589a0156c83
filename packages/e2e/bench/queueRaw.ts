import { createRequire } from "node:module";
import { systemClock } from "@failstorm/core";

/** What the raw clients are to do. */
export interface RawOrder {
  /** `http://host:port#name` of each server. */
  readonly servers: readonly string[];
  readonly questions: readonly string[];
  readonly total: number;
  /** Requests on their way to one server at a time. */
  readonly concurrency: number;
  /** Set apart from other runs: the servers remember answers by message id. */
  readonly run: string;
}

interface BareUndici {
  Agent: new (options: object) => unknown;
  readonly request: (url: string, options: object) => Promise<{ body: { json(): Promise<unknown> } }>;
}

/** The protocols' own copy, so that both sides load the same files. */
const { Agent, request } = createRequire(new URL("../../protocols/package.json", import.meta.url))("undici") as BareUndici;

/**
 * The floor of the bench `queue`: a process of its own that asks the same servers the same questions in the same envelopes, with undici and
 * nothing else. Prints questions per second. Its argument is a RawOrder.
 */
const order = JSON.parse(process.argv[2] ?? "") as RawOrder;
const dispatcher = new Agent({ pipelining: 1, keepAliveTimeout: 30_000, headersTimeout: 0, bodyTimeout: 0 });
const headers = { "content-type": "application/json" };
let next = 0;

async function client(server: string): Promise<void> {
  const { origin, hash } = new URL(server);
  const to = hash.slice(1);
  for (let seq = next++; seq < order.total; seq = next++) {
    const q = order.questions[seq % order.questions.length] ?? "";
    const id = `q-${String(seq + 1).padStart(6, "0")}`;
    const payload = { parts: [{ kind: "data", data: { questions: [{ seq, id, q, attempt: 1 }] } }] };
    const body = JSON.stringify({ id: `${id}/answer/${order.run}`, from: "raw", to, payload });
    const answer = await request(`${origin}/message`, { method: "POST", headers, body, dispatcher });
    const { parts } = (await answer.body.json()) as { parts: { data: { answers: { answer: string }[] } }[] };
    if (parts[0]?.data.answers[0]?.answer !== q) throw new Error(`${to} gave another answer`);
  }
}

const startedAt = systemClock.now();
await Promise.all(order.servers.flatMap((server) => Array.from({ length: order.concurrency }, () => client(server))));
process.stdout.write(`${(order.total * 1000) / (systemClock.now() - startedAt)}\n`);
process.exit(0);
