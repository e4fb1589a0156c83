import { readFileSync } from "node:fs";
import type { AgentId } from "@failstorm/core";
import { writeWhole } from "./documentStore.ts";
import { isObject } from "./envelope.ts";

/** How messages of one kind go to one peer. */
export type Terms =
  /** In natural language, so many so far. */
  | { readonly state: "language"; readonly sent: number }
  /** One of them is negotiating a document; the others still go in natural language. */
  | { readonly state: "negotiating"; readonly sent: number }
  /** Under a document; `lost`: the peer does not have it any more and gets its source with the next message. */
  | { readonly state: "agreed"; readonly hash: string; readonly lost: boolean }
  /** The peer would have no document: natural language, until it is met again. */
  | { readonly state: "refused" };

const INITIAL: Terms = { state: "language", sent: 0 };

/**
 * What a client has agreed with its peers, by peer and message kind. Agreements are kept beside the documents and outlive a crash where
 * those do (the reference library keeps both in one file); counts of messages do not.
 */
export class Agreements {
  private readonly terms = new Map<AgentId, Map<string, Terms>>();
  private readonly file: string | null;

  /** `file` null = in memory. */
  constructor(file: string | null) {
    this.file = file;
    for (const [peer, kind, hash] of file === null ? [] : readAgreements(file))
      this.ofPeer(peer).set(kind, { state: "agreed", hash, lost: false });
  }

  get(peer: AgentId, kind: string): Terms {
    return this.terms.get(peer)?.get(kind) ?? INITIAL;
  }

  set(peer: AgentId, kind: string, terms: Terms): void {
    const before = this.get(peer, kind);
    this.ofPeer(peer).set(kind, terms);
    if (agreedHash(before) !== agreedHash(terms)) this.save();
  }

  /** The kinds that messages were sent to `peer` by, or agreed with it. */
  kinds(peer: AgentId): readonly string[] {
    return [...(this.terms.get(peer)?.keys() ?? [])];
  }

  private ofPeer(peer: AgentId): Map<string, Terms> {
    const known = this.terms.get(peer) ?? new Map<string, Terms>();
    this.terms.set(peer, known);
    return known;
  }

  private save(): void {
    if (this.file === null) return;
    const agreed: Record<string, Record<string, string>> = {};
    for (const [peer, kinds] of this.terms) {
      const hashes = [...kinds].map(([kind, terms]) => [kind, agreedHash(terms)] as const).filter(([, hash]) => hash !== null);
      if (hashes.length > 0) agreed[peer] = Object.fromEntries(hashes) as Record<string, string>;
    }
    // A disk that will not have it costs a negotiation after the next crash, no more.
    writeWhole(this.file, JSON.stringify(agreed));
  }
}

const agreedHash = (terms: Terms): string | null => (terms.state === "agreed" ? terms.hash : null);

function readAgreements(file: string): ReadonlyArray<readonly [AgentId, string, string]> {
  try {
    const agreed: unknown = JSON.parse(readFileSync(file, "utf8"));
    if (!isObject(agreed)) return [];
    return Object.entries(agreed).flatMap(([peer, kinds]) =>
      Object.entries(isObject(kinds) ? kinds : {}).flatMap(([kind, hash]) =>
        typeof hash === "string" ? [[peer, kind, hash] as const] : [],
      ),
    );
  } catch {
    // Not there before the first agreement, or unreadable: then everything is agreed anew.
    return [];
  }
}
