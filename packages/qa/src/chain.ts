import type { PlannedHop } from "./questionGrammar.ts";
import { fold } from "./text.ts";
import type { FoundTriple } from "./toolInputs.ts";

/** Where a hop leads, and the passage that says so. */
export interface HopEnd {
  readonly name: string;
  readonly passage: string;
}

/**
 * Where the hop leads from `name` by these triples; null when none of them speaks of it, or when they name two different ends
 * (then guessing would be dishonest).
 */
export function followHop(name: string, hop: PlannedHop, triples: readonly FoundTriple[]): HopEnd | null {
  const ends = new Map<string, HopEnd>();
  for (const triple of triples) {
    const [from, to] = hop.direction === "forward" ? [triple.subject, triple.object] : [triple.object, triple.subject];
    if (triple.relation !== hop.relation || fold(from) !== fold(name)) continue;
    if (!ends.has(fold(to))) ends.set(fold(to), { name: to, passage: triple.passage });
  }
  const [end] = ends.values();
  return end !== undefined && ends.size === 1 ? end : null;
}

/** The end of the whole chain and the passages that carry it, in order; answer null when it breaks. */
export function followChain(
  start: string,
  hops: readonly PlannedHop[],
  triples: readonly FoundTriple[],
): { answer: string | null; evidence: string[] } {
  const evidence: string[] = [];
  let name = start;
  for (const hop of hops) {
    const end = followHop(name, hop, triples);
    if (end === null) return { answer: null, evidence };
    evidence.push(end.passage);
    name = end.name;
  }
  return { answer: hops.length === 0 ? null : name, evidence };
}
