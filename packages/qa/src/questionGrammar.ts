import type { Direction, Phrases } from "./relation.ts";
import { RELATIONS } from "./relations.ts";
import { compileTemplate } from "./sentenceGrammar.ts";

/** One step of a plan: from what is known along a relation. */
export interface PlannedHop {
  /** A relation's id. */
  readonly relation: string;
  readonly direction: Direction;
}

/** How to answer a question: begin at a name, follow the hops in order. */
export interface Plan {
  readonly start: string;
  readonly hops: readonly PlannedHop[];
}

interface Rule extends PlannedHop {
  readonly template: string;
  readonly pattern: RegExp;
}

const rulesOf = (choose: (phrases: Phrases) => readonly string[]): Rule[] =>
  RELATIONS.flatMap(({ id, forward, inverse }) =>
    (
      [
        ["forward", forward],
        ["inverse", inverse],
      ] as const
    ).flatMap(([direction, phrases]) =>
      (phrases === null ? [] : choose(phrases)).map((template) => ({
        relation: id,
        direction,
        template,
        pattern: compileTemplate(template),
      })),
    ),
  );

const nounPhraseRules = rulesOf((phrases) => phrases.nounPhrases);
// "Tell me the capital of …" suits every noun phrase.
const questionRules = [
  ...rulesOf((phrases) => phrases.questions),
  ...nounPhraseRules.flatMap((rule) =>
    [`Tell me ${rule.template}.`, `Find ${rule.template}.`].map((template) => ({
      relation: rule.relation,
      direction: rule.direction,
      template,
      pattern: compileTemplate(template),
    })),
  ),
];

/** How many ways there are to say this hop, as a question's frame and as a phrase within one. */
export const wordingsOf = ({
  relation,
  direction,
}: PlannedHop): { questions: readonly string[]; nounPhrases: readonly string[] } => ({
  questions: questionRules
    .filter((rule) => rule.relation === relation && rule.direction === direction)
    .map((rule) => rule.template),
  nounPhrases: nounPhraseRules
    .filter((rule) => rule.relation === relation && rule.direction === direction)
    .map((rule) => rule.template),
});

/** The names and noun phrases that `text` can be read as, outermost hop last. A text that is a noun phrase is not a name. */
function readNounPhrase(text: string): Plan[] {
  const nested = applyRules(nounPhraseRules, text);
  return nested.length > 0 ? nested : [{ start: text, hops: [] }];
}

const applyRules = (rules: readonly Rule[], text: string): Plan[] =>
  rules.flatMap((rule) => {
    const inner = rule.pattern.exec(text)?.groups?.["X"];
    if (inner === undefined) return [];
    const hop = { relation: rule.relation, direction: rule.direction };
    return readNounPhrase(inner).map((plan) => ({ start: plan.start, hops: [...plan.hops, hop] }));
  });

/** The one plan the question's words amount to; null when they fit no form of the grammar, or could mean two things. */
export function planQuestion(question: string): Plan | null {
  const plans = applyRules(questionRules, question.trim().replaceAll(/\s+/g, " "));
  const distinct = new Map(plans.map((plan) => [JSON.stringify(plan), plan]));
  const [plan] = distinct.values();
  return plan !== undefined && distinct.size === 1 ? plan : null;
}
