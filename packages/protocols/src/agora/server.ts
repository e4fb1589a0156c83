import { randomUUID } from "node:crypto";
import { isIPv6 } from "node:net";
import type { Address, AgentDescription, AgentExecutor, AgentId, Clock, Part, Payload } from "@failstorm/core";
import type { AgoraConfig } from "./config.ts";
import { Conversations } from "./conversations.ts";
import { normalHash, type ProtocolDocument } from "./document.ts";
import type { DocumentStore } from "./documentStore.ts";
import { type AgoraRequest, type Body, type Failure, isObject, type Json, LIBRARY_NEGOTIATION } from "./envelope.ts";
import { describeDocument, isSupported, negotiationDocument, routineOf, type Served } from "./library.ts";
import { asMessage, objectIn, partsOf, plainAnswer, speak, understand } from "./message.ts";
import { type Negotiator, readMove, writeMove } from "./negotiator.ts";
import type { Sources } from "./sources.ts";

/** Descriptions of ourselves that `wellknown` has listed; a client may still hold an earlier one. */
const MAX_DESCRIPTIONS = 32;

export interface ServerOptions {
  readonly agentId: AgentId;
  readonly executor: AgentExecutor;
  readonly describeSelf: () => AgentDescription;
  readonly selfAddress: () => Address;
  readonly clock: Clock;
  readonly config: AgoraConfig;
  readonly store: DocumentStore;
  readonly sources: Sources;
  readonly negotiator: Negotiator;
}

export const baseUrlOf = ({ host, port, basePath = "" }: Address): string =>
  `http://${isIPv6(host) ? `[${host}]` : host}:${port}${basePath}`;

/** What serves requests, apart from HTTP. */
export class AgoraServer {
  readonly conversations: Conversations;
  private readonly options: ServerOptions;
  private readonly descriptions = new Set<string>();
  private messages = 0;

  constructor(options: ServerOptions) {
    this.options = options;
    this.conversations = new Conversations(options.clock, options.config.conversationTtlMs);
  }

  /** Every supported document by its hash, with its sources: the text, as in the spec's example, and where to fetch it. */
  wellKnown(): Record<string, readonly string[]> {
    return this.listed(({ text }, url) => [text, url]);
  }

  /** The same as before 0.2, when a source was a URI. */
  references(): Record<string, readonly string[]> {
    return this.listed((_document, url) => [url]);
  }

  document(hash: string): ProtocolDocument | undefined {
    return [negotiationDocument, this.describe()].find((own) => own.hash === hash) ?? this.options.store.get(hash);
  }

  /** How a request is to be served; its document is taken from its sources when it is not known. */
  async resolve({ protocolHash, sources }: AgoraRequest): Promise<Served | Failure> {
    if (protocolHash === null) return { protocolHash, routine: { type: "language" } };
    if (protocolHash === LIBRARY_NEGOTIATION) return { protocolHash, routine: { type: "library_negotiation" } };
    if (protocolHash === negotiationDocument.hash) return { protocolHash, routine: { type: "negotiation" } };
    const { store, config } = this.options;
    const known = store.get(protocolHash);
    if (known !== undefined) return { protocolHash, routine: routineOf(known) };
    if (this.descriptions.has(protocolHash) || this.describe().hash === protocolHash)
      return { protocolHash, routine: { type: "describe" } };
    const found = await this.options.sources.find(protocolHash, sources);
    if (found === null || !isSupported(found, config.foreignDocuments)) return { http: 200, error: "Unsupported protocol" };
    store.add(found);
    return { protocolHash, routine: routineOf(found) };
  }

  /** Serves one message. A failure of the agent is the protocol's error where the document has one, else Agora's. */
  async serve({ routine }: Served, body: Body, conversationId?: string): Promise<{ body: Body } | Failure> {
    switch (routine.type) {
      case "describe": {
        const { agentId, incarnation, capabilities } = this.options.describeSelf();
        return { body: answerLike(body, { agentId, incarnation, capabilities }) };
      }
      case "negotiation":
        return { body: answerLike(body, this.negotiate(body)) };
      case "library_negotiation":
        return { body: this.converse(body) };
      case "messages":
        return { body: await this.serveMessage(body, conversationId) };
      default:
        return this.servePlain(body, conversationId);
    }
  }

  private listed(sourcesOf: (document: ProtocolDocument, url: string) => readonly string[]): Record<string, readonly string[]> {
    const base = baseUrlOf(this.options.selfAddress());
    const documents = [this.describe(), negotiationDocument, ...this.options.store.list()];
    return Object.fromEntries(
      documents.map((document) => [document.hash, sourcesOf(document, `${base}/documents/${document.hash}`)]),
    );
  }

  private describe(): ProtocolDocument {
    const document = describeDocument(this.options.describeSelf());
    this.descriptions.add(document.hash);
    for (const oldest of this.descriptions) {
      if (this.descriptions.size <= MAX_DESCRIPTIONS) break;
      this.descriptions.delete(oldest);
    }
    return document;
  }

  /** Words, as the library sends them; or JSON with words in it, and a conversation's id, as the paper's demo does, and then the same back. */
  private converse(body: Body): string {
    const { negotiator, store } = this.options;
    const wrapped = objectIn(body);
    const inner = isObject(wrapped) && typeof wrapped["body"] === "string" ? wrapped["body"] : null;
    const { words, agreed } = negotiator.converse(inner ?? (typeof body === "string" ? body : JSON.stringify(body)));
    if (agreed !== null) store.add(agreed);
    if (!isObject(wrapped) || inner === null) return words;
    // No proposal depends on an earlier one, so there is nothing to keep under the id.
    return JSON.stringify({ conversationId: wrapped["conversationId"] ?? randomUUID(), body: words });
  }

  private negotiate(body: Body): Json {
    const { negotiator, store } = this.options;
    const move = readMove(objectIn(body));
    if (move === null) return { error: 'expected one of "propose", "accept" and "reject"' };
    if (move.type === "reject") return writeMove(move);
    if (move.type === "accept") {
      // Only what is supported can have been proposed by us.
      const known = store.get(normalHash(move.hash));
      return writeMove(
        known === undefined ? { type: "reject", reason: "no such proposal" } : { type: "accept", hash: known.hash },
      );
    }
    const decision = negotiator.consider(move.text);
    if (decision.agreed !== null) store.add(decision.agreed);
    return writeMove(decision.move);
  }

  private async serveMessage(body: Body, conversationId?: string): Promise<Body> {
    const message = asMessage(objectIn(body));
    if (message === null)
      return answerLike(body, { error: "the request is not of the form that the protocol document asks for" });
    try {
      return answerLike(body, { parts: await this.execute(message.from, message.payload, conversationId) });
    } catch (error) {
      return answerLike(body, { error: messageOf(error) });
    }
  }

  private async servePlain(body: Body, conversationId?: string): Promise<{ body: Body } | Failure> {
    const heard = typeof body === "string" ? understand(body) : null;
    const payload: Payload =
      heard?.payload ?? (typeof body === "string" ? { text: body } : { parts: [{ kind: "data", data: body }] });
    try {
      const parts = await this.execute(heard?.from ?? null, payload, conversationId);
      return { body: heard === null ? plainAnswer(body, parts) : speak(this.options.agentId, { parts }) };
    } catch (error) {
      return { http: 500, error: messageOf(error) };
    }
  }

  /** Every message is executed, a repeated one again: Agora has no idempotency. */
  private async execute(from: AgentId | null, payload: Payload, contextId?: string): Promise<readonly Part[]> {
    const { agentId, describeSelf, executor } = this.options;
    const parts: Part[] = [];
    // Agora has no cancel: nothing ever aborts this signal.
    const { signal } = new AbortController();
    const messageId = `${agentId}/${describeSelf().incarnation}/${this.messages++}`;
    const context = { messageId, from, payload, signal, ...(contextId === undefined ? {} : { contextId }) };
    let failure: string | null = null;
    await executor.execute(context, {
      enqueue(event) {
        parts.push(...partsOf(event));
        if (event.type === "status" && event.state === "failed") failure = event.message ?? "the work failed";
      },
    });
    if (failure !== null) throw new Error(failure);
    return parts;
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
/** Whoever wrote its JSON as a string, as the library does, reads a string. */
const answerLike = (request: Body, answer: Exclude<Body, string>): Body =>
  typeof request === "string" ? JSON.stringify(answer) : answer;
