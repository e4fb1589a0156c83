import { compareBytes } from "./bytes.ts";
import type { Claims } from "./claims.ts";
import { compareDeaths } from "./deaths.ts";
import { compareGoodput } from "./goodput.ts";
import type { Outside } from "./outside.ts";
import { compareReconnection } from "./reconnection.ts";
import { type Row, row, SHOWN } from "./row.ts";
import { firstStorm } from "./storm.ts";

/**
 * Every figure the oracle recomputes, from both sides. Throws when the run is of a kind it cannot read: it knows the wire of
 * simple_json, and deaths, not pauses.
 */
export function compareRun(claims: Claims, outside: Outside): Row[] {
  if (claims.protocol !== "simple_json") throw new Error(`the oracle reads the wire of simple_json, not of ${claims.protocol}`);
  const stopping = claims.schedule.faults.find(({ kind }) => kind === "sigstop");
  if (stopping !== undefined) throw new Error("the oracle watches deaths; a run with SIGSTOP has none");
  const storm = firstStorm(claims, outside);
  return [
    row("clock offset moved by", "ms", null, outside.clockDriftMs, SHOWN),
    ...compareDeaths(claims, outside, storm),
    ...compareReconnection(claims, outside, storm),
    ...compareBytes(claims, outside, storm),
    ...compareGoodput(claims, storm),
  ];
}
