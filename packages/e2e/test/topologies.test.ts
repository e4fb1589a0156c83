import { expectedLinks } from "@failstorm/report";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectRecovered, expectRepaired, ids, named, newLinks, storm, victimsOf } from "../src/repairStorm.ts";
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

describe("a ring whose agents monitor their successors, and act upon closed streams", () => {
  it("tells every survivor of each death by its own kernel, whoever monitors it", async () => {
    const run = await sandbox.run([
      ...words("--agents 7 --kill-count 2 --seed 3 --topology ring --monitors 2 --transport-signals --ttl 9 --no-restart"),
      ...storm,
    ]);
    const victims = victimsOf(run);
    expect(victims.length).toBe(2);
    const survivors = ids(7).filter((id) => !victims.includes(id));
    const pairs = survivors.flatMap((survivor) => victims.map((victim) => `${survivor} ${victim}`));
    const noticed = new Set(run.of("transport.notice").map(({ src, peer }) => `${src} ${peer}`));
    expect(pairs.filter((pair) => !noticed.has(pair))).toEqual([]);
    const declared = run.of("detect.dead").filter(({ peer }) => victims.includes(peer));
    expect(new Set(declared.map(({ src, peer }) => `${src} ${peer}`))).toEqual(new Set(pairs));
    expect(declared.some(({ how }) => how === "transport")).toBe(true);
    expectRecovered(run);
  });
});
