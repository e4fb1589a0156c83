import { type AgentDescription, type AgentId, CommError, type MeteredResponse } from "@failstorm/core";
import type { Agreements } from "./agreements.ts";
import type { AgoraCounters } from "./counters.ts";
import { hashOf, normalHash, type ProtocolDocument, parseDocument } from "./document.ts";
import type { DocumentStore } from "./documentStore.ts";
import { isObject, readAnswer, remoteError } from "./envelope.ts";
import { descriptionIn, messagesDocument, routineOf } from "./library.ts";

/** What a peer lists (spec 9). */
export interface WellKnown {
  readonly hashes: ReadonlySet<string>;
  /** Those of the documents whose text is given and matches its hash. */
  readonly documents: readonly ProtocolDocument[];
}

/** Null when the peer has no `wellknown`, which is optional. Throws CommError. */
export function readWellKnown(response: MeteredResponse, peer: AgentId): WellKnown | null {
  if (response.status === 404 || response.status === 405) return null;
  if (response.status !== 200) {
    const answer = readAnswer(response, peer);
    throw remoteError(peer, { http: response.status, error: answer.status === "failure" ? answer.error : "no wellknown" });
  }
  let listed: unknown = null;
  try {
    listed = JSON.parse(response.body.toString("utf8"));
  } catch {
    // Reported below, with what is no object.
  }
  if (!isObject(listed)) throw new CommError("protocol", peer, `${peer}: /wellknown is not a JSON object`);
  // The paper's demo wraps the list.
  const supported = isObject(listed["protocols"]) ? listed["protocols"] : listed;
  const hashes = new Set(Object.keys(supported).map(normalHash));
  const documents = Object.entries(supported).flatMap(([key, sources]) => {
    const texts = Array.isArray(sources) ? sources.filter((source) => typeof source === "string") : [];
    const text = texts.find((candidate) => hashOf(candidate) === normalHash(key));
    const document = text === undefined ? null : parseDocument(text);
    return document === null ? [] : [document];
  });
  return { hashes, documents };
}

/**
 * What the peer says of itself. A stranger says nothing; then the description is empty, with incarnation 0. Throws CommError when somebody
 * else answers.
 */
export function descriptionOf(peer: AgentId, listed: WellKnown | null): AgentDescription {
  const description = listed?.documents.map(descriptionIn).find((found) => found !== null);
  if (description === undefined) return { agentId: peer, incarnation: 0, capabilities: [] };
  if (description.agentId === peer) return description;
  throw new CommError("protocol", peer, `${peer}: it is ${description.agentId} that answers`, { detail: description });
}

/** What a client makes of it: which agreements still stand, and which documents it may use from now on without a negotiation. */
export function takeStock(
  { agreements, store, counters }: { agreements: Agreements; store: DocumentStore; counters: AgoraCounters },
  peer: AgentId,
  { hashes }: WellKnown,
): void {
  const routines = [...hashes].map((hash) => routineOf({ hash }));
  const kinds = routines.flatMap((routine) => (routine.type === "messages" ? [routine.kind] : []));
  for (const kind of new Set([...agreements.kinds(peer), ...kinds])) {
    const terms = agreements.get(peer, kind);
    const { hash } = terms.state === "agreed" ? terms : messagesDocument(kind);
    const known = hashes.has(hash);
    if (terms.state === "agreed") {
      if (known) counters.knownHash += 1;
      agreements.set(peer, kind, { ...terms, lost: !known });
    } else if (known && terms.state !== "negotiating") {
      counters.adopted += 1;
      store.add(messagesDocument(kind));
      agreements.set(peer, kind, { state: "agreed", hash, lost: false });
    } else if (terms.state === "refused") agreements.set(peer, kind, { state: "language", sent: 0 });
  }
}
