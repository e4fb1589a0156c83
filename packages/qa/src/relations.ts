import { EVERYDAY_RELATIONS } from "./everydayRelations.ts";
import type { Relation } from "./relation.ts";

const MORE: readonly Relation[] = [
  {
    id: "official name",
    subject: "place",
    object: "name",
    forms: [
      "The official name of {S} is {O}.",
      "In treaties, {S} appears under its official name, {O}.",
      "Officially, {S} is styled {O}.",
    ],
    keywords: "official name treaties officially styled",
    forward: {
      nounPhrases: ["the official name of {X}"],
      questions: ["What is the official name of {X}?", "Under which official name does {X} appear in treaties?"],
    },
    inverse: {
      nounPhrases: ["the country officially styled {X}"],
      questions: ["Which country is officially styled {X}?"],
    },
  },
  {
    id: "country code",
    subject: "place",
    object: "code",
    forms: ["The three-letter country code of {S} is {O}.", "{O} is the three-letter code that stands for {S}."],
    keywords: "three letter country code stands",
    forward: {
      nounPhrases: ["the three-letter country code of {X}"],
      questions: ["What is the three-letter country code of {X}?", "Which three-letter code stands for {X}?"],
    },
    inverse: {
      nounPhrases: ["the country with the three-letter code {X}"],
      questions: ["Which country has the three-letter code {X}?"],
    },
  },
  {
    id: "regional group",
    subject: "place",
    object: "region",
    forms: ["At the United Nations, {S} sits with the {O}.", "The {O} is the United Nations regional group of {S}."],
    keywords: "united nations regional group sits",
    forward: {
      nounPhrases: ["the United Nations regional group of {X}"],
      questions: [
        "Which regional group does {X} sit with at the United Nations?",
        "What is the United Nations regional group of {X}?",
      ],
    },
    inverse: null,
  },
  {
    id: "neighbour count",
    subject: "place",
    object: "number",
    forms: ["The number of land neighbours of {S} is {O}.", "Counting its land neighbours, {S} arrives at {O}."],
    keywords: "number counting land neighbours",
    forward: {
      nounPhrases: ["the number of land neighbours of {X}"],
      questions: ["How many land neighbours does {X} have?", "What is the number of land neighbours of {X}?"],
    },
    inverse: null,
  },
];

const BETWEEN_PLACES: readonly Relation[] = [
  {
    id: "largest neighbour",
    subject: "place",
    object: "place",
    forms: [
      "The largest neighbour of {S} is {O}.",
      "Of all lands that border {S}, the largest is {O}.",
      "{O} is the largest land on the borders of {S}.",
    ],
    keywords: "largest neighbour border borders",
    forward: {
      nounPhrases: ["the largest neighbour of {X}", "the largest country that borders {X}"],
      questions: ["Which is the largest neighbour of {X}?", "Which is the largest country that borders {X}?"],
    },
    inverse: null,
  },
  {
    id: "smallest neighbour",
    subject: "place",
    object: "place",
    forms: [
      "The smallest neighbour of {S} is {O}.",
      "Of all lands that border {S}, the smallest is {O}.",
      "{O} is the smallest land on the borders of {S}.",
    ],
    keywords: "smallest neighbour border borders",
    forward: {
      nounPhrases: ["the smallest neighbour of {X}", "the smallest country that borders {X}"],
      questions: ["Which is the smallest neighbour of {X}?", "Which is the smallest country that borders {X}?"],
    },
    inverse: null,
  },
  {
    id: "border",
    subject: "place",
    object: "place",
    forms: ["{S} shares a land border with {O}.", "Travellers leaving {S} by land can cross into {O}."],
    keywords: "shares land border travellers leaving cross",
    forward: {
      nounPhrases: ["the only country that shares a land border with {X}"],
      questions: [
        "With which one country does {X} share a land border?",
        "Into which country can travellers leaving {X} by land cross?",
      ],
    },
    inverse: null,
  },
  {
    id: "largest of subregion",
    subject: "region",
    object: "place",
    forms: ["The largest country of the subregion {S} is {O}.", "No country of the subregion {S} is larger than {O}."],
    keywords: "largest larger country subregion",
    forward: {
      nounPhrases: ["the largest country of the subregion {X}", "the largest country of {X}"],
      questions: ["Which is the largest country of the subregion {X}?", "Which country of {X} is the largest?"],
    },
    inverse: null,
  },
];

/** Languages of the data set's translations that are written in Latin letters, by its language code. */
export const NAMING_LANGUAGES: Readonly<Record<string, string>> = {
  ces: "Czech",
  deu: "German",
  est: "Estonian",
  fin: "Finnish",
  fra: "French",
  hrv: "Croatian",
  hun: "Hungarian",
  ita: "Italian",
  nld: "Dutch",
  pol: "Polish",
  por: "Portuguese",
  slk: "Slovak",
  spa: "Spanish",
  swe: "Swedish",
  tur: "Turkish",
};

export const nameRelationId = (language: string): string => `name in ${language}`;

const nameIn = (language: string): Relation => ({
  id: nameRelationId(language),
  subject: "place",
  object: "name",
  forms: [
    `In ${language}, {S} is known as {O}.`,
    `The ${language} name of {S} is {O}.`,
    `{O} is what {S} is called in ${language}.`,
  ],
  keywords: `${language} name known called`,
  forward: {
    nounPhrases: [`the ${language} name of {X}`],
    questions: [`What is the ${language} name of {X}?`, `What is {X} called in ${language}?`],
  },
  inverse: {
    nounPhrases: [`the country known in ${language} as {X}`],
    questions: [`Which country is known in ${language} as {X}?`],
  },
});

/** Every relation the corpus speaks of. */
export const RELATIONS: readonly Relation[] = [
  ...EVERYDAY_RELATIONS,
  ...MORE,
  ...BETWEEN_PLACES,
  ...Object.values(NAMING_LANGUAGES).map(nameIn),
];

const byId = new Map(RELATIONS.map((relation) => [relation.id, relation]));

/** The relation with this id; undefined when there is none. */
export const relationById = (id: string): Relation | undefined => byId.get(id);
