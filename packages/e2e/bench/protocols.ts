import { generateKeyPairSync } from "node:crypto";
import { ed25519, type Ed25519, nodeEd25519 } from "../../protocols/src/anp/ed25519.ts";
import type { Bench, BenchContext, BenchOutcome, Check } from "./bench.ts";
import { type Pair, startPair, type Turn } from "./protocolPair.ts";
import type { PairSpec } from "./protocolProcess.ts";
import { estimate, median } from "./statistics.ts";
import { shown } from "./table.ts";

interface Subject {
  readonly label: string;
  readonly protocol: string | null;
  readonly rival?: PairSpec["rival"];
  readonly section: unknown;
  /** Times raw; null: no goal. */
  readonly limit: number | null;
  /**
   * An Ed25519 signature of each request and its verification are allowed on top of the limit, which then is of the latency alone. On a WebSocket
   * it is the origin proof's: there only the upgrade is a request.
   */
  readonly signs?: boolean;
  /** Each message is signed besides, whatever authenticates the request; so the same figures are shown without that signature, and against raw messages that are signed. */
  readonly provesOrigin?: boolean;
}

const RAW = "raw";
const RAW_PROVEN = "raw with a proof";
const A2A = "a2a unary";
const A2A_SDK = "a2a sdk, express";

const SUBJECTS: readonly Subject[] = [
  { label: RAW, protocol: null, section: null, limit: null },
  { label: RAW_PROVEN, protocol: null, rival: RAW_PROVEN, section: null, limit: null },
  { label: "simple_json", protocol: "simple_json", section: {}, limit: 1.15 },
  { label: A2A, protocol: "a2a", section: {}, limit: 3 },
  { label: A2A_SDK, protocol: null, rival: "a2a sdk", section: null, limit: null },
  { label: "acp sync", protocol: "acp", section: { mode: "sync" }, limit: 2 },
  { label: "anp bearer", protocol: "anp", section: {}, limit: 2, provesOrigin: true },
  { label: "anp signed", protocol: "anp", section: { access_token: false }, limit: 2, signs: true, provesOrigin: true },
  { label: "anp bearer, websocket", protocol: "anp", section: { transport: "websocket" }, limit: 2, provesOrigin: true },
  {
    label: "anp signed, websocket",
    protocol: "anp",
    section: { transport: "websocket", access_token: false },
    limit: 2,
    signs: true,
  },
  { label: "anp end to end", protocol: "anp", section: { e2ee: true }, limit: null },
  { label: "agora by hash", protocol: "agora", section: { frequent_after: 0 }, limit: 1.5 },
];

type Repeat = ReadonlyMap<string, Turn>;

/** What one Ed25519 signature of a small text and its verification take here, ms, the median of many. */
function signatureMs({ sign, verify }: Ed25519, { clock }: BenchContext): number {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const message = Buffer.alloc(300, "x");
  const times = Array.from({ length: 400 }, () => {
    const from = clock.now();
    const isGood = verify(publicKey, message, sign(privateKey, message));
    return isGood ? clock.now() - from : Number.NaN;
  });
  return median(times.slice(100));
}

/** A2A here against the server and the client that its SDK brings. */
function againstSdk(repeats: readonly Repeat[], { prng }: BenchContext): Check[] {
  const ratio = (measure: string, of: (own: Turn, rival: Turn) => number): Check => {
    const ratios = repeats.map((repeat) => of(turnOf(repeat, A2A), turnOf(repeat, A2A_SDK)));
    const { value, interval } = estimate(ratios, median, prng.fork(`sdk/${measure}`));
    return { measure, goal: "< 1 ×", unit: "× SDK", n: ratios.length, median: value, interval, met: value < 1 };
  };
  return [
    ratio("a2a unary against its SDK: send, p50", (own, rival) => own.p50Ms / rival.p50Ms),
    ratio("a2a unary against its SDK: throughput, inverse", (own, rival) => rival.perSecond / own.perSecond),
  ];
}

const turnOf = (repeat: Repeat, label: string): Turn => repeat.get(label) as Turn;

function checksOf(
  { label, limit, signs = false, provesOrigin = false }: Subject,
  repeats: readonly Repeat[],
  signature: number,
  { prng }: BenchContext,
): Check[] {
  const ratio = (measure: string, limitOf: number | null, of: (own: Turn, floor: Turn) => number, floor = RAW): Check => {
    const ratios = repeats.map((repeat) => of(turnOf(repeat, label), turnOf(repeat, floor)));
    const { value, interval } = estimate(ratios, median, prng.fork(`${label}/${measure}`));
    return {
      measure,
      goal: limitOf === null ? "" : `≤ ${limitOf} ×`,
      unit: `× ${floor}`,
      n: ratios.length,
      median: value,
      interval,
      met: limitOf === null ? null : value <= limitOf,
    };
  };
  const without =
    (signatures: number) =>
    (own: Turn, floor: Turn): number =>
      (own.p50Ms - signatures * signature) / floor.p50Ms;
  const throughput = (own: Turn, floor: Turn): number => floor.perSecond / own.perSecond;
  const ofRequest = signs ? 1 : 0;
  const allowed = signs ? `, less ${(signature * 1000).toFixed(0)} µs of one signature` : "";
  const checks = [
    ratio(`${label}: send, p50${allowed}`, limit, without(ofRequest)),
    ratio(`${label}: throughput, inverse`, signs ? null : limit, throughput),
  ];
  if (!provesOrigin) return checks;
  return [
    ...checks,
    ratio(`${label}: send, p50${allowed}, less the origin proof's`, limit, without(ofRequest + 1)),
    ratio(`${label}: send, p50${allowed}`, null, without(ofRequest), RAW_PROVEN),
    ratio(`${label}: throughput, inverse`, null, throughput, RAW_PROVEN),
  ];
}

function details(subjects: readonly Subject[], repeats: readonly Repeat[]): string[][] {
  return subjects.map(({ label }) => {
    const middle = (of: (turn: Turn) => number): string => shown(median(repeats.map((repeat) => of(turnOf(repeat, label)))));
    const { traffic } = turnOf(repeats.at(-1) as Repeat, label);
    return [
      label,
      middle(({ p50Ms }) => p50Ms * 1000),
      middle(({ perSecond }) => perSecond),
      middle(({ callerUs }) => callerUs),
      middle(({ calleeUs }) => calleeUs),
      traffic === null ? "–" : `${traffic.bytesSent} / ${traffic.bytesReceived}`,
    ];
  });
}

async function measureAll(
  pairs: ReadonlyMap<string, Pair>,
  { repeats, prng, signal, progress }: BenchContext,
): Promise<Repeat[]> {
  const measured: Repeat[] = [];
  for (let repeat = 1; repeat <= repeats; repeat++) {
    const turns = new Map<string, Turn>();
    for (const label of prng.fork(`order/${repeat}`).shuffle([...pairs.keys()])) {
      signal.throwIfAborted();
      turns.set(label, await (pairs.get(label) as Pair).turn());
    }
    measured.push(turns);
    progress(`${repeat}/${repeats} done`);
  }
  return measured;
}

async function run(context: BenchContext): Promise<BenchOutcome> {
  const pairs = new Map<string, Pair>();
  try {
    for (const subject of SUBJECTS) pairs.set(subject.label, await startPair(subject, context));
    const [signature, withNode] = [signatureMs(ed25519, context), signatureMs(nodeEd25519, context)];
    const repeats = await measureAll(pairs, context);
    return {
      checks: [
        ...SUBJECTS.filter(({ label, protocol }) => protocol !== null || label === RAW_PROVEN).flatMap((subject) =>
          checksOf(subject, repeats, signature, context),
        ),
        ...againstSdk(repeats, context),
      ],
      details: [
        {
          title: "medians of the repeats",
          columns: ["", "p50 µs", "sends/s", "caller µs CPU", "callee µs CPU", "bytes of a send, there / back"],
          rows: details(SUBJECTS, repeats),
        },
      ],
      notes: [
        "Two processes a subject, all alive at the same time and idle but for one; in each repeat every subject has a turn, in an order drawn anew: 300 sends one by one (p50), 1200 sends 32 at a time (throughput). Ratios are those of one repeat; their median with a bootstrap interval.",
        "A send is a tool step of a storm (300 bytes of JSON) that is answered with itself, with an idempotency key, through CommBackend and the metered client; raw is undici.request and a Fastify route with the same JSON. The A2A SDK is hosted as in its samples: Express, tasks in memory only (ours are on disk before they are answered), its own client over Node's fetch.",
        `One Ed25519 signature and its verification: ${(signature * 1000).toFixed(0)} µs (with node:crypto ${(withNode * 1000).toFixed(0)}). An ANP direct message carries an origin proof (ANP-P3), which is such a signature, however its request is authenticated: by bearer one a message, signed two, on a WebSocket, whose upgrade alone is a request, one. Raw with a proof is raw with that signature, and nothing else: what such a message costs at the least. End-to-end encryption (ANP-P5) has none, but a ratchet step and an X25519 agreement with every change of direction.`,
      ],
      doubt: null,
      data: repeats.map((repeat) => Object.fromEntries(repeat)),
    };
  } finally {
    for (const pair of pairs.values()) await pair.end();
  }
}

export const protocols: Bench = {
  name: "protocols",
  what: "what a message costs: every CommBackend against raw undici → Fastify JSON",
  goal: "p50 and throughput in times raw: simple_json ≤ 1.15, A2A ≤ 3 and faster than its SDK on Express, ACP ≤ 2, ANP bearer ≤ 2, signed ≤ 2 plus a signature, Agora by hash ≤ 1.5",
  run,
};
