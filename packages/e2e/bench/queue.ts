import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { projectRoot } from "@failstorm/cli";
import { RunError, type RunEvent } from "@failstorm/core";
import type { QueueMetrics } from "@failstorm/report";
import type { Bench, BenchContext, BenchOutcome, Check } from "./bench.ts";
import type { RawOrder } from "./queueRaw.ts";
import { estimate, median } from "./statistics.ts";

const SERVERS = 4;
const QUESTIONS = 20_000;
const MANY_QUESTIONS = 100_000;
/** Messages on their way to one server at a time, on both sides. */
const CONCURRENCY = 4;
const MIN_RATIO = 0.8;
const MAX_RSS_MB = 150;
const TIMEOUT_MS = 300_000;
/** A question of the generated ones' length. */
const QUESTION_TEXTS = ["What is the currency of the country whose capital is Bern, and in which region does that country lie?"];

const CLI = path.join(projectRoot, "packages", "cli", "src", "main.ts");
const RAW = fileURLToPath(new URL("./queueRaw.ts", import.meta.url));
const run = promisify(execFile);

/** The servers that both sides ask: workers of ours, each by itself, that answer at once. */
async function startServers(): Promise<{ readonly urls: readonly string[]; end(): Promise<void> }> {
  const children: ChildProcess[] = [];
  const start = async (index: number): Promise<string> => {
    const name = `bench-${index}`;
    const args = ["agent", "--protocol", "simple_json", "--engine", "echo", "--think-time", "0", "--port", "0", "--name", name];
    const child = spawn(process.execPath, [CLI, ...args], {
      stdio: ["pipe", "ignore", "pipe"],
      env: { ...process.env, NO_COLOR: "1" },
    });
    children.push(child);
    const late = AbortSignal.timeout(TIMEOUT_MS);
    for await (const line of createInterface({ input: child.stderr, signal: late })) {
      const url = /listens at (http:\S+);/.exec(line)?.[1];
      if (url !== undefined) return `${url}#${name}`;
    }
    throw new RunError("BENCH_SERVER_FAILED", `${name} did not start`);
  };
  const end = async (): Promise<void> => {
    await Promise.all(
      children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const exited = once(child, "exit");
        child.stdin?.end();
        child.kill("SIGTERM");
        await exited;
      }),
    );
  };
  try {
    return { urls: await Promise.all(Array.from({ length: SERVERS }, (_, index) => start(index))), end };
  } catch (error) {
    await end();
    throw error;
  }
}

/** Questions in one message: the default, and the fewest. */
const ONE = 1;

interface Queue {
  readonly perSecond: number;
  /** The largest the coordinator was, and what its half-way size was, MB. */
  readonly rssMb: number;
  readonly halfWayMb: number;
}

async function queueOnce(
  urls: readonly string[],
  { questions, file, batch = "auto" }: { readonly questions: number; readonly file: string; readonly batch?: number | "auto" },
  { workDir, signal }: BenchContext,
): Promise<Queue> {
  const results = path.join(workDir, "queue-runs");
  mkdirSync(results, { recursive: true });
  const workers = urls.flatMap((url) => ["--worker", url]);
  const settings = [
    "--batch",
    String(batch),
    "--concurrency",
    String(CONCURRENCY),
    "--base-port",
    "0",
    "--fresh",
    "--quiet",
    "--json",
    "--results",
    results,
  ];
  const options = { signal, timeout: TIMEOUT_MS, maxBuffer: 1 << 26 };
  const { stdout } = await run(process.execPath, [CLI, "queue", ...workers, "--questions", file, ...settings], options);
  const metrics = JSON.parse(stdout) as QueueMetrics;
  if (metrics.recorded !== questions || metrics.failed > 0)
    throw new RunError("BENCH_QUEUE_FAILED", `${metrics.recorded} of ${questions} recorded, ${metrics.failed} failed`);
  const events = path.join(results, "queue", "simple_json", metrics.run_id, "events.ndjson");
  const sizes = readFileSync(events, "utf8")
    .split("\n")
    .filter((line) => line.includes('"ev":"process"') && line.includes('"src":"coordinator-1"'))
    .map((line) => JSON.parse(line) as Extract<RunEvent, { ev: "process" }>)
    .map(({ rssBytes }) => rssBytes / 1e6);
  rmSync(results, { recursive: true, force: true });
  const halfWay = sizes[Math.floor(sizes.length / 2)] ?? Number.NaN;
  return { perSecond: metrics.throughput_per_s ?? Number.NaN, rssMb: Math.max(...sizes), halfWayMb: halfWay };
}

async function rawOnce(urls: readonly string[], label: string): Promise<number> {
  const order: RawOrder = { servers: urls, questions: QUESTION_TEXTS, total: QUESTIONS, concurrency: CONCURRENCY, run: label };
  const { stdout } = await run(process.execPath, [RAW, JSON.stringify(order)], { timeout: TIMEOUT_MS });
  return Number(stdout);
}

async function runBench(context: BenchContext): Promise<BenchOutcome> {
  const { repeats, prng, progress, clock } = context;
  const { writeFileSync } = await import("node:fs");
  mkdirSync(context.workDir, { recursive: true });
  const fileOf = (count: number): string => {
    const file = path.join(context.workDir, `queue-${count}.jsonl`);
    const lines = Array.from({ length: count }, (_, seq) =>
      JSON.stringify({ id: `q-${String(seq + 1).padStart(6, "0")}`, q: QUESTION_TEXTS[0] }),
    );
    writeFileSync(file, `${lines.join("\n")}\n`);
    return file;
  };
  const servers = await startServers();
  const pairs: { readonly queue: number; readonly raw: number; readonly single: number }[] = [];
  let many: Queue;
  try {
    const file = fileOf(QUESTIONS);
    await rawOnce(servers.urls, `warm-${clock.wall()}`);
    for (let repeat = 1; repeat <= repeats; repeat++) {
      const raw = await rawOnce(servers.urls, `${clock.wall()}`);
      const { perSecond } = await queueOnce(servers.urls, { questions: QUESTIONS, file }, context);
      const single = await queueOnce(servers.urls, { questions: QUESTIONS, file, batch: ONE }, context);
      pairs.push({ queue: perSecond, raw, single: single.perSecond });
      progress(
        `${repeat}/${repeats}: queue ${perSecond.toFixed(0)}/s, one a message ${single.perSecond.toFixed(0)}/s, raw ${raw.toFixed(0)}/s`,
      );
    }
    many = await queueOnce(servers.urls, { questions: MANY_QUESTIONS, file: fileOf(MANY_QUESTIONS) }, context);
  } finally {
    await servers.end();
  }
  const of = (measure: string, values: readonly number[]): Check => {
    const { value, interval } = estimate(values, median, prng);
    return { measure, goal: "", unit: "questions/s", n: values.length, median: value, interval, met: null };
  };
  const ratio = estimate(pairs, (sample) => median(sample.map(({ queue, raw }) => queue / raw)), prng);
  return {
    checks: [
      {
        measure: "coordinator / raw clients",
        goal: `≥ ${MIN_RATIO} ×`,
        unit: "×",
        n: pairs.length,
        median: ratio.value,
        interval: ratio.interval,
        met: ratio.value >= MIN_RATIO,
      },
      of(
        "coordinator",
        pairs.map(({ queue }) => queue),
      ),
      of(
        "raw clients",
        pairs.map(({ raw }) => raw),
      ),
      of(
        "coordinator, one question a message",
        pairs.map(({ single }) => single),
      ),
      {
        measure: `coordinator's memory over ${MANY_QUESTIONS} questions`,
        goal: `≤ ${MAX_RSS_MB} MB`,
        unit: "MB",
        n: 1,
        median: many.rssMb,
        interval: null,
        met: many.rssMb <= MAX_RSS_MB,
      },
      { measure: "the same half-way", goal: "", unit: "MB", n: 1, median: many.halfWayMb, interval: null, met: null },
    ],
    details: [],
    notes: [
      `${SERVERS} workers of ours (failstorm agent, simple_json, echo), the same processes for both sides; ${CONCURRENCY} messages at a time to each. The coordinator runs at its defaults, so as many questions go in a message as come back at once (at most 16); the raw clients send one a message. They are one process with undici.request and the same envelopes; it keeps nothing. The coordinator writes each result with write(2) before it goes on, its events too, and counts every byte.`,
    ],
    doubt: null,
    data: { pairs, many },
  };
}

export const queue: Bench = {
  name: "queue",
  what: "a coordinator that feeds four workers which answer at once, against raw undici clients at the same four servers; its memory over 100 000 questions",
  goal: `≥ ${MIN_RATIO} × the raw clients' questions/s; ≤ ${MAX_RSS_MB} MB`,
  run: runBench,
};
