import { createPrng, FakeClock, TOOLS } from "@failstorm/core";
import { createView, type HomeTools, toolAdoptions } from "@failstorm/network";
import { expect, test } from "vitest";
import { Holdings } from "../src/holdings.ts";
import { recording } from "./recorded.ts";

const IDS = Array.from({ length: 12 }, (_, index) => `agent-${index}`);
const homeTools: HomeTools = new Map(IDS.map((id, index) => [id, TOOLS[index % TOOLS.length] ?? "search"]));

/** What the claims and releases of this agent come to, after views without these, one after the other. */
function standing(self: string, deaths: readonly (readonly string[])[]): string[] {
  const clock = new FakeClock();
  const { recorder, events } = recording(clock);
  const holdings = new Holdings({
    self,
    homeShard: 0,
    homeTools,
    shardCount: 0,
    ids: IDS,
    redundancyLevel: 0,
    takeover: true,
    clock,
    recorder,
    document: () => null,
  });
  for (const dead of deaths)
    holdings.follow(createView(IDS.filter((id) => !dead.includes(id)).map((id) => ({ id, incarnation: 1 }))));
  const claims = new Set<string>();
  for (const event of events()) {
    if (event.ev === "takeover.claimed") claims.add(event.id);
    else if (event.ev === "takeover.released") claims.delete(event.id);
  }
  return [...claims];
}

test("whatever the views on the way, the claims that stand are those of the last one", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const dying = createPrng(seed).shuffle(IDS).slice(0, 6);
    const views = [dying.slice(0, 2), dying.slice(0, 4), dying];
    const last = createView(IDS.filter((id) => !dying.includes(id)).map((id) => ({ id, incarnation: 1 })));
    for (const self of last.liveIds) {
      const adopted = TOOLS.flatMap((tool) => toolAdoptions(tool, last, homeTools))
        .filter(({ by }) => by === self)
        .map(({ tool, from }) => `${tool}/${from}`);
      expect(standing(self, views).toSorted(), `seed ${seed}, ${self}`).toEqual(adopted.toSorted());
    }
  }
});
