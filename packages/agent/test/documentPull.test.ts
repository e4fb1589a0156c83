import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { FakeClock } from "@failstorm/core";
import { expect, test } from "vitest";
import { pullDocument } from "../src/documentPull.ts";
import { DocumentStore } from "../src/documentStore.ts";
import { folder, recording } from "./recorded.ts";

const HOP_MS = 5;
const DOCUMENT = Buffer.from('{"shard":0}\n'.repeat(100));
const expected = {
  sha256: createHash("sha256").update(DOCUMENT).digest("hex"),
  bytes: DOCUMENT.length,
  shards: 1,
  source: "agent-0",
};

test("the document goes along a chain as fast as it is passed on, with a handful of messages for each hop", async () => {
  const clock = new FakeClock();
  const { recorder, of } = recording(clock);
  const stores = Array.from({ length: 30 }, () => new DocumentStore(folder()));
  const file = path.join(folder(), "document");
  writeFileSync(file, DOCUMENT);
  expect(stores[0]?.load(expected, file)).toBe(true);
  let asked = 0;
  const pulls = stores.slice(1).map((store, i) =>
    pullDocument({
      store,
      expected,
      clock,
      recorder,
      signal: new AbortController().signal,
      retryMs: 100,
      waitMs: 5000,
      // Its neighbours, the one farther from the source first.
      candidates: () => [i + 2, i].filter((index) => index < stores.length).map((index) => `agent-${index}`),
      ask: async (peer, { offset, length, waitMs = 0 }) => {
        asked += 1;
        const neighbour = stores[Number(peer.slice(6))];
        await clock.sleep(HOP_MS);
        if (waitMs > 0) await neighbour?.arrival(waitMs, clock);
        return neighbour?.chunk(offset, length);
      },
    }),
  );
  await clock.advance(1000);
  await Promise.all(pulls);
  expect(of("document.stored")).toHaveLength(29);
  expect(Math.max(...of("document.stored").map(({ ms }) => ms))).toBeLessThanOrEqual(29 * HOP_MS * 2);
  expect(asked).toBeLessThanOrEqual(29 * 6);
});
