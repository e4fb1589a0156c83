import { describe, expect, it } from "vitest";
import { evidenceRecall, exactMatch, normalizeAnswer, tokenF1 } from "../src/scores.ts";

// The expected values were worked out by hand from the official script's definitions.
describe("HotpotQA scores", () => {
  it("normalises case, punctuation, articles and spaces, in that order", () => {
    expect(normalizeAnswer("  The  U.S. state of an  A-Team, the ")).toBe("us state of ateam");
    // Word boundaries are Unicode's: "à" is a word of its own, "aé" is one word.
    expect(normalizeAnswer("à la aé")).toBe("à la aé");
    // Only ASCII punctuation goes.
    expect(normalizeAnswer("1970–1980")).toBe("1970–1980");
  });

  it("matches exactly once normalised", () => {
    expect(exactMatch("the North Atlantic Conference", "North Atlantic conference.")).toBe(true);
    expect(exactMatch("Atlantic Conference", "North Atlantic Conference")).toBe(false);
  });

  it("weighs precision and recall of words, repetitions counted", () => {
    expect(tokenF1("Greenwich Village", "Greenwich Village, New York City")).toBeCloseTo((2 * 1 * 0.4) / 1.4);
    expect(tokenF1("New New York", "New York")).toBeCloseTo((2 * (2 / 3) * 1) / (2 / 3 + 1));
    expect(tokenF1("Paris", "London")).toBe(0);
    expect(tokenF1("", "")).toBe(0);
  });

  it("gives no share of a yes, no or noanswer", () => {
    expect(tokenF1("yes it is", "yes")).toBe(0);
    expect(tokenF1("no", "no one")).toBe(0);
    expect(tokenF1("Yes.", "yes")).toBe(1);
  });

  it("counts gold evidence found, and knows when there is none", () => {
    expect(evidenceRecall(["a", "x"], ["a", "b"])).toBe(0.5);
    expect(evidenceRecall(["a"], [])).toBeNull();
  });
});
