import { createReadStream } from "node:fs";
import { access, readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { InputError, type RunConfig, type RunEvent, type RunEventName, type RunEventOf, runEventSchema } from "@failstorm/core";
import type { ScheduleFile } from "@failstorm/core";
import { z } from "zod";

/** A line of an event file that is not a run event: a truncated tail, or damage. */
export interface BadLine {
  readonly file: string;
  readonly line: number;
  readonly reason: string;
}

/** Everything the measures are computed from. `events` are in order of time; equal instants in order of writer and `seq`. */
export interface RunRecord {
  readonly runId: string;
  readonly config: RunConfig;
  readonly schedule: ScheduleFile;
  readonly manifest: Readonly<Record<string, unknown>> | null;
  readonly events: readonly RunEvent[];
  readonly badLines: readonly BadLine[];
}

const gradedTask = z.looseObject({
  task: z.string(),
  atMs: z.number(),
  homeOwner: z.string(),
  question: z.string(),
  questionId: z.string(),
  hops: z.number(),
  gold: z.string(),
  expected: z.string(),
  evidence: z.array(z.string()),
});

const scheduleSchema = z.looseObject({
  version: z.literal(1),
  seed: z.number(),
  tasks: z.array(gradedTask),
  faults: z.array(
    z.looseObject({
      kind: z.enum(["sigkill", "sigstop", "sigterm"]),
      atMs: z.number(),
      cycle: z.number(),
      victims: z.array(z.string()),
      fake: z.boolean(),
      restartAtMs: z.number().nullable(),
    }),
  ),
  calibrated: z.boolean(),
});

/** What the measures need of the configuration; the rest is passed on as it is. */
const configSchema = z.looseObject({
  scenario: z.looseObject({
    agentCount: z.number(),
    runtimeMs: z.number(),
    warmupMs: z.number(),
    recoveryDurationMs: z.number().nullable(),
    timeScale: z.number(),
    fakeFault: z.boolean(),
    killCount: z.number(),
  }),
  network: z.looseObject({
    topology: z.enum(["mesh", "ring", "star", "custom"]),
    customEdges: z.array(z.tuple([z.string(), z.string()])),
    monitors: z.union([z.literal("auto"), z.literal("all"), z.number()]),
  }),
  tasks: z.looseObject({ deadlineMs: z.number() }),
});

const exists = async (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );

/**
 * Reads a run's folder: `events.ndjson`, `schedule.json`, `manifest.json`. When the events end without `run.finished` (the
 * orchestrator died half-way), the agents' own event files in `workspaces/` are read as well, and what is in both is taken
 * once. A broken or truncated line is reported in `badLines`, not fatal. Throws InputError when it is no run folder.
 */
export async function readRun(dir: string): Promise<RunRecord> {
  const main = path.join(dir, "events.ndjson");
  const mainThere = await exists(main);
  const badLines: BadLine[] = [];
  let events = mainThere ? await readEvents(main, dir, badLines) : [];
  if (!events.some((event) => event.ev === "run.finished")) {
    for (const file of await agentEventFiles(dir)) events.push(...(await readEvents(file, dir, badLines)));
    events = withoutRepeats(events);
  }
  if (events.length === 0) throw new InputError(`${dir}: no events found (events.ndjson missing or empty); give a run's folder`);
  const manifest = (await exists(path.join(dir, "manifest.json"))) ? await readJson(path.join(dir, "manifest.json")) : null;
  return toRunRecord({ dir, events, badLines, manifest, schedule: await readJson(path.join(dir, "schedule.json")) });
}

/** Puts events in order and checks the configuration and the schedule; throws InputError naming what is wrong in which file. */
export function toRunRecord(parts: {
  readonly dir: string;
  readonly events: readonly RunEvent[];
  readonly schedule: unknown;
  readonly manifest?: unknown;
  readonly badLines?: readonly BadLine[];
}): RunRecord {
  const events = [...parts.events].sort(
    (a, b) => a.t - b.t || (a.src < b.src ? -1 : a.src > b.src ? 1 : a.inc - b.inc || a.seq - b.seq),
  );
  const started = events.find((event) => event.ev === "run.started");
  const manifest = isRecord(parts.manifest) ? parts.manifest : null;
  const config = configSchema.safeParse(started?.ev === "run.started" ? started.config : manifest?.["config"]);
  if (!config.success)
    throw new InputError(`${parts.dir}: no usable configuration in run.started: ${z.prettifyError(config.error)}`);
  const schedule = scheduleSchema.safeParse(parts.schedule);
  if (!schedule.success) throw new InputError(`${parts.dir}/schedule.json: ${z.prettifyError(schedule.error)}`);
  return {
    runId: started?.ev === "run.started" ? started.runId : path.basename(parts.dir),
    config: config.data as unknown as RunConfig,
    schedule: schedule.data,
    manifest,
    events,
    badLines: parts.badLines ?? [],
  };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, "utf8"));
  } catch (error) {
    throw new InputError(`${file}: cannot be read as JSON; give a run's folder`, { cause: error });
  }
}

async function agentEventFiles(dir: string): Promise<string[]> {
  const workspaces = path.join(dir, "workspaces");
  if (!(await exists(workspaces))) return [];
  const entries = await readdir(workspaces, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && /^events.*\.ndjson$/.test(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort();
}

async function readEvents(file: string, dir: string, badLines: BadLine[]): Promise<RunEvent[]> {
  const events: RunEvent[] = [];
  const lines = createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY });
  let line = 0;
  for await (const text of lines) {
    line += 1;
    if (text === "") continue;
    const reason = parseEvent(text, events);
    if (reason !== null) badLines.push({ file: path.relative(dir, file), line, reason });
  }
  return events;
}

/** Adds the event to `into`; returns what is wrong with the line, or null. The full schema costs about 1.5 µs an event. */
function parseEvent(text: string, into: RunEvent[]): string | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return "not JSON (truncated?)";
  }
  const parsed = runEventSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return `not a run event: ${issue === undefined ? "?" : `${issue.path.join(".")} ${issue.message}`}`;
  }
  into.push(parsed.data);
  return null;
}

function withoutRepeats(events: readonly RunEvent[]): RunEvent[] {
  const seen = new Set<string>();
  return events.filter((event) => {
    const key = `${event.src}/${event.inc}/${event.seq}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** Events by name, each list in order of time. */
export interface EventIndex {
  of<Name extends RunEventName>(name: Name): readonly RunEventOf<Name>[];
}

export function indexEvents(events: readonly RunEvent[]): EventIndex {
  const byName = new Map<RunEventName, RunEvent[]>();
  for (const event of events) {
    const list = byName.get(event.ev);
    if (list === undefined) byName.set(event.ev, [event]);
    else list.push(event);
  }
  return { of: <Name extends RunEventName>(name: Name) => (byName.get(name) ?? []) as unknown as readonly RunEventOf<Name>[] };
}
