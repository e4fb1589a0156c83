import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseScenarios, transcript } from "./detector/script.ts";

const folder = join(import.meta.dirname, "detector");

for (const file of readdirSync(folder).filter((name) => name.endsWith(".txt"))) {
  describe(`detector/${file}`, () => {
    const scenarios = parseScenarios(readFileSync(join(folder, file), "utf8"));
    it.each(scenarios)("$name", (scenario) => {
      expect(transcript(scenario)).toEqual(scenario.lines);
    });
  });
}
