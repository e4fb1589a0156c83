import type { Prng } from "@failstorm/core";
import { terms } from "./text.ts";

// Invented places fill a corpus that is to be larger than the facts of the data set. They only make the search harder: no
// question is about them, and no word of their names occurs in a real name.

const STARTS =
  "Bel Cor Dun Fal Gor Hal Ister Jor Kel Lor Mer Nor Or Per Quel Ros Sel Tor Ul Vel Wes Yar Zel Bran Dris Esk Fen Gild".split(
    " ",
  );
const MIDDLES = "a e i o u ada ebra ila ona uda anda este ivi oru ara eno issa olle una yra".split(" ");
const ENDS = "beck bourne dale fell ford garth grad holm mere mont mouth nes port stead thorpe vale wick wold zell minster".split(
  " ",
);

const KINDS = ["market town", "fishing village", "mountain hamlet", "mill town", "harbour town", "spa town"];

export interface InventedPlace {
  readonly name: string;
  readonly text: string;
}

/** `count` invented places, each with a name of its own none of whose words is in `taken`. */
export function inventPlaces(
  count: number,
  countries: readonly string[],
  taken: ReadonlySet<string>,
  prng: Prng,
): InventedPlace[] {
  const names: string[] = [];
  const seen = new Set<string>();
  while (names.length < count) {
    // There are 234 640 names: enough for the largest corpus, and even then drawing again after a collision ends quickly.
    const name = `${prng.pick(STARTS)}${prng.pick(MIDDLES)}${prng.next() < 0.7 ? `l${prng.pick(MIDDLES)}` : ""}${prng.pick(ENDS)}`;
    if (seen.has(name) || terms(name).some((term) => taken.has(term))) continue;
    seen.add(name);
    names.push(name);
  }
  return names.map((name, index) => ({
    name,
    text: describe(name, names[(index + 1) % names.length] ?? name, prng.pick(countries), prng),
  }));
}

function describe(name: string, other: string, country: string, prng: Prng): string {
  const sentences = [
    prng.pick([`${name} is a ${prng.pick(KINDS)} in ${country}.`, `The ${prng.pick(KINDS)} of ${name} is found in ${country}.`]),
    ...prng
      .shuffle([
        `It was first recorded in ${1100 + prng.int(800)}.`,
        `About ${100 + prng.int(90_000)} souls live there.`,
        `It is twinned with ${other}.`,
        `A road leads from it to ${other}.`,
        `Its fair is held every ${prng.pick(["spring", "summer", "autumn", "winter"])}.`,
      ])
      .slice(0, prng.int(3)),
  ];
  return sentences.join(" ");
}
