import type { Direction } from "./relation.ts";
import type { PlannedHop } from "./questionGrammar.ts";
import type { Triple } from "./sentenceGrammar.ts";
import { fold } from "./text.ts";

/** A fact that a passage of the corpus states. */
export interface StatedFact extends Triple {
  readonly passage: string;
  readonly shard: number;
}

const slot = (relation: string, direction: Direction, name: string): string => `${direction}|${relation}|${fold(name)}`;

/**
 * The whole fact set, seen from both ends. Names are compared as the pipeline compares them, so that two things of one name
 * count as one: what is unique here cannot be ambiguous there.
 */
export class FactSet {
  private readonly ends = new Map<string, Set<string>>();

  constructor(facts: Iterable<Triple>) {
    for (const { subject, relation, object } of facts) {
      this.note(slot(relation, "forward", subject), object);
      this.note(slot(relation, "inverse", object), subject);
    }
  }

  /** Whether the hop from this name has exactly one end. */
  hasOneEnd(name: string, hop: PlannedHop): boolean {
    return this.ends.get(slot(hop.relation, hop.direction, name))?.size === 1;
  }

  private note(key: string, end: string): void {
    const known = this.ends.get(key);
    if (known === undefined) this.ends.set(key, new Set([fold(end)]));
    else known.add(fold(end));
  }
}
