import type { Artifact, Message, Task, TaskPushNotificationConfig, TaskStatus } from "@a2a-js/sdk";
import { TaskState, Task as TaskCodec, TaskPushNotificationConfig as ConfigCodec } from "@a2a-js/sdk";
import { isRecord } from "./wire.ts";
import { TaskLog } from "./taskLog.ts";

export const TERMINAL: ReadonlySet<TaskState> = new Set([
  TaskState.TASK_STATE_COMPLETED,
  TaskState.TASK_STATE_FAILED,
  TaskState.TASK_STATE_CANCELED,
  TaskState.TASK_STATE_REJECTED,
]);

/** A webhook, and the version of the protocol its owner speaks. */
export interface PushConfig {
  readonly config: TaskPushNotificationConfig;
  readonly wireVersion: string;
}

/** A task, and to whom it belongs. `task` and what is in it are replaced, never changed, so that a reader may keep what it was given. */
export interface TaskRecord {
  /** Tenant and user; nobody else can tell that the task exists. */
  readonly scope: string;
  task: Task;
  pushes: readonly PushConfig[];
  /** About how much memory it takes, bytes. */
  size: number;
  /** When it reached its last state, wall clock ms; null before. */
  endedAt: number | null;
}

type Entry =
  | { readonly op: "task"; readonly scope: string; readonly task: unknown; readonly pushes?: unknown }
  | { readonly op: "end"; readonly id: string; readonly status: unknown; readonly artifacts: unknown }
  | { readonly op: "push"; readonly id: string; readonly pushes: unknown };

/** A message bigger than this is kept in the history without its parts (spec §3.7: the agent decides what it persists), characters. */
const MAX_HISTORY_CHARS = 64 * 1024;
interface StoreOptions {
  readonly dir: string;
  readonly retainMs: number;
  /** Finished tasks of more than this together are forgotten before their time, bytes. */
  readonly maxFinishedBytes: number;
  readonly now: () => number;
  readonly wall: () => number;
}

export const isTerminal = (task: Task): boolean => task.status !== undefined && TERMINAL.has(task.status.state);

/** What a history keeps of a message that is too big to be kept. */
function withoutParts(message: Message, size: number): Message {
  const content = { $case: "text", value: `${size} characters, not kept` } as const;
  return { ...message, parts: [{ content, metadata: undefined, filename: "", mediaType: "" }] };
}

const pushesToJson = (pushes: readonly PushConfig[]): unknown =>
  pushes.map(({ config, wireVersion }) => ({ config: ConfigCodec.toJSON(config), wireVersion }));

const pushesFromJson = (pushes: unknown): PushConfig[] =>
  Array.isArray(pushes)
    ? pushes.map((one: { config: object; wireVersion: string }) => ({ ...one, config: ConfigCodec.fromJSON(one.config) }))
    : [];

/**
 * The tasks of one agent: in memory, and what a restarted agent must know of them on disk. A task is written when it is created, with
 * the message it answers, and when it ends, with its result; what happens in between is lost with the process, which fails the task
 * anyway. Finished tasks are kept for `retainMs`, or until they take too much memory.
 */
export class TaskStore {
  private readonly records = new Map<string, TaskRecord>();
  /** Ids of finished tasks, in the order they ended. */
  private readonly finished = new Set<string>();
  private finishedBytes = 0;
  private readonly options: StoreOptions;
  private readonly log: TaskLog;

  constructor(options: StoreOptions) {
    this.options = options;
    this.log = new TaskLog({ dir: options.dir, segmentMs: Math.max(options.retainMs, 1_000), now: options.now });
  }

  /**
   * Reads what earlier incarnations left. Tasks that had not ended are orphans, and their executor died with them: `fate` gives the
   * state they end in. Returns them.
   */
  open(fate: (task: Task) => TaskStatus): TaskRecord[] {
    for (const entry of this.log.read()) this.replay(entry);
    const cutoff = this.options.wall() - this.options.retainMs;
    const left = [...this.records.values()].toSorted((a, b) => (a.endedAt ?? Infinity) - (b.endedAt ?? Infinity));
    for (const record of left) {
      if (record.endedAt !== null && record.endedAt <= cutoff) this.records.delete(record.task.id);
      else if (record.endedAt !== null) this.noteEnd(record, record.endedAt);
    }
    const orphans = left.filter(({ endedAt }) => endedAt === null);
    for (const record of orphans) {
      record.task = { ...record.task, status: fate(record.task) };
      this.noteEnd(record, this.options.wall());
    }
    this.log.restart([...this.records.values()].map(lineOf));
    return orphans;
  }

  /** A new task, which answers `message`. Throws what writing throws, and then there is no task. */
  create(scope: string, task: Task, message: Message, pushes: readonly PushConfig[]): TaskRecord {
    this.evict();
    const record: TaskRecord = { scope, task: { ...task, history: [message] }, pushes, size: 0, endedAt: null };
    let line = lineOf(record);
    if (line.length > MAX_HISTORY_CHARS) {
      record.task = { ...task, history: [withoutParts(message, line.length)] };
      line = lineOf(record);
    }
    record.size = line.length;
    this.log.append(line, () => this.unfinished());
    this.records.set(task.id, record);
    return record;
  }

  setStatus(record: TaskRecord, status: TaskStatus): void {
    record.task = { ...record.task, status };
  }

  /** Adds to the artifact of that id, or begins it. */
  addArtifact(record: TaskRecord, artifact: Artifact): void {
    const { artifacts } = record.task;
    const before = artifacts.find(({ artifactId }) => artifactId === artifact.artifactId);
    const grown = before === undefined ? artifact : { ...before, parts: [...before.parts, ...artifact.parts] };
    record.task = {
      ...record.task,
      artifacts: before === undefined ? [...artifacts, grown] : artifacts.map((one) => (one === before ? grown : one)),
    };
  }

  /** The task's last state. Throws what writing throws; the state holds all the same. */
  end(record: TaskRecord, status: TaskStatus): void {
    record.task = { ...record.task, status };
    const { status: wireStatus, artifacts } = TaskCodec.toJSON({ ...record.task, history: [] }) as Record<string, unknown>;
    const line = JSON.stringify({ op: "end", id: record.task.id, status: wireStatus, artifacts } satisfies Entry);
    record.size += line.length;
    this.noteEnd(record, this.options.wall());
    this.log.append(line, () => this.unfinished());
  }

  setPushes(record: TaskRecord, pushes: readonly PushConfig[]): void {
    record.pushes = pushes;
    const entry: Entry = { op: "push", id: record.task.id, pushes: pushesToJson(pushes) };
    this.log.append(JSON.stringify(entry), () => this.unfinished());
  }

  /** The task of that id, if it is of that scope. */
  get(scope: string, id: string): TaskRecord | undefined {
    this.evict();
    const record = this.records.get(id);
    return record?.scope === scope ? record : undefined;
  }

  /** All tasks of the scope, in no order. */
  inScope(scope: string): TaskRecord[] {
    this.evict();
    return [...this.records.values()].filter((record) => record.scope === scope);
  }

  close(): void {
    this.log.close();
  }

  private replay(entry: unknown): void {
    if (!isRecord(entry)) return;
    if (entry["op"] === "task" && isRecord(entry["task"])) {
      const task = TaskCodec.fromJSON(entry["task"]);
      const size = JSON.stringify(entry).length;
      const pushes = pushesFromJson(entry["pushes"]);
      this.records.set(task.id, { scope: String(entry["scope"]), task, pushes, size, endedAt: endOf(task) });
      return;
    }
    const record = this.records.get(String(entry["id"]));
    if (record === undefined) return;
    if (entry["op"] === "push") record.pushes = pushesFromJson(entry["pushes"]);
    if (entry["op"] === "end") {
      const { status, artifacts } = TaskCodec.fromJSON({ status: entry["status"], artifacts: entry["artifacts"] });
      record.task = { ...record.task, status, artifacts };
      record.endedAt = endOf(record.task);
    }
  }

  private noteEnd(record: TaskRecord, endedAt: number): void {
    record.endedAt = endedAt;
    this.finished.add(record.task.id);
    this.finishedBytes += record.size;
  }

  private evict(): void {
    const cutoff = this.options.wall() - this.options.retainMs;
    for (const id of this.finished) {
      const record = this.records.get(id);
      if (record !== undefined && (record.endedAt ?? 0) > cutoff && this.finishedBytes <= this.options.maxFinishedBytes) return;
      this.finished.delete(id);
      this.records.delete(id);
      this.finishedBytes -= record?.size ?? 0;
    }
  }

  private unfinished(): string[] {
    return [...this.records.values()].filter(({ endedAt }) => endedAt === null).map(lineOf);
  }
}

const lineOf = ({ scope, task, pushes }: TaskRecord): string =>
  JSON.stringify({
    op: "task",
    scope,
    task: TaskCodec.toJSON(task),
    ...(pushes.length > 0 ? { pushes: pushesToJson(pushes) } : {}),
  } satisfies Entry);

const endOf = (task: Task): number | null => (isTerminal(task) ? Date.parse(task.status?.timestamp ?? "") || 0 : null);
