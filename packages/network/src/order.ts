/** Splits an id into the text before its last digits and the number they are; -1 without digits. */
function parts(id: string): readonly [string, number] {
  const digits = /\d+$/.exec(id);
  return digits === null ? [id, -1] : [id.slice(0, digits.index), Number(digits[0])];
}

/** A total order of any ids, the same everywhere; where they end in numbers, by number, so that agent-10 comes after agent-9. */
export function compareIds(a: string, b: string): number {
  const [[prefixA, numberA], [prefixB, numberB]] = [parts(a), parts(b)];
  if (prefixA !== prefixB) return prefixA < prefixB ? -1 : 1;
  return numberA - numberB || (a < b ? -1 : a > b ? 1 : 0);
}
