import { readFileSync } from "node:fs";
import path from "node:path";
import type { Protocol } from "@failstorm/core";
import { expect, test } from "vitest";
import { complianceCases } from "../src/compliance/suite.ts";
import { protocol } from "../template/protocol.ts";

const root = path.resolve(import.meta.dirname, "..");
const guide = readFileSync(path.join(root, "README.md"), "utf8");

test("the guide's code is the template", () => {
  const [, code] = guide.match(/```ts postcard\.ts\n([\s\S]*?)```/) ?? [];
  expect(code).toBe(readFileSync(path.join(root, "template", "protocol.ts"), "utf8"));
});

test("the guide names cases that there are", () => {
  const { capabilities, ...info } = protocol.getProtocolInfo();
  const declaring = (declared: boolean): Protocol => {
    const all = { ...capabilities, streaming: declared, cancel: declared, resume: declared, idempotency: declared };
    return { ...protocol, getProtocolInfo: () => ({ ...info, capabilities: all }) };
  };
  const cases = new Set(
    [true, false].flatMap((declared) => complianceCases({ protocol: declaring(declared), module: "" }).map(({ id }) => id)),
  );
  const named = [...guide.matchAll(/contract-[a-z-]+/g)].map(([name]) => name);
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((name) => !cases.has(name))).toEqual([]);
});
