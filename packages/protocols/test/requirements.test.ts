import { describe, expect, test } from "vitest";
import { complianceCases } from "../src/compliance/suite.ts";
import { loadProtocol, protocolNames } from "../src/index.ts";
import { claimsIn, collectRequirements, hasIdleTests, testSources } from "./requirements.ts";

const byFile = await collectRequirements();
const rows = [...byFile.values()].flat();
const sources = testSources();
const tested = new Set([...sources.values()].flatMap(claimsIn));

describe("requirements", () => {
  test("every claim has a test that names it", () => {
    expect(rows.filter(({ id }) => !tested.has(id)).map(({ id }) => id)).toEqual([]);
  });

  test("every claim that a test names is listed", () => {
    const listed = new Set(rows.map(({ id }) => id));
    expect([...tested].filter((id) => !listed.has(id))).toEqual([]);
  });

  test("every protocol has claims, and each stands once, in its protocol's file, with section and behaviour", () => {
    expect([...byFile.keys()].sort()).toEqual(["contract", ...protocolNames()].sort());
    expect(new Set(rows.map(({ id }) => id)).size).toBe(rows.length);
    for (const [name, own] of byFile) {
      expect(own.length, name).toBeGreaterThan(0);
      for (const { id, section, behaviour } of own) {
        expect(id.startsWith(`${name}-`), `${id} in ${name}.ts`).toBe(true);
        expect(section.trim().length && behaviour.trim().length, id).toBeGreaterThan(0);
      }
    }
  });

  test("no test is switched off", () => {
    expect([...sources].filter(([, source]) => hasIdleTests(source)).map(([file]) => file)).toEqual([]);
  });

  test("each case of the compliance suite applies to some protocol", async () => {
    const applied = new Set<string>();
    for (const module of protocolNames())
      for (const { id } of complianceCases({ protocol: await loadProtocol(module), module })) applied.add(id);
    const defined = [...sources].filter(([file]) => file.includes("/compliance/")).flatMap(([, source]) => claimsIn(source));
    expect(defined.filter((id) => !applied.has(id))).toEqual([]);
  });
});

describe("the search for claims", () => {
  test("finds them in titles, one or several, and in the suite's definitions", () => {
    expect(claimsIn('test("[a2a-card-1] [a2a-card-2] the card", () => {})')).toEqual(["a2a-card-1", "a2a-card-2"]);
    expect(claimsIn("test.each(rows)(`[simple_json-x] %s`, () => {})")).toEqual(["simple_json-x"]);
    expect(claimsIn('  {\n    id: "contract-x",\n    title: "x",\n  }')).toEqual(["contract-x"]);
  });

  test("is not content with a comment, or with an id in the middle of a text", () => {
    expect(claimsIn('// test("[a2a-card-1] later")\n/** "[a2a-card-2]" */\n * "[a2a-card-3]"')).toEqual([]);
    expect(claimsIn('expect(text).toBe("see [a2a-card-1]"); const id = "a2a-card-2";')).toEqual([]);
  });

  test("sees tests that are switched off", () => {
    expect(hasIdleTests('test.skip("[a2a-card-1] the card")')).toBe(true);
    expect(hasIdleTests('describe.only("x")')).toBe(true);
    expect(hasIdleTests('test.each(rows)("x"); pattern.test(value)')).toBe(false);
  });
});
