import { createReadStream } from "node:fs";
import { access, readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { InputError, type RunConfig, type RunEvent, type RunEventName, type RunEventOf } from "@failstorm/core";
import { runEventSchema } from "@failstorm/core/events.ts";
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
  graded: z.literal("normalised").exactOptional(),
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
    hosts: z.array(z.array(z.string())).optional(),
    agentIds: z.array(z.string()).optional(),
    runtimeMs: z.number(),
    warmupMs: z.number(),
    recoveryDurationMs: z.number().nullable(),
    timeScale: z.number(),
    fakeFault: z.boolean(),
    killCount: z.number(),
  }),
  network: z.looseObject({
    heartbeatIntervalMs: z.number(),
    heartbeatTimeoutMs: z.number(),
    detector: z.enum(["heartbeat", "phi-accrual", "swim"]),
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
 * Reads a run's folder: `events.ndjson`, `schedule.json`, `manifest.json`. While the run goes on, and when the orchestrator
 * died half-way, the events are not merged yet: `orchestrator.ndjson` and the agents' files in `workspaces/` are read then.
 * A broken or truncated line is reported in `badLines`, not fatal. Throws InputError when it is no run folder.
 */
export async function readRun(dir: string): Promise<RunRecord> {
  const merged = path.join(dir, "events.ndjson");
  const files = (await exists(merged)) ? [merged] : await unmergedFiles(dir);
  const badLines: BadLine[] = [];
  const events: RunEvent[] = [];
  for (const file of files) await readEvents(file, dir, events, badLines);
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

async function unmergedFiles(dir: string): Promise<string[]> {
  const workspaces = await readdir(path.join(dir, "workspaces")).catch(() => []);
  const candidates = [
    path.join(dir, "orchestrator.ndjson"),
    ...workspaces.map((name) => path.join(dir, "workspaces", name, "events.ndjson")),
  ];
  const there = await Promise.all(candidates.map(exists));
  return candidates.filter((_, i) => there[i]);
}

/** How every event begins. A line cut short by the death of its writer has the next incarnation's first event behind it. */
const EVENT_START = '{"t":';

async function readEvents(file: string, dir: string, events: RunEvent[], badLines: BadLine[]): Promise<void> {
  const lines = createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY });
  let line = 0;
  for await (const text of lines) {
    line += 1;
    if (text === "") continue;
    const reason = parseEvent(text, events);
    if (reason === null) continue;
    badLines.push({ file: path.relative(dir, file), line, reason });
    const next = text.lastIndexOf(EVENT_START);
    if (next > 0) parseEvent(text.slice(next), events);
  }
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
