import { fileURLToPath } from "node:url";
import { RunError } from "@failstorm/core";
import type { Bench, BenchContext, BenchOutcome, Check } from "./bench.ts";
import { type OrderedChild, startChild } from "./networkChild.ts";
import type { StatesAnswer, StatesOrder } from "./networkStates.ts";
import { estimate, median } from "./statistics.ts";
import { shown } from "./table.ts";

const ENTRY = fileURLToPath(new URL("./networkStates.ts", import.meta.url));
const STATES = 100_000;
const DIFFERING = 10;
const MAX_KB = 200;
const MAX_MS = 1000;
/** Measured besides, once each, to show how it grows; the first time all differ. */
const OTHER_SIZES = [0, 1, 100, 1_000, 10_000];

type Synced = Extract<StatesAnswer, { type: "synced" }>;
type Holder = OrderedChild<StatesOrder, StatesAnswer>;

interface Replicas {
  /** Writes `count` states anew on one side while the two are not linked, and lets them find each other. */
  syncAfter(count: number): Promise<Synced>;
  end(): Promise<void>;
}

async function startReplicas({ prng }: BenchContext): Promise<Replicas> {
  const holders: Holder[] = [];
  for (const id of ["a", "b"]) holders.push(await startChild<StatesOrder, StatesAnswer>(ENTRY, [id]));
  const [a, b] = holders as [Holder, Holder];
  const sync = async (): Promise<Synced> => {
    if (b.ready.type !== "listening") throw new RunError("BENCH_CHILD_FAILED", b.ready.type);
    await a.order({ type: "dial", address: b.ready.address });
    const answer = await a.order({ type: "sync" });
    if (answer.type !== "synced") throw new RunError("BENCH_CHILD_FAILED", answer.type);
    await a.order({ type: "hang up" });
    return answer;
  };
  let version = 0;
  return {
    async syncAfter(count) {
      version += 1;
      // Half on each side, so that both directions are needed; spread over all buckets, since ids are hashed.
      const half = Math.floor(count / 2);
      const first = prng.int(STATES - count + 1);
      await a.order({ type: "write", first, count: half, text: `version ${version}` });
      await b.order({ type: "write", first: first + half, count: count - half, text: `version ${version}` });
      const synced = await sync();
      if (synced.received + synced.sent !== count)
        throw new RunError("BENCH_NOT_CONVERGED", `${synced.received} + ${synced.sent} states moved where ${count} differed`);
      return synced;
    },
    end: async () => void (await Promise.all(holders.map((holder) => holder.end()))),
  };
}

async function run(context: BenchContext): Promise<BenchOutcome> {
  const { repeats, prng, progress, signal } = context;
  const replicas = await startReplicas(context);
  try {
    progress(`${STATES} states are written and brought to the other side`);
    const others: { count: number; synced: Synced }[] = [{ count: STATES, synced: await replicas.syncAfter(STATES) }];
    for (const count of OTHER_SIZES) others.push({ count, synced: await replicas.syncAfter(count) });
    const rounds: Synced[] = [];
    for (let repeat = 1; repeat <= repeats; repeat++) {
      signal.throwIfAborted();
      const synced = await replicas.syncAfter(DIFFERING);
      rounds.push(synced);
      progress(`${repeat}/${repeats}: ${shown(synced.bytes / 1000)} KB, ${shown(synced.ms)} ms`);
    }
    const check = (measure: string, unit: string, limit: number, of: (synced: Synced) => number): Check => {
      const { value, interval } = estimate(rounds, (sample) => median(sample.map(of)), prng);
      return { measure, goal: `≤ ${limit}`, unit, n: rounds.length, median: value, interval, met: value <= limit };
    };
    return {
      checks: [
        check(`bytes, ${DIFFERING} of ${STATES} differing`, "KB", MAX_KB, ({ bytes }) => bytes / 1000),
        check(`time, ${DIFFERING} of ${STATES} differing`, "ms", MAX_MS, ({ ms }) => ms),
      ],
      details: [
        {
          title: "how it grows",
          columns: ["differing", "KB", "bytes each", "ms"],
          rows: others
            .toSorted((x, y) => x.count - y.count)
            .map(({ count, synced: { bytes, ms } }) => [
              String(count),
              shown(bytes / 1000),
              count === 0 ? "–" : shown(bytes / count),
              shown(ms),
            ]),
        },
      ],
      notes: [
        "two processes, TCP, sealed frames, MessagePack; half of the differing states were written on each side; bytes in both directions, frames and acknowledgements included, from the first question to the last state",
      ],
      doubt: null,
      data: { rounds, others },
    };
  } finally {
    await replicas.end();
  }
}

export const antiEntropy: Bench = {
  name: "anti-entropy",
  what: `two processes with ${STATES} states of which ${DIFFERING} differ become equal`,
  goal: `≤ ${MAX_KB} KB and ≤ ${MAX_MS} ms`,
  run,
};
