import { appendFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import type { Mutant } from "@failstorm/core";
import type { FailstormMetrics } from "@failstorm/report";
import { MUTANT_RULES, stormRun } from "./mutantRules.ts";
import { openSandbox, projectRoot, type Sandbox } from "./runCli.ts";

/*
 * node packages/e2e/src/mutants.ts --runs 20 [--seed 1000] [--out FILE] [--only retry-off,ledger-off]
 *
 * For each seed one unmutated storm and the same storm once with each mutant, interleaved so that a busy hour of the machine hits
 * all alike. Each run's readings are a line of FILE as soon as it ends; called again with the same FILE, the runs that are there are
 * not repeated. Exit code 0 when every mutant is red in at least 19 of 20 runs and no rule is red in more than 1 of 20 unmutated ones.
 */

const NEEDED = 0.95;
const MAX_FALSE_ALARMS = 0.05;
/** Attempts at a run during which the machine had no time for it. */
const MAX_ATTEMPTS = 3;
const TOO_BUSY = 0.9;

interface Reading {
  readonly seed: number;
  readonly mutant: Mutant | null;
  readonly code: number | null;
  readonly busy: number | null;
  /** By mutant: what its rule reads, and whether it is red. */
  readonly measures: Readonly<Record<string, { readonly value: number | null; readonly red: boolean }>>;
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const readMeasures = (metrics: FailstormMetrics): Reading["measures"] =>
  Object.fromEntries(MUTANT_RULES.map(({ mutant, read, isRed }) => [mutant, { value: read(metrics), red: isRed(metrics) }]));

/** One storm; again when the machine was too busy to tell anything by it, up to MAX_ATTEMPTS. */
async function takeReading(sandbox: Sandbox, seed: number, mutant: Mutant | null): Promise<Reading> {
  for (let attempt = 1; ; attempt++) {
    const { metrics, code } = await sandbox.run(stormRun(seed, mutant));
    const busy = metrics.load.machine_busy;
    if ((busy ?? 0) <= TOO_BUSY || attempt === MAX_ATTEMPTS) return { seed, mutant, code, busy, measures: readMeasures(metrics) };
    say(`seed ${seed}, ${mutant ?? "unmutated"}: the machine was ${((busy ?? 0) * 100).toFixed(0)} % busy, once more`);
  }
}

const readingsIn = (file: string): Reading[] =>
  existsSync(file)
    ? readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Reading)
    : [];

/** One line per rule; true when each keeps to its threshold both ways. */
function summarise(readings: readonly Reading[], mutants: readonly Mutant[]): boolean {
  let isProven = true;
  for (const { mutant, measure, threshold } of MUTANT_RULES) {
    if (!mutants.includes(mutant)) continue;
    const reds = (of: Mutant | null): { n: number; red: number; values: string } => {
      const own = readings.filter((reading) => reading.mutant === of);
      const values = own.map(({ measures }) => measures[mutant]?.value ?? null);
      const numbers = values.filter((value) => value !== null).sort((a, b) => a - b);
      const range = numbers.length === 0 ? "all null" : `${numbers[0]?.toPrecision(3)} to ${numbers.at(-1)?.toPrecision(3)}`;
      return { n: own.length, red: own.filter(({ measures }) => measures[mutant]?.red === true).length, values: range };
    };
    const mutated = reds(mutant);
    const control = reds(null);
    if (mutated.red < NEEDED * mutated.n || control.red > MAX_FALSE_ALARMS * control.n) isProven = false;
    say(`${mutant}: ${measure} (red: ${threshold})`);
    say(`  mutated    red in ${mutated.red} of ${mutated.n} (${mutated.values})`);
    say(`  unmutated  red in ${control.red} of ${control.n} (${control.values})`);
  }
  return isProven;
}

const USAGE = `usage: node packages/e2e/src/mutants.ts [--runs 20] [--seed 1000] [--out FILE] [--only NAME,…]

Makes the same storm unmutated and with each mutant (${MUTANT_RULES.map(({ mutant }) => mutant).join(", ")}), and says how often each mutant turned
its named measure red. Readings are appended to FILE (results/mutants.ndjson); what is there already is not made again.
Exit codes: 0 red in at least 19 of 20 and in at most 1 of 20 unmutated runs, 1 otherwise, 2 bad input.
`;

function fail(message: string): never {
  process.stderr.write(`ERROR ${message}\n\n${USAGE}`);
  process.exit(2);
}

function readOptions(): { runs: string; seed: string; out: string; only: string } {
  const defaults = { runs: "20", seed: "1000", out: path.join(projectRoot, "results", "mutants.ndjson") };
  const only = MUTANT_RULES.map(({ mutant }) => mutant).join(",");
  try {
    const text = { type: "string" } as const;
    const { values } = parseArgs({
      options: { runs: text, seed: text, out: text, only: text, help: { type: "boolean", short: "h" } },
    });
    if (values.help === true) {
      process.stdout.write(USAGE);
      process.exit(0);
    }
    return { ...defaults, only, ...values };
  } catch (error) {
    return fail((error as Error).message);
  }
}

const options = readOptions();
for (const name of ["runs", "seed"] as const)
  if (!/^\d+$/.test(options[name])) fail(`--${name} ${options[name]}: must be a whole number`);
for (const name of options.only.split(","))
  if (!MUTANT_RULES.some(({ mutant }) => mutant === name)) fail(`--only ${name}: there is no such mutant`);
const mutants = MUTANT_RULES.map(({ mutant }) => mutant).filter((mutant) => options.only.split(",").includes(mutant));
const seeds = Array.from({ length: Number(options.runs) }, (_, i) => Number(options.seed) + i);
mkdirSync(path.dirname(options.out), { recursive: true });
const sandbox = openSandbox();
try {
  const done = readingsIn(options.out);
  for (const seed of seeds) {
    for (const mutant of [null, ...mutants]) {
      if (done.some((reading) => reading.seed === seed && reading.mutant === mutant)) continue;
      const reading = await takeReading(sandbox, seed, mutant);
      appendFileSync(options.out, `${JSON.stringify(reading)}\n`);
      done.push(reading);
      const { value = null, red = false } = mutant === null ? {} : (reading.measures[mutant] ?? {});
      say(`seed ${seed}, ${mutant ?? "unmutated"}${mutant === null ? "" : `: ${value}, ${red ? "red" : "green"}`}`);
    }
  }
  const wanted = done.filter((reading) => seeds.includes(reading.seed));
  process.exitCode = summarise(wanted, mutants) ? 0 : 1;
} finally {
  await sandbox.close();
}
