import type { Prng } from "@failstorm/core";
import { FactSet, type StatedFact } from "./knowledge.ts";
import { type PlannedHop, planQuestion, wordingsOf } from "./questionGrammar.ts";
import type { Direction, EntityType } from "./relation.ts";
import { RELATIONS } from "./relations.ts";
import type { Triple } from "./sentenceGrammar.ts";
import { fold } from "./text.ts";

/** A path through the facts: each hop has exactly one end. */
export interface Chain {
  readonly start: string;
  readonly hops: readonly PlannedHop[];
  readonly facts: readonly StatedFact[];
  readonly gold: string;
}

interface Edge {
  readonly hop: PlannedHop;
  readonly fact: StatedFact;
  readonly from: string;
  readonly to: string;
  readonly toKey: string;
}

const typedName = (type: EntityType, name: string): string => `${type}|${fold(name)}`;

/** Every unambiguous hop over the stated facts, by the type and name it starts from. */
function edgesFrom(stated: readonly StatedFact[], all: FactSet): Map<string, Edge[]> {
  const edges = new Map<string, Edge[]>();
  const relations = new Map(RELATIONS.map((relation) => [relation.id, relation]));
  const add = (fact: StatedFact, direction: Direction): void => {
    const relation = relations.get(fact.relation);
    const hop = { relation: fact.relation, direction };
    if (relation === undefined || relation[direction] === null) return;
    const ends = [
      { type: relation.subject, name: fact.subject },
      { type: relation.object, name: fact.object },
    ] as const;
    const [from, to] = direction === "forward" ? ends : [ends[1], ends[0]];
    if (!all.hasOneEnd(from.name, hop)) return;
    const key = typedName(from.type, from.name);
    const edge = { hop, fact, from: from.name, to: to.name, toKey: typedName(to.type, to.name) };
    const known = edges.get(key);
    if (known === undefined) edges.set(key, [edge]);
    else known.push(edge);
  };
  for (const fact of stated) {
    add(fact, "forward");
    add(fact, "inverse");
  }
  return edges;
}

/**
 * All chains of `length` hops over the stated facts in which every hop has exactly one end in the whole fact set `all`, no name
 * comes twice, and the facts lie in as many different shards as they can (`shards` may be fewer than hops).
 */
export function chainsOf(length: number, stated: readonly StatedFact[], all: readonly Triple[], shards: number): Chain[] {
  const edges = edgesFrom(stated, new FactSet(all));
  const chains: Chain[] = [];
  const walk = (path: readonly Edge[], key: string, visited: ReadonlySet<string>): void => {
    if (path.length === length) {
      if (new Set(path.map(({ fact }) => fact.shard)).size < Math.min(length, shards)) return;
      const [first, last] = [path[0], path.at(-1)];
      if (first === undefined || last === undefined) return;
      chains.push({ start: first.from, hops: path.map(({ hop }) => hop), facts: path.map(({ fact }) => fact), gold: last.to });
      return;
    }
    for (const edge of edges.get(key) ?? []) {
      const name = fold(edge.to);
      if (visited.has(name)) continue;
      walk([...path, edge], edge.toKey, new Set([...visited, name]));
    }
  };
  for (const [key, starting] of edges) {
    const start = starting[0];
    if (start !== undefined) walk([], key, new Set([fold(start.from)]));
  }
  return chains;
}

/** The chain as a question, worded at random; null when those words could be read in another way. */
export function wordChain(chain: Chain, prng: Prng): string | null {
  let phrase = chain.start;
  for (const [index, hop] of chain.hops.entries()) {
    const { questions, nounPhrases } = wordingsOf(hop);
    const last = index === chain.hops.length - 1;
    const template = prng.pick(last ? questions : nounPhrases);
    phrase = template.replaceAll("{X}", () => phrase).replaceAll("the the ", "the ");
  }
  const question = `${phrase.slice(0, 1).toUpperCase()}${phrase.slice(1)}`;
  const plan = planQuestion(question);
  const same =
    plan !== null && fold(plan.start) === fold(chain.start) && JSON.stringify(plan.hops) === JSON.stringify(chain.hops);
  return same ? question : null;
}
