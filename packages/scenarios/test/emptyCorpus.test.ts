import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createPrng, type RunConfig } from "@failstorm/core";
import { generateCorpus, writeDataSet } from "@failstorm/qa";
import { expect, test } from "vitest";
import { failStorm } from "../src/failStorm.ts";

test("a corpus without a question is bad input", async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "failstorm-empty-"));
  try {
    const set = await generateCorpus({ prng: createPrng(1), shards: 2, passages: 10, questions: 0, hops: [2] });
    await writeDataSet(dir, set, { seed: 1 });
    const config = {
      scenario: { agentCount: 2, runtimeMs: 10_000, seed: 1 },
      tasks: { rate: 1 },
      qa: { source: "corpus", corpus: dir, topK: 5 },
    } as unknown as RunConfig;
    await expect(failStorm.plan(config)).rejects.toThrow(/--corpus\) .*there is no question in it; generate one/);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
