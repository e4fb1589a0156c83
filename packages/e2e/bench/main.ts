import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { projectRoot } from "@failstorm/cli";
import { createPrng, InputError, systemClock } from "@failstorm/core";
import { type Bench, type BenchOutcome, CONCLUSIVE_REPEATS } from "./bench.ts";
import { benches } from "./benches.ts";
import { backgroundBusy, describeSurroundings, QUIET_BUSY, type Surroundings } from "./machine.ts";
import { renderChecks, renderDetails, verdictOf } from "./table.ts";

const USAGE = `usage: pnpm bench [names…] [--repeats N] [--seed N] [--list] [--json]

  names         which benches (default: all; --list shows them)
  --repeats N   interleaved repeats, ${CONCLUSIVE_REPEATS} by default; with fewer the verdicts are marked as not conclusive
  --seed N      seed of storms and resamples (default 1)
  --list        names, what they measure, and their goals
  --json        the results as JSON on stdout, and nothing else there

Results are also written to results/bench/<time>.json.
Exit codes: 0 all goals met · 1 a goal was missed, or a bench could not run · 2 bad input`;

interface Result extends BenchOutcome {
  readonly name: string;
  readonly goal: string;
  readonly repeats: number;
  readonly inconclusive: boolean;
  /** Share of the machine that was busy before and after the bench, when nothing of it ran. */
  readonly backgroundBusy: readonly [number, number];
  readonly seconds: number;
}

interface Options {
  readonly chosen: readonly Bench[];
  readonly repeats: number;
  readonly seed: number;
  readonly list: boolean;
  readonly json: boolean;
}

function wholeNumber(option: string, given: string, least: number): number {
  const value = Number(given);
  if (given.trim() === "" || !Number.isSafeInteger(value) || value < least)
    throw new InputError(`${option} ${given}: must be a whole number of at least ${least}`);
  return value;
}

function readOptions(argv: readonly string[]): Options | null {
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({
      args: argv[0] === "--" ? argv.slice(1) : [...argv],
      allowPositionals: true,
      options: {
        repeats: { type: "string", default: String(CONCLUSIVE_REPEATS) },
        seed: { type: "string", default: "1" },
        list: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (cause) {
    throw new InputError(`${(cause as Error).message}\n${USAGE}`, { cause });
  }
  const { values, positionals } = parsed;
  if (values["help"] === true) return null;
  const unknown = positionals.find((name) => !benches.some((bench) => bench.name === name));
  if (unknown !== undefined)
    throw new InputError(`${unknown}: there is no such bench; choose from ${benches.map(({ name }) => name).join(", ")}`);
  return {
    chosen: benches.filter(({ name }) => positionals.length === 0 || positionals.includes(name)),
    repeats: wholeNumber("--repeats", String(values["repeats"]), 1),
    seed: wholeNumber("--seed", String(values["seed"]), 0),
    list: values["list"] === true,
    json: values["json"] === true,
  };
}

const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function runBench(bench: Bench, { repeats, seed }: Options, workDir: string, signal: AbortSignal): Promise<Result> {
  say(`${bench.name}: ${bench.what}`);
  const before = await backgroundBusy(systemClock);
  const startedAt = systemClock.now();
  const outcome = await bench.run({
    repeats,
    clock: systemClock,
    prng: createPrng(seed).fork(bench.name),
    workDir,
    signal,
    progress: (line) => say(`  ${bench.name} ${line}`),
  });
  const seconds = Math.round((systemClock.now() - startedAt) / 1000);
  const after = await backgroundBusy(systemClock);
  const isNoisy = Math.max(before, after) > QUIET_BUSY;
  const percent = (share: number): string => `${Math.round(share * 100)} %`;
  const noise = `other work kept the machine ${percent(before)} busy before and ${percent(after)} busy after this bench`;
  const reasons = [
    repeats < CONCLUSIVE_REPEATS ? `${repeats} repeats of at least ${CONCLUSIVE_REPEATS}` : null,
    isNoisy ? noise : null,
    outcome.doubt,
  ].filter((reason) => reason !== null);
  const doubt = reasons.length === 0 ? null : reasons.join("; ");
  const { name, goal } = bench;
  return { name, goal, repeats, ...outcome, doubt, inconclusive: doubt !== null, backgroundBusy: [before, after], seconds };
}

function render(machine: Surroundings, results: readonly Result[]): string {
  const { cores, cpuModel, memoryBytes, kernel, node, loadAverage } = machine;
  const blocks = [
    `${cores} cores of ${cpuModel}, ${(memoryBytes / 1e9).toFixed(1)} GB, Linux ${kernel}, node ${node}; load average at the start ${loadAverage.map((load) => load.toFixed(2)).join(" ")}`.replace(
      "Linux",
      machine.platform,
    ),
    renderChecks(results),
  ];
  for (const { name, doubt, details, notes } of results) {
    blocks.push(
      [`${name}${doubt === null ? "" : ` — not conclusive: ${doubt}`}`, ...notes].join("\n  "),
      ...details.map(renderDetails),
    );
  }
  return blocks.join("\n\n");
}

/** Whole or not at all. */
function writeResults(dir: string, document: unknown): string {
  const stamp = new Date(systemClock.wall()).toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
  const file = path.join(dir, `${stamp}.json`);
  writeFileSync(`${file}.tmp`, `${JSON.stringify(document, null, 2)}\n`);
  renameSync(`${file}.tmp`, file);
  return file;
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (options === null || options.list) {
    const list = options?.chosen.map(({ name, what, goal }) => `${name}\n  ${what}\n  goal: ${goal}`).join("\n");
    process.stdout.write(`${list ?? USAGE}\n`);
    return 0;
  }
  const dir = path.join(projectRoot, "results", "bench");
  const workDir = path.join(dir, "work");
  mkdirSync(workDir, { recursive: true });
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => stop.abort(new Error(`stopped by ${name}`)));
  const machine = describeSurroundings();
  const results: Result[] = [];
  let failed = false;
  for (const bench of options.chosen) {
    try {
      results.push(await runBench(bench, options, workDir, stop.signal));
    } catch (error) {
      failed = true;
      say(`ERROR ${bench.name}: ${error instanceof Error ? error.message : String(error)}`);
      if (stop.signal.aborted) break;
    }
  }
  const missed = results.flatMap(({ name, checks, inconclusive }) =>
    checks.filter(({ met }) => met === false).map((check) => `${name}: ${check.measure}: ${verdictOf(check, inconclusive)}`),
  );
  const document = { version: 1, wallMs: systemClock.wall(), seed: options.seed, machine, missed, results };
  const file = writeResults(dir, document);
  process.stdout.write(options.json ? `${JSON.stringify(document)}\n` : `${render(machine, results)}\n`);
  say(`results written to ${path.relative(process.cwd(), file)}`);
  return failed || missed.length > 0 ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof InputError)) throw error;
  say(error.message);
  process.exitCode = 2;
}
