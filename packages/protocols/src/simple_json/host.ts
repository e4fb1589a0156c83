import type { AgentDescription, AgentEvent, AgentExecutor, AgentId, ExecutionContext, Part, Payload } from "@failstorm/core";
import type { FastifyError, FastifyPluginAsync } from "fastify";

/** What travels: an envelope in, an envelope out. */
export interface Envelope {
  readonly id: string;
  readonly from: AgentId;
  readonly to: AgentId;
  readonly payload: Payload;
}

export interface Answer {
  readonly inReplyTo: string;
  readonly from: AgentId;
  readonly parts: readonly Part[];
}

export const MAX_BODY_BYTES = 64 * 1024 * 1024;
/** Answers are remembered this long by message id; a retry within it gets the recorded answer. In memory: a crash forgets. */
const REMEMBER_MS = 60_000;

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

/** Checks a payload from the wire; null when it is none. */
function asPayload(value: unknown): Payload | null {
  if (!isRecord(value)) return null;
  if (typeof value["text"] === "string") return { text: value["text"] };
  if (!Array.isArray(value["parts"])) return null;
  const parts: unknown[] = value["parts"];
  const valid = parts.every(
    (part) => isRecord(part) && ((part["kind"] === "text" && typeof part["text"] === "string") || part["kind"] === "data"),
  );
  return valid ? { parts: parts as Part[] } : null;
}

function asEnvelope(body: unknown): Envelope | null {
  if (!isRecord(body)) return null;
  const { id, from, to } = body;
  const payload = asPayload(body["payload"]);
  if (typeof id !== "string" || typeof from !== "string" || typeof to !== "string" || payload === null) return null;
  return { id, from, to, payload };
}

async function runExecutor(executor: AgentExecutor, envelope: Envelope): Promise<Part[]> {
  const parts: Part[] = [];
  const enqueue = (event: AgentEvent): void => {
    if (event.type === "agent_text_message") parts.push({ kind: "text", text: event.text });
    if (event.type === "agent_parts_message") parts.push(...event.parts);
  };
  const context: ExecutionContext = {
    messageId: envelope.id,
    from: envelope.from,
    payload: envelope.payload,
    // simple_json has no cancel: nothing ever aborts this signal, and few ask for it.
    get signal() {
      return new AbortController().signal;
    },
  };
  await executor.execute(context, { enqueue });
  return parts;
}

/** Answers by message id: a repeated id joins the execution under way, or gets the recorded answer. */
class AnswerRecord {
  private readonly answers = new Map<string, { readonly at: number; readonly answer: Promise<Part[]> }>();

  get(id: string): Promise<Part[]> | undefined {
    return this.answers.get(id)?.answer;
  }

  set(id: string, at: number, answer: Promise<Part[]>): void {
    this.answers.set(id, { at, answer });
    answer.catch(() => this.answers.delete(id));
    for (const [old, entry] of this.answers) {
      if (at - entry.at < REMEMBER_MS) break;
      this.answers.delete(old);
    }
  }
}

/** What Fastify refuses before a message is looked at, in the protocol's words. */
const ERROR_CODES: Readonly<Record<string, string>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: "too_large",
  FST_ERR_CTP_INVALID_MEDIA_TYPE: "wrong_content_type",
  FST_ERR_CTP_INVALID_JSON_BODY: "bad_json",
  FST_ERR_CTP_EMPTY_JSON_BODY: "bad_json",
};

export interface HostOptions {
  readonly agentId: AgentId;
  readonly executor: AgentExecutor;
  readonly describeSelf: () => AgentDescription;
  readonly now: () => number;
  readonly idempotency: boolean;
  readonly onDeduplicated: (messageId: string) => void;
}

/** The routes of a simple_json agent: `POST /message`, `GET /agent` (handshake), `GET /health` (probe). */
export function simpleJsonHost({
  agentId,
  executor,
  describeSelf,
  now,
  idempotency,
  onDeduplicated,
}: HostOptions): FastifyPluginAsync {
  const record = new AnswerRecord();
  return async (server) => {
    server.setErrorHandler<FastifyError>((error, _request, reply) => {
      const status = error.statusCode ?? 500;
      return reply.code(status).send({ error: { code: ERROR_CODES[error.code] ?? "bad_request", message: error.message } });
    });
    server.get("/agent", async () => ({ protocol: "simple_json", version: "1", ...describeSelf() }));
    server.get("/health", async () => ({ status: "ok", agentId, incarnation: describeSelf().incarnation }));
    server.post("/message", { bodyLimit: MAX_BODY_BYTES }, async (request, reply) => {
      const envelope = asEnvelope(request.body);
      if (envelope === null)
        return reply
          .code(400)
          .send({ error: { code: "bad_envelope", message: "expected {id, from, to, payload: {text} | {parts}}" } });
      if (envelope.to !== agentId)
        return reply.code(404).send({ error: { code: "wrong_agent", message: `this is ${agentId}, not ${envelope.to}` } });
      const known = idempotency ? record.get(envelope.id) : undefined;
      const answer = known ?? runExecutor(executor, envelope);
      if (known !== undefined) onDeduplicated(envelope.id);
      if (known === undefined && idempotency) record.set(envelope.id, now(), answer);
      try {
        return { inReplyTo: envelope.id, from: agentId, ...(known ? { repeated: true } : {}), parts: await answer };
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        return reply.code(500).send({ error: { code: "execution_failed", message } });
      }
    });
  };
}
