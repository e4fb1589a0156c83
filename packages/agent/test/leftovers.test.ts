import type { Socket } from "node:net";
import { FakeClock } from "@failstorm/core";
import { expect, test } from "vitest";
import { Leftovers } from "../src/leftovers.ts";

function leftoversOf() {
  const clock = new FakeClock();
  const freed: number[] = [];
  const leftovers = new Leftovers(clock);
  const end = (id: number): void => leftovers.add({ destroy: () => freed.push(id) } as unknown as Socket);
  return { clock, freed, leftovers, end };
}

test("ended connections are freed together, when no other was ended for a second", async () => {
  const { clock, freed, end } = leftoversOf();
  end(1);
  await clock.advance(999);
  end(2);
  await clock.advance(999);
  expect(freed).toEqual([]);
  await clock.advance(1);
  expect(freed).toEqual([1, 2]);
});

test("but ten seconds after the first in any case, and at once when there is no more time", async () => {
  const { clock, freed, leftovers, end } = leftoversOf();
  for (let id = 0; id < 20; id++) {
    end(id);
    await clock.advance(500);
  }
  expect(freed).toHaveLength(20);
  end(20);
  leftovers.free();
  expect(freed).toHaveLength(21);
  await clock.advance(20_000);
  expect(freed).toHaveLength(21);
});
