import { type AgentId, agentId, createPrng, type DetectorKind, type Prng } from "@failstorm/core";

/** Half-open interval of ms. */
export type Span = readonly [from: number, until: number];

export interface ProcessPlan {
  readonly id: AgentId;
  /** The process stands still: neither its timers run nor does it read what came. */
  readonly pauses: readonly Span[];
  readonly crashesAt: number | null;
  /** Started again as the next incarnation. */
  readonly restartsAt: number | null;
  /** From then on it takes longer and longer to read what comes: 10 ms at first, twice as long every so many ms. */
  readonly fades?: { readonly from: number; readonly doublingMs: number };
}

/** All that happens to the processes and between them, drawn from one seed. Times are ms. */
export interface Schedule {
  readonly seed: number;
  readonly kind: DetectorKind;
  readonly processes: readonly ProcessPlan[];
  /** null: everybody monitors everybody; else so many ring successors. */
  readonly successors: number | null;
  readonly transportSignals: boolean;
  /** Whether the answer to a probe tells the incarnation. */
  readonly answersName: boolean;
  /** Linked are neighbours on the ring only, and the monitored; absent: all with all. */
  readonly ring?: boolean;
  /** Everybody holds a stream to everybody, whomever it monitors. Absent: to the monitored. */
  readonly allSignalled?: boolean;
  /** Nobody joins or leaves, and detectors know that. Absent = false. */
  readonly fixedMembers?: boolean;
  /** Detectors foretell failures. Absent = false. */
  readonly predictive?: boolean;
  /** After a pause, timers run before what came is read; else after it. */
  readonly timersFirst: boolean;
  readonly delayMs: number;
  readonly jitterMs: number;
  /** Per message, until `calmFrom`. */
  readonly loss: number;
  readonly duplication: number;
  /** Messages between the two sides are lost. */
  readonly partitions: readonly { readonly span: Span; readonly side: ReadonlySet<AgentId> }[];
  /** Messages of other sorts: per process and second. */
  readonly chatter: number;
  /** So many cores, and what a message takes of one, half of it where it is answered; absent: time enough. */
  readonly cores?: { readonly count: number; readonly messageMs: number };
  /** From here on no message is lost, and nobody crashes, pauses or restarts. */
  readonly calmFrom: number;
  readonly endAt: number;
}

export const INTERVAL_MS = 1000;
export const TIMEOUT_MS = 3000;

/** Pauses of at most `longestMs`, and at least `apartMs` between them. */
function drawPauses(prng: Prng, longestMs: number, apartMs: number, until: number): Span[] {
  const pauses: Span[] = [];
  for (let at = prng.int(6000); ; ) {
    const from = at + apartMs + prng.int(8000);
    at = from + 1 + prng.int(longestMs);
    if (at >= until) return pauses;
    pauses.push([from, at]);
  }
}

function drawCommon(prng: Prng, seed: number, kind: DetectorKind, mostProcesses: number) {
  const count = 2 + prng.int(mostProcesses - 1);
  return {
    seed,
    kind,
    ids: Array.from({ length: count }, (_, i) => agentId(i)),
    successors: prng.next() < 0.5 ? null : 1 + prng.int(3),
    transportSignals: prng.next() < 0.3,
    answersName: prng.next() < 0.7,
    timersFirst: prng.next() < 0.7,
    delayMs: 1 + prng.int(20),
    jitterMs: prng.int(20),
    chatter: prng.next() < 0.5 ? 0 : prng.int(5),
  };
}

/**
 * Everything at once until `calmFrom`: loss, duplication, partitions, crashes, restarts, pauses of any length. What must hold is what
 * follows when it is over.
 */
export function drawTurbulent(seed: number, kind: DetectorKind, mostProcesses = 9): Schedule {
  const prng = createPrng(seed, `turbulent/${kind}`);
  const { ids, ...common } = drawCommon(prng, seed, kind, mostProcesses);
  const calmFrom = 20_000;
  const doomed = new Set(prng.shuffle(ids).slice(0, prng.int(ids.length)));
  const processes = ids.map((id): ProcessPlan => {
    const crashesAt = doomed.has(id) ? prng.int(calmFrom - 2000) : null;
    const restartsAt = crashesAt !== null && prng.next() < 0.5 ? crashesAt + 500 + prng.int(calmFrom - crashesAt - 500) : null;
    return { id, pauses: prng.next() < 0.3 ? drawPauses(prng, 9000, 500, calmFrom) : [], crashesAt, restartsAt };
  });
  const partitions = Array.from({ length: prng.int(3) }, () => {
    const from = prng.int(calmFrom);
    const span: Span = [from, Math.min(calmFrom, from + prng.int(12_000))];
    return { span, side: new Set(ids.filter(() => prng.next() < 0.5)) };
  });
  const loss = prng.next() < 0.5 ? 0 : prng.next() * 0.4;
  return { ...common, processes, partitions, loss, duplication: prng.next() * 0.2, calmFrom, endAt: 70_000 };
}

/**
 * A network that loses nothing, crashes, and stalls as long as must be borne: of the observers, agent-0 among them, one and a half times the
 * timeout, of the others half of it. Nobody who did not crash may be declared dead, but for observers, while they stall.
 */
export function drawStalling(seed: number, kind: DetectorKind): Schedule {
  const prng = createPrng(seed, `stalling/${kind}`);
  const { ids, ...common } = drawCommon(prng, seed, kind, 9);
  const endAt = 60_000;
  const processes = ids.map((id, i): ProcessPlan => {
    const isObserver = i === 0 || prng.next() < 0.1;
    const stalls = prng.next() < 0.7 || isObserver;
    const pauses = stalls ? drawPauses(prng, TIMEOUT_MS * (isObserver ? 1.5 : 0.5), TIMEOUT_MS, endAt - 20_000) : [];
    const crashesAt = !stalls && prng.next() < 0.4 ? prng.int(endAt - 20_000) : null;
    return { id, pauses, crashesAt, restartsAt: null };
  });
  return { ...common, processes, partitions: [], loss: 0, duplication: 0, calmFrom: endAt - 20_000, endAt };
}

/** A sound network in which a third of the processes die, or stop for good, at nearly the same time. */
export function drawStorm(
  seed: number,
  kind: DetectorKind,
  count: number,
  successors: number | null,
  stopped: boolean,
): Schedule {
  const prng = createPrng(seed, `storm/${kind}/${count}`);
  const { ids: _, ...common } = drawCommon(prng, seed, kind, 2);
  const ids = Array.from({ length: count }, (_, i) => agentId(i));
  const endAt = 40_000;
  const victims = new Set(prng.shuffle(ids).slice(0, Math.max(1, Math.round(count * 0.3))));
  const at = 15_000 + prng.int(INTERVAL_MS);
  const processes = ids.map((id, i): ProcessPlan => {
    const strikes = victims.has(id);
    const pauses: Span[] = strikes && stopped ? [[at + i, endAt + 1]] : [];
    return { id, pauses, crashesAt: strikes && !stopped ? at + i : null, restartsAt: null };
  });
  const sound = { transportSignals: false, delayMs: 2, jitterMs: 10, loss: 0, duplication: 0, chatter: 0, partitions: [] };
  return { ...common, ...sound, successors, processes, calmFrom: at, endAt };
}

/** A third of the processes fade for some time, and then die; others stall for a moment now and then, as a garbage collection would. */
export function drawFading(seed: number, kind: DetectorKind): Schedule {
  const prng = createPrng(seed, `fading/${kind}`);
  const { ids: _, ...common } = drawCommon(prng, seed, kind, 2);
  const ids = Array.from({ length: 8 }, (_, i) => agentId(i));
  const endAt = 60_000;
  const faders = new Set(prng.shuffle(ids).slice(0, 2));
  const processes = ids.map((id): ProcessPlan => {
    const from = 20_000 + prng.int(15_000);
    const fades = { from, doublingMs: 1000 + prng.int(1000) };
    if (faders.has(id)) return { id, pauses: [], crashesAt: from + 8 * fades.doublingMs, restartsAt: null, fades };
    return { id, pauses: drawPauses(prng, INTERVAL_MS / 4, INTERVAL_MS, endAt), crashesAt: null, restartsAt: null };
  });
  const sound = { transportSignals: false, delayMs: 2, jitterMs: 10, loss: 0, duplication: 0, chatter: 0, partitions: [] };
  return { ...common, ...sound, successors: null, predictive: true, processes, calmFrom: endAt, endAt };
}
