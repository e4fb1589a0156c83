import { fileURLToPath } from "node:url";
import { RunError } from "@failstorm/core";
import type { Bench, BenchContext, BenchOutcome, Check } from "./bench.ts";
import { type OrderedChild, startChild } from "./networkChild.ts";
import type { PeerAnswer, PeerOrder, Wire } from "./networkPeer.ts";
import { estimate, median } from "./statistics.ts";
import { shown } from "./table.ts";

const ENTRY = fileURLToPath(new URL("./networkPeer.ts", import.meta.url));
const MIN_THROUGHPUT = 0.8;
const MAX_LATENCY = 1.5;
/** Of one turn. The window is the network's own default. */
const ONE_BY_ONE = 2_000;
const COUNT = 40_000;
const WINDOW = 1024;
const WARM_UPS = 8;

const WIRES: readonly Wire[] = ["network", "raw", "network sealed", "raw corked"];

interface Turn {
  readonly p50Us: number;
  readonly perSecond: number;
}
type Round = Readonly<Record<Wire, Turn>>;
type Peer = OrderedChild<PeerOrder, PeerAnswer>;

/** Two processes that speak over one wire, one of which sends. */
async function startPair(wire: Wire): Promise<{ turn(): Promise<Turn>; end(): Promise<void> }> {
  const peers: Peer[] = [];
  const end = async (): Promise<void> => void (await Promise.all(peers.map((peer) => peer.end())));
  const measure = { type: "measure", oneByOne: ONE_BY_ONE, count: COUNT, window: WINDOW } as const;
  try {
    for (const id of ["a", "b"]) peers.push(await startChild<PeerOrder, PeerAnswer>(ENTRY, [wire, id]));
    const [sender, receiver] = peers as [Peer, Peer];
    if (receiver.ready.type !== "listening") throw new RunError("BENCH_CHILD_FAILED", `${wire}: ${receiver.ready.type}`);
    await sender.order({ type: "dial", address: receiver.ready.address });
    const turn = async (): Promise<Turn> => {
      const answer = await sender.order(measure);
      if (answer.type !== "measured") throw new RunError("BENCH_CHILD_FAILED", `${wire}: ${answer.type}`);
      return answer;
    };
    for (let i = 0; i < WARM_UPS; i++) await turn();
    return { turn, end };
  } catch (error) {
    await end();
    throw error;
  }
}

function outcomeOf(rounds: readonly Round[], { prng }: BenchContext): BenchOutcome {
  const n = rounds.length;
  const ratio = (of: (round: Round) => number) => estimate(rounds, (sample) => median(sample.map(of)), prng);
  const throughput = ratio((round) => round.network.perSecond / round.raw.perSecond);
  const latency = ratio((round) => round.network.p50Us / round.raw.p50Us);
  const absolute = (measure: string, unit: string, of: (round: Round) => number): Check => {
    const { value, interval } = ratio(of);
    return { measure, goal: "", unit, n, median: value, interval, met: null };
  };
  return {
    checks: [
      {
        measure: "messages/s, network against raw",
        goal: `≥ ${MIN_THROUGHPUT}`,
        unit: "×",
        n,
        median: throughput.value,
        interval: throughput.interval,
        met: throughput.value >= MIN_THROUGHPUT,
      },
      {
        measure: "p50, network against raw",
        goal: `≤ ${MAX_LATENCY}`,
        unit: "×",
        n,
        median: latency.value,
        interval: latency.interval,
        met: latency.value <= MAX_LATENCY,
      },
      absolute("messages/s, network against raw corked", "×", (round) => round.network.perSecond / round["raw corked"].perSecond),
      absolute(
        "messages/s, sealed against open frames",
        "×",
        (round) => round["network sealed"].perSecond / round.network.perSecond,
      ),
      absolute("p50, sealed against open frames", "×", (round) => round["network sealed"].p50Us / round.network.p50Us),
    ],
    details: [
      {
        title: "medians",
        columns: ["wire", "messages/s", "p50 µs"],
        rows: WIRES.map((wire) => [
          wire,
          shown(median(rounds.map((round) => round[wire].perSecond))),
          shown(median(rounds.map((round) => round[wire].p50Us))),
        ]),
      },
    ],
    notes: [
      `two processes on one machine, TCP, 200 bytes of payload; a message counts when the other process has handed it over and the acknowledgement is back; ${WINDOW} unacknowledged for the throughput (${COUNT} messages a turn), one at a time for p50 (${ONE_BY_ONE} a turn)`,
      "raw: length, number, payload, with one write a message; one acknowledgement for all that arrived together. It knows no sender, type, priority, deadline, encoding, retry or de-duplication",
      "raw corked: the same, but all frames of a turn of the event loop leave in one write, as the network's do: the price of what a message says and of what is done with it, without a goal",
    ],
    doubt: null,
    data: rounds,
  };
}

async function run(context: BenchContext): Promise<BenchOutcome> {
  const pairs = new Map<Wire, Awaited<ReturnType<typeof startPair>>>();
  try {
    for (const wire of WIRES) pairs.set(wire, await startPair(wire));
    const rounds: Round[] = [];
    for (let repeat = 1; repeat <= context.repeats; repeat++) {
      context.signal.throwIfAborted();
      const turns: [Wire, Turn][] = [];
      // In another order each time, so that none always follows the same other.
      for (const wire of context.prng.shuffle(WIRES)) {
        const turn = await pairs.get(wire)?.turn();
        if (turn !== undefined) turns.push([wire, turn]);
      }
      const round = Object.fromEntries(turns) as Round;
      rounds.push(round);
      const { network, raw } = round;
      context.progress(
        `${repeat}/${context.repeats}: network ${shown(network.perSecond)}/s, ${shown(network.p50Us)} µs; raw ${shown(raw.perSecond)}/s, ${shown(raw.p50Us)} µs`,
      );
    }
    return outcomeOf(rounds, context);
  } finally {
    await Promise.all([...pairs.values()].map((pair) => pair.end()));
  }
}

export const networkMessaging: Bench = {
  name: "network-messaging",
  what: "messages of the agent network between two processes, TCP + MessagePack, beside length-prefixed frames on a bare socket",
  goal: `≥ ${MIN_THROUGHPUT} × the bare socket's messages/s, p50 ≤ ${MAX_LATENCY} × its`,
  run,
};
