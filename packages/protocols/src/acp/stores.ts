import { randomUUID } from "node:crypto";
import { charsOf } from "./content.ts";
import { AcpError, type Message, type Session } from "./model.ts";
import { type RunOptions, RunRecord } from "./run.ts";

/** What may be kept for whoever asks later. */
export interface Retention {
  readonly count: number;
  readonly ms: number;
  /** Characters of content, each message counting MESSAGE_CHARS more. */
  readonly chars: number;
}

const MESSAGE_CHARS = 200;
/** Unfinished runs; more are refused. Beyond what any load here reaches, but finite. */
const MAX_ACTIVE_RUNS = 10_000;

const weightOf = (messages: readonly Message[]): number => charsOf(messages) + MESSAGE_CHARS * messages.length;

/** All runs of a host: the unfinished ones, and the last finished ones, oldest given up first. */
export class RunStore {
  private readonly active = new Map<string, RunRecord>();
  private readonly finished = new Map<string, { readonly run: RunRecord; readonly weight: number; readonly at: number }>();
  private weight = 0;
  private readonly retention: Retention;
  private readonly now: () => number;

  constructor(retention: Retention, now: () => number) {
    this.retention = retention;
    this.now = now;
  }

  /** Throws AcpError when there are too many unfinished runs. */
  create(options: RunOptions): RunRecord {
    if (this.active.size >= MAX_ACTIVE_RUNS)
      throw new AcpError(503, "server_error", `${MAX_ACTIVE_RUNS} runs are unfinished; try again later`);
    const run = new RunRecord(options);
    this.active.set(run.id, run);
    return run;
  }

  get(id: string): RunRecord | undefined {
    this.evict();
    return this.active.get(id) ?? this.finished.get(id)?.run;
  }

  /** To be called when a run has ended. */
  retire(run: RunRecord): void {
    if (!this.active.delete(run.id)) return;
    const weight = weightOf(run.input) + weightOf(run.output) + MESSAGE_CHARS * run.logLength;
    this.finished.set(run.id, { run, weight, at: this.now() });
    this.weight += weight;
    this.evict();
  }

  /** Ends what is unfinished; for a host that closes. */
  close(): void {
    for (const run of this.active.values()) run.abandon({ code: "server_error", message: "the host is closing" });
    this.active.clear();
    this.finished.clear();
  }

  private evict(): void {
    const { count, ms, chars } = this.retention;
    for (const [id, { weight, at }] of this.finished) {
      if (this.finished.size <= count && this.weight <= chars && this.now() - at <= ms) return;
      this.finished.delete(id);
      this.weight -= weight;
    }
  }
}

/** A message kept here, or one kept elsewhere. */
type HistoryEntry = { readonly resource: string; readonly message: Message } | { readonly url: string };

interface StoredSession {
  readonly entries: HistoryEntry[];
  readonly state: string | undefined;
  touchedAt: number;
}

const OWN_RESOURCE = /\/resources\/([0-9a-f-]{36})$/;

const stateWeight = ({ state }: StoredSession): number => state?.length ?? 0;

const entryWeight = (entry: HistoryEntry): number =>
  ("url" in entry ? entry.url.length : charsOf([entry.message])) + MESSAGE_CHARS;

/**
 * Sessions and their history: a list of resource URLs, of messages that are kept here and served at `/resources/{id}`, or that
 * came along with a session from another server and stay there. The least recently used go first, from their oldest message on.
 */
export class SessionStore {
  private readonly sessions = new Map<string, StoredSession>();
  private readonly resources = new Map<string, Message>();
  private weight = 0;
  private readonly retention: Retention;
  private readonly now: () => number;

  constructor(retention: Retention, now: () => number) {
    this.retention = retention;
    this.now = now;
  }

  /** A session that comes with its history replaces what was known of it; messages of it that are kept here already stay here. */
  adopt({ id, history, state }: Session): void {
    const here = new Map(this.entries(id).flatMap((entry) => ("resource" in entry ? [[entry.resource, entry] as const] : [])));
    this.drop(id);
    const entries = history.map((url) => here.get(OWN_RESOURCE.exec(url)?.[1] ?? "") ?? { url });
    for (const entry of entries) this.keep(entry);
    const session = { entries, state, touchedAt: this.now() };
    this.sessions.set(id, session);
    this.weight += stateWeight(session);
    this.evict();
  }

  /** Adds messages to a session's history; creates the session when it is new. */
  record(id: string, messages: readonly Message[]): void {
    const session = this.sessions.get(id) ?? { entries: [], state: undefined, touchedAt: 0 };
    session.touchedAt = this.now();
    // Last in the order of use.
    this.sessions.delete(id);
    this.sessions.set(id, session);
    for (const message of messages) {
      const entry = { resource: randomUUID(), message };
      session.entries.push(entry);
      this.keep(entry);
    }
    this.evict();
  }

  /** With the addresses as the asker reaches us: `base` is what our resources' paths are relative to. */
  read(id: string, base: string): Session | undefined {
    this.evict();
    const session = this.sessions.get(id);
    if (session === undefined) return undefined;
    const history = session.entries.map((entry) => ("url" in entry ? entry.url : `${base}/resources/${entry.resource}`));
    return { id, history, ...(session.state === undefined ? {} : { state: session.state }) };
  }

  has(id: string): boolean {
    this.evict();
    return this.sessions.has(id);
  }

  entries(id: string): readonly HistoryEntry[] {
    return this.sessions.get(id)?.entries ?? [];
  }

  resource(id: string): Message | undefined {
    this.evict();
    return this.resources.get(id);
  }

  clear(): void {
    this.sessions.clear();
    this.resources.clear();
    this.weight = 0;
  }

  private drop(id: string): void {
    const session = this.sessions.get(id);
    if (session === undefined) return;
    for (const entry of session.entries) this.forget(entry);
    this.weight -= stateWeight(session);
    this.sessions.delete(id);
  }

  private keep(entry: HistoryEntry): void {
    this.weight += entryWeight(entry);
    if ("resource" in entry) this.resources.set(entry.resource, entry.message);
  }

  private forget(entry: HistoryEntry): void {
    this.weight -= entryWeight(entry);
    if ("resource" in entry) this.resources.delete(entry.resource);
  }

  private evict(): void {
    const { count, ms, chars } = this.retention;
    for (const [id, { entries, touchedAt }] of this.sessions) {
      if (this.sessions.size > count || this.now() - touchedAt > ms) {
        this.drop(id);
        continue;
      }
      if (this.weight <= chars) return;
      let trimmed = 0;
      for (const entry of entries) {
        if (this.weight <= chars) break;
        this.forget(entry);
        trimmed += 1;
      }
      entries.splice(0, trimmed);
      if (entries.length === 0) this.drop(id);
    }
  }
}
