import { createRequire } from "node:module";
import type { Country } from "world-countries";
import { NAMING_LANGUAGES, nameRelationId } from "./relations.ts";
import type { Triple } from "./sentenceGrammar.ts";
import { fold } from "./text.ts";

/** What is said of one country or territory (the data set makes no difference, nor does the corpus). */
export interface PlaceFacts {
  readonly code: string;
  readonly name: string;
  /** Codes of the places it borders. */
  readonly borders: readonly string[];
  /** Most useful for chains of questions. */
  readonly core: readonly Triple[];
  /** Single borders and names in other languages. */
  readonly further: readonly Triple[];
}

const require = createRequire(import.meta.url);

/** Read only when a corpus is generated: agents never hold the data set in memory. */
const readCountries = (): readonly Country[] => require("world-countries") as readonly Country[];

const WITH_ARTICLE = new Set(
  (
    "Bahamas|Central African Republic|Comoros|Dominican Republic|Gambia|Isle of Man|Maldives|Netherlands|Philippines|Republic of the Congo|" +
    "Seychelles|United Arab Emirates|United Kingdom|United States|United States Minor Outlying Islands|Vatican City"
  ).split("|"),
);

const displayName = (name: string): string => (WITH_ARTICLE.has(name) || name.endsWith(" Islands") ? `the ${name}` : name);

const withThousands = (count: number): string => String(count).replaceAll(/\B(?=(\d{3})+(?!\d))/g, ",");

/** Every fact of the data set that the relations can express, place by place in the data set's order. */
export function readPlaceFacts(): PlaceFacts[] {
  const countries = readCountries();
  const byCode = new Map(countries.map((country) => [country.cca3, country]));
  return countries.map((country) => {
    const neighbours = country.borders.flatMap((code) => byCode.get(code) ?? []).toSorted((a, b) => b.area - a.area);
    const name = displayName(country.name.common);
    const say = (relation: string, object: string): Triple => ({ subject: name, relation, object });
    const borders = neighbours.map((neighbour) => say("border", displayName(neighbour.name.common)));
    const only = borders.length === 1;
    return {
      code: country.cca3,
      name,
      borders: country.borders,
      core: [...ownFacts(country, say), ...neighbourFacts(neighbours, say), ...(only ? borders : [])],
      further: [...translations(country, say), ...(only ? [] : borders)],
    };
  });
}

type Say = (relation: string, object: string) => Triple;

function ownFacts(country: Country, say: Say): Triple[] {
  const { root, suffixes } = country.idd;
  const demonym = country.demonyms["eng"]?.m ?? "";
  const facts = [
    ...country.capital.map((capital) => say("capital", capital)),
    ...Object.values(country.currencies).map((currency) => say("currency", currency.name)),
    ...Object.values(country.languages).map((language) => say("language", language)),
    say("subregion", country.subregion),
    say("continent", country.region),
    ...(country.area > 0 ? [say("area", withThousands(country.area))] : []),
    say("demonym", demonym),
    // Several suffixes are area codes within a shared country code; only a single one makes a calling code.
    say("calling code", suffixes.length === 1 ? `${root}${suffixes[0]}` : ""),
    ...country.tld.filter((tld) => /^\.[a-z]+$/.test(tld)).map((tld) => say("internet domain", tld)),
    say("official name", fold(country.name.official) === fold(country.name.common) ? "" : country.name.official),
    say("country code", country.cca3),
    say("regional group", country.unRegionalGroup),
    say("neighbour count", country.borders.length === 0 ? "" : String(country.borders.length)),
  ];
  return facts.filter((fact) => fact.object !== "");
}

function neighbourFacts(neighbours: readonly Country[], say: Say): Triple[] {
  const [largest, smallest] = [neighbours[0], neighbours.at(-1)];
  if (largest === undefined || smallest === undefined || neighbours.length < 2) return [];
  return [
    say("largest neighbour", displayName(largest.name.common)),
    say("smallest neighbour", displayName(smallest.name.common)),
  ];
}

const translations = (country: Country, say: Say): Triple[] =>
  Object.entries(NAMING_LANGUAGES).flatMap(([code, language]) => {
    const translated = country.translations[code]?.common ?? "";
    return translated === "" || fold(translated) === fold(country.name.common) ? [] : [say(nameRelationId(language), translated)];
  });

/** The largest country of each subregion. */
export function readSubregionFacts(): Triple[] {
  const largest = new Map<string, Country>();
  for (const country of readCountries()) {
    const known = largest.get(country.subregion);
    if (country.subregion !== "" && (known === undefined || known.area < country.area)) largest.set(country.subregion, country);
  }
  return [...largest].map(([subregion, country]) => ({
    subject: subregion,
    relation: "largest of subregion",
    object: displayName(country.name.common),
  }));
}
