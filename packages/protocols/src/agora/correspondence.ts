import { type AgentId, type Clock, CommError, type Part, type Payload } from "@failstorm/core";
import type { Agreements, Terms } from "./agreements.ts";
import type { Line } from "./caller.ts";
import type { AgoraConfig } from "./config.ts";
import type { AgoraCounters } from "./counters.ts";
import { dataUriOf, normalHash, type ProtocolDocument } from "./document.ts";
import type { DocumentStore } from "./documentStore.ts";
import { type AgoraAnswer, type Body, isConversationLost, isObject, isUnsupported, remoteError } from "./envelope.ts";
import { negotiationDocument } from "./library.ts";
import { asParts, objectIn, speak, textOf, understand } from "./message.ts";
import { type Move, type Negotiator, readMove, writeMove } from "./negotiator.ts";

/** Moves that a negotiation is given before the client breaks it off. */
const MAX_MOVES = 4;
/** Conversations that a client remembers; the oldest makes room. */
const MAX_CONVERSATIONS = 1_000;

/** One message to be sent. */
export interface Letter {
  readonly src: AgentId;
  readonly kind: string;
  readonly payload: Payload;
  readonly contextId?: string;
}

export interface Delivered {
  readonly raw: unknown;
  readonly text: string;
  readonly parts: readonly Part[];
}

/** A conversation at a peer; one conversation, one protocol (spec 7.2). */
interface OpenConversation {
  readonly id: string;
  readonly hash: string | null;
  /** Monotonic ms; Infinity when the server did not say. */
  readonly until: number;
}

interface DocumentForm {
  readonly type: "document";
  readonly hash: string;
  /** Undefined when we have lost it ourselves. */
  readonly document: ProtocolDocument | undefined;
  /** `known`: the peer should have it; `lost`: it had it once; `offered`: it never negotiated, and may take it from its source. */
  readonly standing: "known" | "lost" | "offered";
}

/** The form in which a first message goes. */
type Form = { readonly type: "language" } | DocumentForm;

export interface CorrespondenceOptions {
  readonly clock: Clock;
  readonly config: AgoraConfig;
  readonly store: DocumentStore;
  readonly agreements: Agreements;
  readonly negotiator: Negotiator;
  readonly counters: AgoraCounters;
  /** Where our own host serves a document; a second source, for servers that do not read `data:` URIs. */
  readonly urlOf: (hash: string) => string;
}

/**
 * A client's messages: in natural language while they are rare, under a negotiated document once they are frequent, in a conversation
 * where the caller wants one; and the ways back when the peer has lost the document or the conversation.
 */
export class Correspondence {
  private readonly options: CorrespondenceOptions;
  private readonly conversations = new Map<string, OpenConversation>();

  constructor(options: CorrespondenceOptions) {
    this.options = options;
  }

  /** Sends a message and brings the answer back. Throws CommError. */
  async deliver(line: Line, letter: Letter): Promise<Delivered> {
    const open = letter.contextId === undefined ? undefined : this.conversations.get(keyOf(line.peer, letter.contextId));
    if (open !== undefined) {
      const answer = await this.follow(line, letter, open);
      if (answer !== null) return answer;
      this.conversations.delete(keyOf(line.peer, letter.contextId ?? ""));
      this.options.counters.reopened += 1;
    }
    return this.begin(line, letter, await this.formFor(line, letter.kind));
  }

  /** A further message of a conversation; null when the peer has lost it. */
  private async follow(line: Line, letter: Letter, open: OpenConversation): Promise<Delivered | null> {
    if (this.options.clock.now() >= open.until) return null;
    this.count(open.hash);
    const answer = await line.post(`/conversations/${encodeURIComponent(open.id)}`, { body: bodyOf(letter, open.hash) });
    if (isConversationLost(answer)) return null;
    this.remember(line.peer, letter, open.hash, answer, open.id);
    return read(answer, open.hash, line.peer);
  }

  /** The first message, of a conversation or by itself. */
  private async begin(line: Line, letter: Letter, form: Form, renegotiated = false): Promise<Delivered> {
    if (form.type === "language") return this.finish(line.peer, letter, null, await this.attempt(line, letter, null, []));
    const { hash, document, standing } = form;
    // Nobody has it any more: there is nothing to try.
    if (standing === "lost" && document === undefined)
      return this.begin(...(await this.afterUnsupported(line, letter, form, renegotiated)));
    const sources = standing === "known" || document === undefined ? [] : this.sourcesOf(document);
    if (standing === "lost") this.options.counters.resentSources += 1;
    const answer = await this.attempt(line, letter, hash, sources);
    const failed = answer.status === "failure";
    // Who fails at what it was offered is spoken to; a failure is no consent.
    if (isUnsupported(answer) || (failed && standing === "offered"))
      return this.begin(...(await this.afterUnsupported(line, letter, form, renegotiated)));
    if (standing === "offered") this.options.counters.offered += 1;
    if (standing !== "known" && !failed) this.settle(line.peer, letter.kind, { state: "agreed", hash, lost: false });
    return this.finish(line.peer, letter, hash, answer);
  }

  /** The next attempt, after the peer would not, or could not, have the last one's document. */
  private async afterUnsupported(
    line: Line,
    letter: Letter,
    { hash, document, standing }: DocumentForm,
    renegotiated: boolean,
  ): Promise<[Line, Letter, Form, boolean]> {
    const { kind } = letter;
    if (standing === "known" && document !== undefined) {
      this.settle(line.peer, kind, { state: "agreed", hash, lost: true });
      return [line, letter, { type: "document", hash, document, standing: "lost" }, renegotiated];
    }
    if (standing === "offered" || renegotiated) return [line, letter, this.refuse(line.peer, kind), renegotiated];
    // Nobody has the document, or the peer will not take it from us.
    this.options.counters.renegotiated += 1;
    return [line, letter, await this.negotiate(line, kind, 0), true];
  }

  private async attempt(line: Line, letter: Letter, hash: string | null, sources: readonly string[]): Promise<AgoraAnswer> {
    this.count(hash);
    return line.post("", {
      protocolHash: hash,
      // The library's servers want the field even where there is no protocol.
      ...(hash !== null && sources.length === 0 ? {} : { protocolSources: sources }),
      body: bodyOf(letter, hash),
      ...(letter.contextId === undefined ? {} : { multiround: true }),
    });
  }

  private finish(peer: AgentId, letter: Letter, hash: string | null, answer: AgoraAnswer): Delivered {
    this.remember(peer, letter, hash, answer, null);
    return read(answer, hash, peer);
  }

  private remember(peer: AgentId, { contextId }: Letter, hash: string | null, answer: AgoraAnswer, known: string | null): void {
    if (contextId === undefined || answer.status !== "success") return;
    const id = answer.conversationId ?? known;
    if (id === null) return;
    const { clock } = this.options;
    const expires = answer.conversationExpires;
    const until = expires === null ? Number.POSITIVE_INFINITY : clock.now() + expires * 1000 - clock.wall();
    const key = keyOf(peer, contextId);
    this.conversations.delete(key);
    this.conversations.set(key, { id, hash, until });
    for (const oldest of this.conversations.keys()) {
      if (this.conversations.size <= MAX_CONVERSATIONS) break;
      this.conversations.delete(oldest);
    }
  }

  private count(hash: string | null): void {
    if (hash === null) this.options.counters.naturalLanguage += 1;
    else this.options.counters.byHash += 1;
  }

  private sourcesOf({ hash, text }: ProtocolDocument): readonly string[] {
    return [dataUriOf(text), this.options.urlOf(hash)];
  }

  /** By the terms agreed with the peer; the first message beyond the rare ones negotiates. */
  private async formFor(line: Line, kind: string): Promise<Form> {
    const { agreements, config, store } = this.options;
    const terms = agreements.get(line.peer, kind);
    if (terms.state === "agreed")
      return { type: "document", hash: terms.hash, document: store.get(terms.hash), standing: terms.lost ? "lost" : "known" };
    if (terms.state === "refused") return { type: "language" };
    if (terms.state === "language" && terms.sent >= config.frequentAfter) return this.negotiate(line, kind, terms.sent);
    this.settle(line.peer, kind, { ...terms, sent: terms.sent + 1 });
    return { type: "language" };
  }

  private settle(peer: AgentId, kind: string, terms: Terms): void {
    this.options.agreements.set(peer, kind, terms);
  }

  private refuse(peer: AgentId, kind: string): Form {
    this.options.counters.refused += 1;
    this.settle(peer, kind, { state: "refused" });
    return { type: "language" };
  }

  /** Negotiates a document for messages of a kind. Throws CommError when the peer cannot be reached; then the next message tries again. */
  private async negotiate(line: Line, kind: string, sent: number): Promise<Form> {
    const { negotiator, counters, store } = this.options;
    this.settle(line.peer, kind, { state: "negotiating", sent });
    const proposal = negotiator.propose(kind);
    try {
      const outcome = await this.converse(line, kind, proposal);
      if (outcome === "refused") return this.refuse(line.peer, kind);
      if (outcome === "not negotiating") {
        this.settle(line.peer, kind, { state: "language", sent });
        return { type: "document", hash: proposal.hash, document: proposal, standing: "offered" };
      }
      counters.negotiated += 1;
      store.add(outcome);
      this.settle(line.peer, kind, { state: "agreed", hash: outcome.hash, lost: false });
      return { type: "document", hash: outcome.hash, document: outcome, standing: "known" };
    } catch (error) {
      this.settle(line.peer, kind, { state: "language", sent });
      throw error;
    }
  }

  /** The moves of a negotiation: the document agreed on, if any. */
  private async converse(
    line: Line,
    kind: string,
    proposal: ProtocolDocument,
  ): Promise<ProtocolDocument | "refused" | "not negotiating"> {
    let offered: ProtocolDocument | null = proposal;
    let move: Move = { type: "propose", text: proposal.text };
    let path = "";
    for (let count = 0; count < MAX_MOVES; count++) {
      const first = count === 0 ? { protocolHash: negotiationDocument.hash, multiround: true } : {};
      const answer = await line.post(path, { ...first, body: writeMove(move) });
      if (answer.status === "failure") return isUnsupported(answer) ? "not negotiating" : "refused";
      const reply = readMove(objectIn(answer.body));
      if (reply?.type === "accept") return offered !== null && normalHash(reply.hash) === offered.hash ? offered : "refused";
      if (reply?.type !== "propose" || (path === "" && answer.conversationId === null)) return "refused";
      if (path === "") path = `/conversations/${encodeURIComponent(answer.conversationId ?? "")}`;
      offered = this.options.negotiator.usable(reply.text, kind);
      move = offered === null ? { type: "reject", reason: "no routine for it" } : { type: "accept", hash: offered.hash };
    }
    return "refused";
  }
}

const keyOf = (peer: AgentId, contextId: string): string => `${peer}\n${contextId}`;

const bodyOf = ({ src, payload }: Letter, hash: string | null): Body =>
  hash === null ? speak(src, payload) : { from: src, ...payload };

/** Reads the answer to a message. Throws CommError: `remote` for errors of Agora and of the document, `protocol` for what is neither. */
function read(answer: AgoraAnswer, hash: string | null, peer: AgentId): Delivered {
  if (answer.status === "failure") throw remoteError(peer, answer);
  const { raw, body } = answer;
  if (hash === null) return readPlain(raw, body);
  const content = objectIn(body);
  if (isObject(content) && typeof content["error"] === "string")
    throw new CommError("remote", peer, `${peer}: ${content["error"]}`, { detail: content });
  const parts = isObject(content) ? asParts(content["parts"]) : null;
  if (parts === null)
    throw new CommError("protocol", peer, `${peer}: the answer is not of the form that the document asks for`, { detail: raw });
  return { raw, text: textOf(parts), parts };
}

function readPlain(raw: unknown, body: unknown): Delivered {
  if (typeof body !== "string") return { raw, text: "", parts: body === undefined ? [] : [{ kind: "data", data: body }] };
  const heard = understand(body)?.payload ?? { text: body };
  const parts: readonly Part[] = "parts" in heard ? heard.parts : [{ kind: "text", text: heard.text }];
  return { raw, text: textOf(parts), parts };
}
