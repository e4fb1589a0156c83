import type { GradedTask, RunConfig, RunEvent, RunEventName, RunEventOf, ScheduleFile } from "@failstorm/core";

/** What the checker looks at: events in any order, the schedule, the configuration. */
export interface CheckedRun {
  readonly events: readonly RunEvent[];
  readonly schedule: ScheduleFile;
  readonly config: RunConfig;
}

/** Which event: `seq` counts per writer and incarnation. */
export interface EventRef {
  readonly src: string;
  readonly inc: number;
  readonly seq: number;
}

/** A broken invariant, by name, with the events that show it. */
export interface Violation {
  readonly invariant: string;
  readonly message: string;
  readonly events: readonly EventRef[];
}

/** One incarnation's events, in the order of `seq`. */
export interface Writer {
  readonly src: string;
  readonly inc: number;
  readonly events: readonly RunEvent[];
}

/** A run, indexed for the checks. */
export interface Evidence {
  readonly run: CheckedRun;
  /** In order of time. */
  readonly of: <Name extends RunEventName>(name: Name) => readonly RunEventOf<Name>[];
  readonly writers: readonly Writer[];
  /** CLOCK_MONOTONIC of t=0; null when the load never started. */
  readonly t0: number | null;
  /** Tasks that belong to the run. */
  readonly tasks: readonly GradedTask[];
  /** Of a run that broke off: when its agents were told to stop, if they were. */
  readonly lastEventAt: number;
  /** The run went to its end and was drained. */
  readonly whole: boolean;
}

export function gatherEvidence(run: CheckedRun): Evidence {
  const events = run.events.toSorted((a, b) => a.t - b.t);
  const byName = Map.groupBy(events, (event) => event.ev);
  const of = <Name extends RunEventName>(name: Name): readonly RunEventOf<Name>[] =>
    (byName.get(name) ?? []) as unknown as readonly RunEventOf<Name>[];
  const writers = [...Map.groupBy(events, (event) => writerKey(event)).values()].map((own) => {
    const [first] = own;
    return { src: first?.src ?? "", inc: first?.inc ?? 0, events: own.toSorted((a, b) => a.seq - b.seq) };
  });
  const load = of("run.load")[0];
  const whole = of("run.finished").some((event) => event.status === "done");
  const told = of("run.phase").find((event) => event.phase === "end")?.t ?? Number.POSITIVE_INFINITY;
  return {
    run,
    of,
    writers,
    t0: load?.t0 ?? null,
    tasks: load === undefined ? [] : run.schedule.tasks.filter((task) => task.atMs >= load.loadFromMs),
    lastEventAt: Math.min(events.at(-1)?.t ?? 0, whole ? Number.POSITIVE_INFINITY : told),
    whole,
  };
}

export const writerKey = (event: { readonly src: string; readonly inc: number }): string => `${event.src}/${event.inc}`;

export const refTo = ({ src, inc, seq }: RunEvent): EventRef => ({ src, inc, seq });
