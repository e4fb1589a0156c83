import { expectedLinks } from "@failstorm/report";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectRecovered, expectRepaired, ids, named, newLinks, storm } from "../src/repairStorm.ts";
import { type EndedRun, openSandbox, words } from "../src/runCli.ts";

const sandbox = openSandbox();
afterAll(() => sandbox.close());

describe("a ring", () => {
  let run: EndedRun;
  beforeAll(async () => {
    run = await sandbox.run([...words("--agents 6 --kill-count 2 --seed 3 --topology ring --ttl 9 --no-restart"), ...storm]);
  });

  it("closes over the dead by stabilise and recovers", () => {
    const links = newLinks(run, "ring", 6);
    expect(links.length).toBeGreaterThan(0);
    expectRepaired(run, links);
    expectRecovered(run);
  });

  it("relays hop by hop: messages leave an agent only along the ring's links", () => {
    const at = run.of("fault.injected")[0]?.before ?? Number.NaN;
    const neighbours = new Set(
      named(expectedLinks("ring", ids(6), new Set(ids(6)))).flatMap((link) => [link, link.split(" ").toReversed().join(" ")]),
    );
    const before = run.of("msg").filter((event) => event.t < at && event.cause === "work");
    expect(before.length).toBeGreaterThan(0);
    expect(before.filter((event) => !neighbours.has(`${event.src} ${event.to}`))).toEqual([]);
    expect(before.some((event) => event.kind === "relay")).toBe(true);
  });
});
