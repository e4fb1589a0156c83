import { createPrng } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { planQuestion, wordingsOf } from "../src/questionGrammar.ts";
import { RELATIONS } from "../src/relations.ts";
import { readAny, readSentence, writeSentence } from "../src/sentenceGrammar.ts";
import { sentencesOf } from "../src/text.ts";

describe("sentence forms", () => {
  it.each(RELATIONS.map((relation) => [relation.id, relation] as const))(
    "%s: every form reads back as the one fact it says",
    (id, relation) => {
      for (const form of relation.forms.keys()) {
        const sentence = writeSentence(relation, form, "the Isle of Testing", "Object-Name");
        const read = readAny(sentence);
        expect(read.map(({ relation }) => relation)).toEqual([id]);
        expect(read[0]?.subject.toLowerCase()).toBe("the isle of testing");
        expect(read[0]?.object).toBe("Object-Name");
      }
    },
  );

  it("reads nothing into a sentence of another kind", () => {
    expect(readAny("Bisamberg is a market town in Austria.")).toEqual([]);
    expect(readSentence("currency", "The capital of Austria is Vienna.")).toEqual([]);
  });
});

describe("question forms", () => {
  it("reads nested phrases inside out", () => {
    expect(planQuestion("What is the currency of the largest neighbour of the country whose capital is Lisbon?")).toEqual({
      start: "Lisbon",
      hops: [
        { relation: "capital", direction: "inverse" },
        { relation: "largest neighbour", direction: "forward" },
        { relation: "currency", direction: "forward" },
      ],
    });
  });

  it("understands every wording of every pair of hops that can follow each other", () => {
    const prng = createPrng(1);
    for (const relation of RELATIONS.filter(({ subject, forward }) => subject === "place" && forward !== null)) {
      const hops = [
        { relation: "capital", direction: "inverse" },
        { relation: relation.id, direction: "forward" },
      ] as const;
      for (const question of wordingsOf(hops[1]).questions) {
        const inner = prng.pick(wordingsOf(hops[0]).nounPhrases).replace("{X}", "Ouagadougou");
        expect(planQuestion(question.replace("{X}", inner))).toEqual({ start: "Ouagadougou", hops });
      }
    }
  });

  it("has no plan for other questions", () => {
    expect(planQuestion("Who is older, Annie Morton or Terry Richardson?")).toBeNull();
    expect(planQuestion("")).toBeNull();
  });
});

describe("sentencesOf", () => {
  it("ends sentences where they end", () => {
    expect(sentencesOf("It ends in .at. Maps agree. Dr. No met J. R. Smith in St. Louis! “Yes.” He did")).toEqual([
      "It ends in .at.",
      "Maps agree.",
      "Dr. No met J. R. Smith in St. Louis!",
      "“Yes.”",
      "He did",
    ]);
  });
});
