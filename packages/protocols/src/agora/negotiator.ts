import type { AgoraConfig } from "./config.ts";
import { hashOf, type ProtocolDocument, parseDocument } from "./document.ts";
import { type Json, isObject } from "./envelope.ts";
import { ANY_KIND, isSupported, messagesDocument, routineOf } from "./library.ts";

/** One move of a negotiation, as our negotiation document prescribes. */
export type Move =
  | { readonly type: "propose"; readonly text: string }
  | { readonly type: "accept"; readonly hash: string }
  | { readonly type: "reject"; readonly reason: string };

/** Reads a move; null when it is none, or several at once. */
export function readMove(body: unknown): Move | null {
  if (!isObject(body)) return null;
  const { propose, accept, reject } = body;
  if ([propose, accept, reject].filter((field) => field !== undefined).length !== 1) return null;
  if (typeof propose === "string") return { type: "propose", text: propose };
  if (typeof accept === "string") return { type: "accept", hash: accept };
  return typeof reject === "string" ? { type: "reject", reason: reject } : null;
}

export function writeMove(move: Move): Json {
  if (move.type === "propose") return { propose: move.text };
  return move.type === "accept" ? { accept: move.hash } : { reject: move.reason };
}

/** What a server makes of a proposal, and the document it takes by its move, if it takes one. */
export interface Decision {
  readonly move: Move;
  readonly agreed: ProtocolDocument | null;
}

/**
 * The deterministic negotiator: it proposes the document of the message kind, agrees to what a routine of ours is written for, and offers
 * the document for all kinds in place of what it cannot serve.
 */
export interface Negotiator {
  /** The document to propose for messages of a kind. */
  readonly propose: (kind: string) => ProtocolDocument;
  /** As a client: the counter-proposal as a document that we can send `kind` by; null when we cannot. */
  readonly usable: (text: string, kind: string) => ProtocolDocument | null;
  /** As a server: the answer to a proposal. */
  readonly consider: (text: string) => Decision;
  /** As a server: the answer to one who negotiates in natural language, as the Python library does. */
  readonly converse: (words: string) => { readonly words: string; readonly agreed: ProtocolDocument | null };
}

const FINAL = /<FINALPROTOCOL>([\s\S]*?)<\/FINALPROTOCOL>/i;

const offer = `I speak for an agent without a model, so please let us take a document that it has a routine for. This one I support:

${messagesDocument(ANY_KIND).text}
I also support any document that says in its head (YAML, then a line with three dashes) its name, its description and whether it is
multiround; bodies then reach the agent as they are.`;

export function createDeterministicNegotiator({ foreignDocuments }: Pick<AgoraConfig, "foreignDocuments">): Negotiator {
  const consider = (text: string): Decision => {
    const document = parseDocument(text);
    if (document !== null && isSupported(document, foreignDocuments))
      return { move: { type: "accept", hash: document.hash }, agreed: document };
    const counter = messagesDocument(ANY_KIND);
    return { move: { type: "propose", text: counter.text }, agreed: counter };
  };
  return {
    propose: messagesDocument,
    usable(text, kind) {
      const document = parseDocument(text);
      const routine = document === null ? null : routineOf(document);
      return routine?.type === "messages" && (routine.kind === kind || routine.kind === ANY_KIND) ? document : null;
    },
    consider,
    converse(words) {
      const [, final] = FINAL.exec(words) ?? [];
      const { move, agreed } = consider(final?.trim() ?? words);
      if (move.type === "accept")
        return { words: `Agreed. I support that protocol: its SHA-1 is ${hashOf(agreed?.text ?? "")}.`, agreed };
      return { words: offer, agreed: null };
    },
  };
}
