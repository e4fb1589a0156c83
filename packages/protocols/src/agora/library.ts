import { type AgentDescription, MESSAGE_KINDS } from "@failstorm/core";
import { type ProtocolDocument, parseDocument } from "./document.ts";

/**
 * The protocol documents that a routine of ours is written for. Their texts are fixed: an agent recognises a document by being able
 * to write it, to the letter, itself.
 */
export type Routine =
  /** Text or parts from one agent to another, and the answer's. */
  | { readonly type: "messages"; readonly kind: string }
  /** Agreeing on a document. */
  | { readonly type: "negotiation" }
  /** What an agent says of itself. */
  | { readonly type: "describe" }
  /** Somebody else's document: bodies go to the agent as they are. */
  | { readonly type: "foreign" };

/** How a request is served: by the routine for its protocol, or, without one, as natural language. */
export interface Served {
  readonly protocolHash: string | null;
  readonly routine: Routine | { readonly type: "language" } | { readonly type: "library_negotiation" };
}

/** The kind of the document that serves messages of all kinds; a counter-proposal to documents that no routine is written for. */
export const ANY_KIND = "any";

function written(text: string): ProtocolDocument {
  const document = parseDocument(text);
  if (document === null) throw new Error(`a document of our own is malformed: ${text}`);
  return document;
}

const messagesText = (kind: string): string =>
  `name: failstorm ${kind} messages
description: A message of kind ${kind} between two agents, and its answer
multiround: false
---
Request: a JSON object with "text" (string) or "parts" (array) and, if the sender has one, "from" (string, its id).
A part is {"kind":"text","text":string} or {"kind":"data","data":any JSON value}.
Reply: a JSON object with "parts" (array). If the request is not of this form, or the work fails: {"error":string}.
`;

const kindDocuments: ReadonlyMap<string, ProtocolDocument> = new Map(
  MESSAGE_KINDS.map((kind) => [kind, written(messagesText(kind))]),
);

const anyDocument = written(messagesText(ANY_KIND));

/** The document for messages of one kind; that for all of them when there is no such kind. */
export const messagesDocument = (kind: string): ProtocolDocument => kindDocuments.get(kind) ?? anyDocument;

export const negotiationDocument: ProtocolDocument = written(`name: failstorm negotiation
description: Agreeing on a protocol document for messages that have become frequent
multiround: true
---
Each message is a JSON object with one field.
Request: "propose" (string, the text of a document), "accept" (string, the hash of the document that the other side has proposed
last) or "reject" (string, the reason; it ends the negotiation).
Reply: "accept" (string, the hash of the proposed document, which the receiver supports from now on; it ends the negotiation),
"propose" (string, the text of a document that it would rather support) or "reject". If the request is not of this form: {"error":string}.
`);

/**
 * What an agent says of itself, as a protocol document: Agora knows no identity of agents, but `wellknown` lists documents, and their
 * authors may add metadata. Its hash changes with what it says.
 */
export const describeDocument = ({ agentId, incarnation, capabilities }: AgentDescription): ProtocolDocument =>
  written(`name: failstorm description of ${agentId}
description: What this agent says of itself, in the entries below
multiround: false
agentId: ${JSON.stringify(agentId)}
incarnation: ${incarnation}
capabilities: ${JSON.stringify(capabilities)}
---
Request: anything. Reply: a JSON object with "agentId", "incarnation" and "capabilities" as they are now.
`);

/** Reads such a document; null when it is another one. */
export function descriptionIn({ metadata }: ProtocolDocument): AgentDescription | null {
  const { agentId, incarnation, capabilities } = metadata.entries;
  if (typeof agentId !== "string" || typeof incarnation !== "number" || !Array.isArray(capabilities)) return null;
  return { agentId, incarnation, capabilities: capabilities.map(String) };
}

/** The routine for a document, which its hash tells. */
export function routineOf({ hash }: Pick<ProtocolDocument, "hash">): Routine {
  if (hash === negotiationDocument.hash) return { type: "negotiation" };
  if (hash === anyDocument.hash) return { type: "messages", kind: ANY_KIND };
  for (const [kind, document] of kindDocuments) if (document.hash === hash) return { type: "messages", kind };
  return { type: "foreign" };
}

/** Whether we take a document from somebody: what a routine is written for, and strangers' where they are welcome; no description of an agent but our own. */
export const isSupported = (document: ProtocolDocument, foreignDocuments: "accept" | "reject"): boolean =>
  routineOf(document).type !== "foreign" || (foreignDocuments === "accept" && descriptionIn(document) === null);
