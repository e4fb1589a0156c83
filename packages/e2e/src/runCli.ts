import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { RunEvent, RunEventName, RunEventOf, ScheduleFile } from "@failstorm/core";
import type { FailstormMetrics } from "@failstorm/report";
import { eventually } from "./processes.ts";

export const projectRoot = path.resolve(import.meta.dirname, "..", "..", "..");
const cliEntry = path.join(projectRoot, "packages", "cli", "src", "main.ts");

/** A command line as one would type it; none of its words has a space in it. */
export const words = (line: string): string[] => line.trim().split(/\s+/);

export interface CliResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A failstorm process that was started and has perhaps not ended. */
export interface CliProcess {
  readonly pid: number;
  readonly ended: Promise<CliResult>;
  /** What it has written so far, on both streams. */
  readonly output: () => string;
  /** Resolves with the match as soon as the output has it; throws when it does not in time. */
  readonly said: (pattern: RegExp, withinMs: number) => Promise<RegExpMatchArray>;
  readonly kill: (signal: NodeJS.Signals) => void;
}

interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** What configures failstorm in the shell that runs the tests is no part of them. */
const withoutSettings = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("FAILSTORM_")));

function startCli(
  args: readonly string[],
  { env = {}, cwd = projectRoot }: StartOptions = {},
): CliProcess & { child: ChildProcess } {
  const child = spawn(process.execPath, [cliEntry, ...args], {
    cwd,
    env: { ...withoutSettings(process.env), NO_COLOR: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => void (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => void (stderr += text));
  const output = (): string => `${stdout}${stderr}`;
  const ended = new Promise<CliResult>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  return {
    child,
    pid: child.pid ?? 0,
    ended,
    output,
    said: (pattern, withinMs) =>
      eventually(`${String(pattern)} in the output`, withinMs, () => output().match(pattern)).catch((error: unknown) => {
        throw new Error(`${String(error)}; it was: ${output()}`);
      }),
    kill: (signal) => void child.kill(signal),
  };
}

/** A run: its process, and what it leaves in its folder. */
export interface Run extends CliProcess {
  /** Where its run folder is made; nothing else writes there. */
  readonly results: string;
  /** The run's folder; throws when there is none. */
  readonly dir: () => string;
  /** Resolves with the first event that fits, as soon as the orchestrator has written it. */
  readonly event: <Name extends RunEventName>(
    name: Name,
    fits: (event: RunEventOf<Name>) => boolean,
    withinMs: number,
  ) => Promise<RunEventOf<Name>>;
}

/** A run that has ended, with all it recorded. */
export interface EndedRun extends CliResult {
  readonly dir: string;
  readonly results: string;
  readonly events: readonly RunEvent[];
  readonly of: <Name extends RunEventName>(name: Name) => RunEventOf<Name>[];
  readonly schedule: ScheduleFile;
  readonly metrics: FailstormMetrics;
}

/** A folder of its own for everything a test starts. */
export interface Sandbox {
  readonly dir: string;
  /** Any command, to its end. */
  readonly cli: (args: readonly string[], options?: StartOptions) => Promise<CliResult>;
  /** Starts a run on ports of its own (see `freshBasePort`) into a results folder of its own (`results` names another). */
  readonly start: (args: readonly string[], options?: StartOptions & { results?: string }) => Run;
  /**
   * A run to its end; once more (see MAX_ATTEMPTS) when the machine had not let its processes run (see `wasStarved`). Throws when it left no
   * metrics.
   */
  readonly run: (args: readonly string[], options?: StartOptions) => Promise<EndedRun>;
  /** SIGKILLs what still runs and removes the folder; with E2E_KEEP set it is kept, and said where. */
  readonly close: () => Promise<void>;
}

/** Run folders below a results folder: those there are by now, for they appear level by level. */
export const runFolders = (results: string, scenario: "fail-storm" | "queue" = "fail-storm"): string[] => {
  const runs = path.join(results, scenario);
  if (!existsSync(runs)) return [];
  return readdirSync(runs).flatMap((protocol) =>
    readdirSync(path.join(runs, protocol)).map((id) => path.join(runs, protocol, id)),
  );
};

/** The whole lines of a file of JSON that is perhaps being written; an unfinished last one is left out. */
export function readLines<T>(file: string): T[] {
  const text = readFileSync(file, "utf8");
  return text
    .slice(0, text.lastIndexOf("\n") + 1)
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T);
}

export const readEvents = (file: string): RunEvent[] => (existsSync(file) ? readLines<RunEvent>(file) : []);

export const eventsNamed = <Name extends RunEventName>(events: readonly RunEvent[], name: Name): RunEventOf<Name>[] =>
  events.filter((event): event is RunEventOf<Name> => event.ev === name);

const readJson = (file: string): unknown => JSON.parse(readFileSync(file, "utf8"));

/** What a run left behind, when it has metrics. */
export function readEndedRun(dir: string, result: CliResult, results: string): EndedRun {
  const events = readEvents(path.join(dir, "events.ndjson"));
  return {
    ...result,
    dir,
    results,
    events,
    of: (name) => eventsNamed(events, name),
    schedule: readJson(path.join(dir, "schedule.json")) as ScheduleFile,
    metrics: readJson(path.join(dir, "failstorm_metrics.json")) as FailstormMetrics,
  };
}

/** The agents' compiled code is kept where every run of this checkout keeps it, so that they start as fast as a user's. */
function shareCompileCache(results: string): void {
  const cache = path.join(projectRoot, "results", ".cache");
  mkdirSync(cache, { recursive: true });
  symlinkSync(cache, path.join(results, ".cache"));
}

function asRun(started: CliProcess, results: string): Run {
  const dir = (): string => {
    const [only, ...more] = runFolders(results);
    if (only === undefined || more.length > 0)
      throw new Error(`${more.length + (only === undefined ? 0 : 1)} run folders in ${results}`);
    return only;
  };
  return {
    ...started,
    results,
    dir,
    event: (name, fits, withinMs) =>
      eventually(`event ${name}`, withinMs, () => {
        const folder = runFolders(results)[0];
        if (folder === undefined) return null;
        return eventsNamed(readEvents(path.join(folder, "orchestrator.ndjson")), name).find(fits) ?? null;
      }).catch((error: unknown) => {
        throw new Error(`${String(error)}; the output was: ${started.output()}`);
      }),
  };
}

/** Between the ports among which `--base-port 0` picks and those of outgoing connections. */
const PORTS = { from: 31_000, workers: 4, runs: 20, perRun: 20 };
let portsGiven = 0;

/**
 * Ports that no run beside this one asks for: each of vitest's workers has a range, and goes through it. What runs that start at the same time pick
 * at random may be the same, and an agent that finds its port taken when it listens ends its run.
 */
export function freshBasePort(): number {
  const worker = (Number(process.env["VITEST_POOL_ID"] ?? 1) - 1) % PORTS.workers;
  return PORTS.from + (worker * PORTS.runs + (portsGiven++ % PORTS.runs)) * PORTS.perRun;
}

const MAX_ATTEMPTS = 3;
/** A process whose event loop stood still for this long cannot be told from a dead one by a heartbeat timeout of 1.5 s. */
const STALL_MS = 100;

/**
 * The machine did not let the run be the one that was planned: somebody was taken for dead while a process stood still, an agent stood still in
 * most seconds before the fault, or the fault came so late that the run itself says that it is invalid. A wrong verdict on a machine that did let
 * everybody run is never excused.
 */
const wasStarved = ({ metrics, of }: EndedRun): boolean =>
  (metrics.false_positives > 0 && of("process").some((sample) => sample.loopLagP99Ms > STALL_MS)) ||
  (metrics.load.loop_lag_p99_ms ?? 0) > STALL_MS ||
  metrics.invalid_because.some((reason) => reason.startsWith("late fault"));

async function waitForEnd(run: Run): Promise<EndedRun> {
  const result = await run.ended;
  try {
    return readEndedRun(run.dir(), result, run.results);
  } catch (error) {
    throw new Error(`the run left no metrics (exit ${result.code}): ${result.stderr}`, { cause: error });
  }
}

/** Agents of a run that was killed may write a last line while their folder is removed. */
const REMOVE = { recursive: true, force: true, maxRetries: 10 } as const;

export function openSandbox(): Sandbox {
  const dir = mkdtempSync(path.join(tmpdir(), "failstorm-e2e-"));
  const started: (CliProcess & { child: ChildProcess })[] = [];
  let count = 0;
  const launch = (args: readonly string[], options?: StartOptions): CliProcess => {
    const cli = startCli(args, options);
    started.push(cli);
    return cli;
  };
  const start: Sandbox["start"] = (args, options = {}) => {
    const results = options.results ?? path.join(dir, `results-${count++}`);
    if (options.results === undefined) {
      mkdirSync(results);
      shareCompileCache(results);
    }
    const port = args.includes("--base-port") ? [] : ["--base-port", `${freshBasePort()}`];
    return asRun(launch([...args, "--results", results, ...port], options), results);
  };
  return {
    dir,
    cli: (args, options) => launch(args, options).ended,
    start,
    run: async (args, options) => {
      let ended = await waitForEnd(start(args, options));
      for (let attempt = 1; attempt < MAX_ATTEMPTS && wasStarved(ended); attempt++)
        ended = await waitForEnd(start(args, options));
      return ended;
    },
    close: async () => {
      for (const { child } of started) if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await Promise.all(started.map(({ ended }) => ended.catch(() => null)));
      if (process.env["E2E_KEEP"] === undefined) rmSync(dir, REMOVE);
      else process.stderr.write(`kept: ${dir}\n`);
    },
  };
}
