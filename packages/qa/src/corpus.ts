import { InputError, type Prng } from "@failstorm/core";
import { calibrate, type Question } from "./calibrate.ts";
import { type Chain, chainsOf, wordChain } from "./chains.ts";
import { encodeDocument, type Passage } from "./document.ts";
import { type PlaceFacts, readPlaceFacts, readSubregionFacts } from "./facts.ts";
import type { StatedFact } from "./knowledge.ts";
import { DEFAULT_TOP_K } from "./pipeline.ts";
import { inventPlaces } from "./places.ts";
import { relationById } from "./relations.ts";
import { readAny, type Triple, writeSentence } from "./sentenceGrammar.ts";
import { fold, terms } from "./text.ts";

/** A document and the questions to ask about it. */
export interface QuestionSet {
  /** Newline-delimited JSON, see encodeDocument. */
  readonly document: Uint8Array;
  readonly shardCount: number;
  readonly questions: readonly Question[];
  /** Whether every question was answered right, without faults, by the pipeline the agents run. */
  readonly calibrated: boolean;
  /** Questions of the data set that were left out because of how the passages lie now; absent: none. */
  readonly leftOut?: number;
}

export interface CorpusOptions {
  readonly prng: Prng;
  readonly shards: number;
  readonly passages: number;
  readonly questions: number;
  /** The numbers of hops asked about, each about as often. */
  readonly hops: readonly number[];
  /** Passages per search in the run these questions are for. */
  readonly topK?: number;
}

const MAX_HOPS = 4;
/** Beyond this the invented names run out. */
const MAX_PASSAGES = 200_000;
/** How often a chain is worded anew when there are fewer chains than questions asked for. */
const WORDINGS = 6;

/**
 * A corpus over the facts of the npm data set world-countries, in varied sentences, one fact a passage; when more passages are
 * asked for than there are facts (about 9 000), invented places fill up. Questions lead over facts of different shards (as many as
 * there are), have one answer in the whole fact set, and are calibrated. Same options and seed: same bytes. Throws InputError
 * when the options cannot be met.
 */
export async function generateCorpus(options: CorpusOptions): Promise<QuestionSet> {
  checkOptions(options);
  const { prng, passages: count, shards: shardCount } = options;
  const places = readPlaceFacts();
  const all = [...readSubregionFacts(), ...places.flatMap(({ core, further }) => [...core, ...further])];
  const chosen = chooseFacts(places, count, prng.fork("facts"));
  const written = [
    ...chosen.map((fact) => ({ fact, ...statement(fact, prng) })),
    ...fillers(count - chosen.length, places, all, prng),
  ];
  const shards: Passage[][] = Array.from({ length: shardCount }, () => []);
  const stated: StatedFact[] = [];
  for (const [index, { fact, title, text }] of prng.fork("shards").shuffle(written).entries()) {
    const shard = index % shardCount;
    const id = `p${String(index).padStart(6, "0")}`;
    shards[shard]?.push({ id, title, text });
    if (fact !== null) stated.push({ ...fact, passage: id, shard });
  }
  const candidates = draftQuestions(stated, all, options);
  const questions = await calibrate({ shards, candidates, wanted: options.questions, topK: options.topK ?? DEFAULT_TOP_K });
  return { document: encodeDocument(shards), shardCount, questions, calibrated: true };
}

function checkOptions({ shards, passages, questions, hops }: CorpusOptions): void {
  const whole = (name: string, value: number, min: number, remedy: string): void => {
    if (!Number.isInteger(value) || value < min)
      throw new InputError(`${name} ${value}: must be a whole number, at least ${min}; ${remedy}`);
  };
  whole("shards", shards, 1, "one shard per agent");
  whole("questions", questions, 0, "2000 suit a default run");
  whole("passages", passages, shards, "every shard needs a passage; 2000 suit a default run");
  if (passages > MAX_PASSAGES)
    throw new InputError(`passages ${passages}: at most ${MAX_PASSAGES} can be generated; ask for fewer`);
  if (hops.length === 0) throw new InputError("hops: none given; name at least one number, such as 2,3");
  for (const hop of hops) {
    if (!Number.isInteger(hop) || hop < 1 || hop > MAX_HOPS)
      throw new InputError(`hops ${hop}: must be a whole number from 1 to ${MAX_HOPS}`);
  }
}

/** Facts for `count` passages: neighbouring places together, so that chains exist in a small corpus too; further facts last. */
function chooseFacts(places: readonly PlaceFacts[], count: number, prng: Prng): Triple[] {
  const ordered = byNeighbourhood(places, prng);
  const core = [...ordered.flatMap((place) => place.core), ...readSubregionFacts()];
  const further = prng.shuffle(ordered.flatMap((place) => place.further));
  // Lazily: reading each fact back costs more than all the rest.
  return [...core, ...further].values().filter(isReadable).take(count).toArray();
}

/** A walk over the borders that now and then sets out from somewhere else. */
function byNeighbourhood(places: readonly PlaceFacts[], prng: Prng): PlaceFacts[] {
  const byCode = new Map(places.map((place) => [place.code, place]));
  const left = new Map(prng.shuffle(places).map((place) => [place.code, place]));
  const queue: PlaceFacts[] = [];
  const out: PlaceFacts[] = [];
  while (left.size > 0) {
    const queued = prng.next() < 0.75 ? queue.shift() : undefined;
    const [elsewhere] = left.values();
    const next = queued ?? elsewhere;
    if (next === undefined || !left.delete(next.code)) continue;
    out.push(next);
    queue.push(...next.borders.flatMap((code) => byCode.get(code) ?? []));
  }
  return out;
}

/** Whether each of the fact's sentences says this fact and nothing else (a name may contain words of a form). */
function isReadable(fact: Triple): boolean {
  const relation = relationById(fact.relation);
  if (relation === undefined) return false;
  return relation.forms.every((_, form) => {
    const read = readAny(writeSentence(relation, form, fact.subject, fact.object));
    return read.length > 0 && read.every((other) => sameFact(other, fact));
  });
}

const sameFact = (a: Triple, b: Triple): boolean =>
  a.relation === b.relation && fold(a.subject) === fold(b.subject) && fold(a.object) === fold(b.object);

const ASIDES = [
  "The gazetteer repeats this in every edition.",
  "Older almanacs say the same.",
  "Pupils learn it by heart.",
  "It is a favourite of quiz masters.",
  "The entry was checked against the sources.",
  "Maps agree.",
];

function statement(fact: Triple, prng: Prng): { title: string; text: string } {
  const own = prng.fork(`${fact.relation}|${fact.subject}|${fact.object}`);
  const relation = relationById(fact.relation);
  if (relation === undefined) throw new RangeError(`no relation ${fact.relation}`);
  const sentence = writeSentence(relation, own.int(relation.forms.length), fact.subject, fact.object);
  const asides = own.shuffle(ASIDES).slice(0, own.int(3));
  return { title: fact.subject.replace(/^the /, ""), text: [sentence, ...asides].join(" ") };
}

function fillers(
  count: number,
  places: readonly PlaceFacts[],
  all: readonly Triple[],
  prng: Prng,
): { fact: null; title: string; text: string }[] {
  if (count <= 0) return [];
  const taken = new Set(all.flatMap(({ subject, object }) => [...terms(subject), ...terms(object)]));
  const names = places.map(({ name }) => name);
  return inventPlaces(count, names, taken, prng.fork("places")).map(({ name, text }) => ({ fact: null, title: name, text }));
}

/** Candidates, one number of hops after the other in turn; chains come round again, worded anew, when all have been used. */
function* draftQuestions(stated: readonly StatedFact[], all: readonly Triple[], options: CorpusOptions): Generator<Question> {
  const { prng, hops, shards } = options;
  const lanes = [...new Set(hops)].map((length) => prng.fork(`chains ${length}`).shuffle(chainsOf(length, stated, all, shards)));
  const wording = prng.fork("wording");
  const asked = new Set<string>();
  const longest = Math.max(...lanes.map((lane) => lane.length));
  for (let round = 0; round < WORDINGS; round++) {
    for (let index = 0; index < longest; index++) {
      for (const chain of lanes.flatMap((lane) => lane[index] ?? [])) {
        const question = wordChain(chain, wording);
        if (question === null || asked.has(question)) continue;
        asked.add(question);
        yield toQuestion(`q${String(asked.size - 1).padStart(6, "0")}`, question, chain);
      }
    }
  }
}

const toQuestion = (id: string, question: string, chain: Chain): Question => ({
  id,
  question,
  gold: chain.gold.replace(/^the /, ""),
  expected: "",
  hops: chain.hops.length,
  evidence: chain.facts.map((fact) => fact.passage),
});
