import { closeSync, openSync } from "node:fs";
import { devNull } from "node:os";
import { expect, test } from "vitest";
import { LowDescriptors } from "../src/lowDescriptors.ts";

test("what is opened while the low numbers are taken has a higher one than what is opened afterwards", () => {
  const low = new LowDescriptors();
  const first = openSync(devNull, "r");
  low.release();
  low.release();
  const second = openSync(devNull, "r");
  closeSync(first);
  closeSync(second);
  expect(first).toBeGreaterThan(second + 200);
});
