/** Words that carry no meaning of their own; left out of the index and of queries. */
const STOP_WORDS = new Set(
  (
    "a an and are as at be been but by can did do does for from had has have he her his how i if in into is it its itself me my no " +
    "not of on or our s she so such t than that the their them then there these they this those to was we were what when where " +
    "which who whom whose why will with would you your"
  ).split(" "),
);

/** Lower case, without diacritics (ã → a, ł stays). */
const plain = (text: string): string =>
  text
    .normalize("NFD")
    .replaceAll(/\p{M}+/gu, "")
    .toLowerCase();

/**
 * The form in which two names are compared: lower case, no diacritics, no leading article, no closing full stops. A leading
 * full stop stays (`.at` is not `at`).
 */
export const fold = (name: string): string => plain(name).replaceAll(/\s+/g, " ").trim().replace(/^the /, "").replace(/\.+$/, "");

// A full stop or plus sign that starts a word belongs to it (top-level domains, calling codes); digits keep their separators.
const TERM = /(?:(?<![\p{L}\p{N}.])[.+])?(?:\p{N}+(?:[.,]\p{N}+)+|[\p{L}\p{N}]+)/gu;

/** The index terms of a text, in order, repetitions kept, stop words left out. */
export function terms(text: string): string[] {
  return (plain(text).match(TERM) ?? []).filter((term) => !STOP_WORDS.has(term));
}

// A sentence ends at . ! or ? (and closing quotes) before a space and something that can start a sentence; not after an
// initial (the C. of "D.C."), nor after one of the usual abbreviations.
const SENTENCE_END =
  /(?<!(?:^|[\s.(])\p{Lu}|\b(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|vs|No|Vol|Ltd|Co|Inc|est|ca))[.!?]["”')]*\s+(?=["“'(]*[\p{Lu}\p{N}.+])/gu;

/** Splits running text into sentences, each trimmed and with its final punctuation. */
export function sentencesOf(text: string): string[] {
  const out: string[] = [];
  let start = 0;
  for (const match of text.matchAll(SENTENCE_END)) {
    const end = match.index + match[0].length;
    out.push(text.slice(start, end).trim());
    start = end;
  }
  out.push(text.slice(start).trim());
  return out.filter((sentence) => sentence !== "");
}
