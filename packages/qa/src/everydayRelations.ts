import type { Relation } from "./relation.ts";

/** What atlases and travel guides say of a place. */
export const EVERYDAY_RELATIONS: readonly Relation[] = [
  {
    id: "capital",
    subject: "place",
    object: "city",
    forms: [
      "The capital of {S} is {O}.",
      "{O} is the capital city of {S}.",
      "{S} is governed from its capital, {O}.",
      "As its capital, {S} has {O}.",
    ],
    keywords: "capital city governed",
    forward: {
      nounPhrases: ["the capital of {X}", "the capital city of {X}"],
      questions: ["What is the capital of {X}?", "Which city is the capital of {X}?"],
    },
    inverse: {
      nounPhrases: [
        "the country whose capital is {X}",
        "the country governed from {X}",
        "the country that has {X} as its capital",
      ],
      questions: ["Which country has {X} as its capital?", "{X} is the capital of which country?"],
    },
  },
  {
    id: "currency",
    subject: "place",
    object: "currency",
    forms: [
      "People in {S} pay with the {O}.",
      "The {O} is the currency of {S}.",
      "{S} uses the {O} as its currency.",
      "Prices in {S} are quoted in the {O}.",
    ],
    keywords: "currency pay prices quoted uses",
    forward: {
      nounPhrases: ["the currency of {X}", "the money used in {X}"],
      questions: ["What is the currency of {X}?", "Which currency is used in {X}?", "What do people pay with in {X}?"],
    },
    inverse: {
      nounPhrases: ["the country whose currency is the {X}", "the only country that pays with the {X}"],
      questions: ["Which country uses the {X} as its currency?", "In which country do people pay with the {X}?"],
    },
  },
  {
    id: "language",
    subject: "place",
    object: "language",
    forms: [
      "{O} is an official language of {S}.",
      "In {S}, official documents are written in {O}.",
      "The authorities of {S} use {O} as an official language.",
    ],
    keywords: "official language documents written authorities",
    forward: {
      nounPhrases: ["the official language of {X}"],
      questions: ["What is the official language of {X}?", "In which language are official documents of {X} written?"],
    },
    inverse: {
      nounPhrases: ["the only country where {X} is an official language"],
      questions: ["In which country alone is {X} an official language?", "Which country has {X} as an official language?"],
    },
  },
  {
    id: "subregion",
    subject: "place",
    object: "region",
    forms: [
      "{S} lies in the subregion of {O}.",
      "Geographers count {S} among the lands of {O}.",
      "{S} belongs to the subregion called {O}.",
    ],
    keywords: "subregion geographers lands belongs",
    forward: {
      nounPhrases: ["the subregion of {X}", "the subregion that contains {X}"],
      questions: ["In which subregion does {X} lie?", "Which subregion does {X} belong to?"],
    },
    inverse: null,
  },
  {
    id: "continent",
    subject: "place",
    object: "region",
    forms: ["{S} is part of the continental region {O}.", "Among the continental regions, {S} falls under {O}."],
    keywords: "continental region",
    forward: {
      nounPhrases: ["the continental region of {X}"],
      questions: ["Which continental region is {X} part of?", "Under which continental region does {X} fall?"],
    },
    inverse: null,
  },
  {
    id: "area",
    subject: "place",
    object: "area",
    forms: [
      "The surface of {S} measures {O} square kilometres.",
      "{S} covers {O} square kilometres.",
      "With {O} square kilometres, the extent of {S} is known exactly.",
    ],
    keywords: "surface area square kilometres covers extent",
    forward: {
      nounPhrases: ["the area in square kilometres of {X}"],
      questions: ["How many square kilometres does {X} cover?", "What is the area in square kilometres of {X}?"],
    },
    inverse: null,
  },
  {
    id: "demonym",
    subject: "place",
    object: "demonym",
    forms: [
      "A person from {S} is called {O}.",
      "{O} is the demonym for somebody from {S}.",
      "The inhabitants of {S} go by the demonym {O}.",
    ],
    keywords: "demonym person inhabitants called",
    forward: {
      nounPhrases: ["the demonym of {X}"],
      questions: ["What is a person from {X} called?", "What is the demonym for somebody from {X}?"],
    },
    inverse: {
      nounPhrases: ["the country whose inhabitants are called {X}", "the country with the demonym {X}"],
      questions: ["Which country has the demonym {X}?", "Where does a person called {X} come from?"],
    },
  },
  {
    id: "calling code",
    subject: "place",
    object: "code",
    forms: [
      "The calling code of {S} is {O}.",
      "To telephone {S}, dial {O}.",
      "Telephone numbers of {S} start with the calling code {O}.",
    ],
    keywords: "calling code telephone dial",
    forward: {
      nounPhrases: ["the calling code of {X}"],
      questions: ["What is the calling code of {X}?", "Which calling code must one dial to telephone {X}?"],
    },
    inverse: {
      nounPhrases: ["the country with the calling code {X}"],
      questions: ["Which country has the calling code {X}?"],
    },
  },
  {
    id: "internet domain",
    subject: "place",
    object: "code",
    forms: [
      "The internet domain of {S} ends in {O}.",
      "Web addresses registered in {S} carry the domain {O}.",
      "{O} is the top-level internet domain assigned to {S}.",
    ],
    keywords: "internet domain web addresses top level",
    forward: {
      nounPhrases: ["the internet domain of {X}"],
      questions: ["What is the internet domain of {X}?", "Which internet domain is assigned to {X}?"],
    },
    inverse: {
      nounPhrases: ["the country with the internet domain {X}"],
      questions: ["Which country has the internet domain {X}?"],
    },
  },
];
