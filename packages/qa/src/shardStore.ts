import MiniSearch from "minisearch";
import type { Passage } from "./document.ts";
import { terms } from "./text.ts";

/** A passage found, with its score in its shard's index. */
export interface Hit extends Passage {
  readonly score: number;
}

/** Why an agent holds a shard: its own, a warm spare, or indexed only when it took the shard over. */
export type ShardRole = "home" | "warm" | "cold";

interface Shard {
  role: ShardRole;
  readonly index: MiniSearch<Passage>;
  readonly passages: ReadonlyMap<string, Passage>;
}

/**
 * The shards an agent holds, each with an index (BM25+) of its own: a passage's score depends only on its shard's passages and
 * their order, never on who else holds what.
 */
export class ShardStore {
  private readonly held = new Map<number, Shard>();

  /** Indexes a shard. One already held is not indexed again: only its role changes (a document never changes in a run). */
  add(shard: number, passages: readonly Passage[], role: ShardRole): void {
    const present = this.held.get(shard);
    if (present !== undefined) {
      present.role = role;
      return;
    }
    const index = new MiniSearch<Passage>({ fields: ["title", "text"], tokenize: terms, processTerm: (term) => term });
    index.addAll(passages);
    this.held.set(shard, { role, index, passages: new Map(passages.map((passage) => [passage.id, passage])) });
  }

  has(shard: number): boolean {
    return this.held.has(shard);
  }

  /** The shard's role; null when it is not held. */
  role(shard: number): ShardRole | null {
    return this.held.get(shard)?.role ?? null;
  }

  /** Forgets the shard and its index; one not held is ignored. */
  remove(shard: number): void {
    this.held.delete(shard);
  }

  /** The numbers of the shards held, ascending. */
  shards(): number[] {
    return [...this.held.keys()].toSorted((a, b) => a - b);
  }

  /** The best `topK` passages of the shard, best first, ties by id. Throws RangeError when the shard is not held. */
  lookup(shard: number, query: string, topK: number): Hit[] {
    const held = this.held.get(shard);
    if (held === undefined) throw new RangeError(`shard ${shard} is not held here`);
    // The library multiplies the BM25+ sum by the number of query terms matched; undone, since it favours passages that match many
    // common words over those that match the rare one.
    const found = held.index
      .search(query)
      .map((result) => ({ id: String(result.id), score: result.score / Math.max(1, result.queryTerms.length) }));
    return found
      .toSorted(byRank)
      .slice(0, topK)
      .flatMap(({ id, score }) => {
        const passage = held.passages.get(id);
        return passage === undefined ? [] : [{ ...passage, score }];
      });
  }
}

const byRank = (a: { score: number; id: string }, b: { score: number; id: string }): number =>
  b.score - a.score || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);

/**
 * One ranking out of several shards' (or holders') answers. The order of the lists does not matter, nor does it matter that two
 * holders of the same shard answered: a passage counts once.
 */
export function mergeHits(lists: readonly (readonly Hit[])[], topK: number): Hit[] {
  const byId = new Map<string, Hit>();
  for (const hit of lists.flat()) {
    const known = byId.get(hit.id);
    if (known === undefined || known.score < hit.score) byId.set(hit.id, hit);
  }
  return [...byId.values()].toSorted(byRank).slice(0, topK);
}
