import type { Relation } from "./relation.ts";
import { RELATIONS } from "./relations.ts";

/** What a sentence says. */
export interface Triple {
  readonly subject: string;
  /** A relation's id. */
  readonly relation: string;
  readonly object: string;
}

const escaped = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");

/**
 * A template as an anchored pattern. Its slots ({S}, {O}, {X}) become groups of the same name; letter case counts but for the
 * first letter.
 */
export function compileTemplate(template: string): RegExp {
  const pattern = template
    .split(/(\{[A-Z]\})/)
    .map((piece) => (/^\{[A-Z]\}$/.test(piece) ? `(?<${piece[1]}>.+)` : escaped(piece)))
    .join("");
  const first = pattern[0] ?? "";
  const start = /[a-z]/i.test(first) ? `[${first.toLowerCase()}${first.toUpperCase()}]` : first;
  return new RegExp(`^${start}${pattern.slice(1)}$`, "u");
}

const formPatterns = new Map<string, readonly RegExp[]>(RELATIONS.map(({ id, forms }) => [id, forms.map(compileTemplate)]));

const capitalised = (sentence: string): string => `${sentence.slice(0, 1).toUpperCase()}${sentence.slice(1)}`;

/** The fact as a sentence, in the relation's form number `form`. */
export function writeSentence(relation: Relation, form: number, subject: string, object: string): string {
  const template = relation.forms[form % relation.forms.length] ?? "";
  const sentence = template.replaceAll("{S}", () => subject).replaceAll("{O}", () => object);
  // A name that ends in a full stop (D.C.) ends its sentence too.
  return capitalised(sentence.replace(/\.\.$/, "."));
}

/** What the sentence says by the relation's forms; more than one when forms overlap, none when it is no sentence of that kind. */
export function readSentence(relation: string, sentence: string): Triple[] {
  const found: Triple[] = [];
  for (const pattern of formPatterns.get(relation) ?? []) {
    const groups = pattern.exec(sentence)?.groups;
    const [subject, object] = [groups?.["S"], groups?.["O"]];
    if (subject !== undefined && object !== undefined) found.push({ subject, relation, object });
  }
  return found;
}

/** What the sentence says by any relation's forms. */
export const readAny = (sentence: string): Triple[] => RELATIONS.flatMap(({ id }) => readSentence(id, sentence));
