/** What a name is the name of. A hop leads from one type to another. */
export type EntityType = "place" | "city" | "currency" | "language" | "area" | "region" | "demonym" | "number" | "code" | "name";

/** How a hop along a relation is said: as a noun phrase about {X}, and as a whole question about {X}. */
export interface Phrases {
  readonly nounPhrases: readonly string[];
  readonly questions: readonly string[];
}

/**
 * A relation between a subject {S} and an object {O}. The forms are both what the corpus is written with and the grammar it is read
 * with; a sentence of the corpus is read as one fact only (the generator checks this).
 */
export interface Relation {
  readonly id: string;
  readonly subject: EntityType;
  readonly object: EntityType;
  readonly forms: readonly string[];
  /** Words that help to find the fact, whichever its form. */
  readonly keywords: string;
  /** From subject to object. */
  readonly forward: Phrases | null;
  /** From object to subject. */
  readonly inverse: Phrases | null;
}

export type Direction = "forward" | "inverse";
