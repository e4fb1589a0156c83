import type { CrashEffect } from "./crashWatch.ts";
import { balanceOf } from "./numbers.ts";
import type { QueueMetrics } from "./queueSchema.ts";
import type { CoordinatorTally, QueueTally, WorkerTally } from "./tally.ts";

type WorkerRow = QueueMetrics["workers"][number];

const sum = <T>(items: readonly T[], pick: (item: T) => number): number => items.reduce((total, item) => total + pick(item), 0);
const ratio = (part: number, whole: number): number | null => (whole === 0 ? null : part / whole);

/** The counts of several maps together, the most frequent first. */
export function sumCodes(maps: readonly ReadonlyMap<string, number>[]): Record<string, number> {
  const total = new Map<string, number>();
  for (const map of maps) for (const [code, n] of map) total.set(code, (total.get(code) ?? 0) + n);
  return Object.fromEntries([...total].sort(([, a], [, b]) => b - a));
}

/** One row for each worker of each coordinator; shares are of what its coordinator's workers answered together. */
export function workerRows(coordinators: readonly CoordinatorTally[]): WorkerRow[] {
  return coordinators.flatMap(({ src, workers }) => {
    const all = [...workers.values()];
    const answered = sum(all, (own) => own.answered + own.noAnswer);
    return all.map((own) => workerRow(own, src, answered));
  });
}

function workerRow(own: WorkerTally, fedBy: string, ofAll: number): WorkerRow {
  const finished = own.answered + own.noAnswer;
  return {
    worker: own.worker,
    protocol: own.protocol,
    fed_by: fedBy,
    external: own.external,
    answered: finished,
    share: ratio(finished, ofAll),
    messages: own.messages,
    questions_sent: own.questions,
    failures: sum([...own.failures.values()], (n) => n),
    failures_by_code: sumCodes([own.failures]),
    duplicates: own.duplicates,
    quarantines: own.quarantines,
    quarantine_ms: Math.round(own.quarantineMs * 1000) / 1000,
    service_mean_ms: ratio(own.serviceMs, finished),
    bytes_per_question: ratio(own.bytesSent + own.bytesReceived, finished),
  };
}

/** Workers that feed others are left out: what they pass on is their workers' work. */
const doers = (rows: readonly WorkerRow[]): WorkerRow[] => {
  const feeders = new Set(rows.map((row) => row.fed_by));
  return rows.filter((row) => !feeders.has(row.worker));
};

export function sharesOf(rows: readonly WorkerRow[], coordinators: readonly CoordinatorTally[]): QueueMetrics["balance"] {
  // A coordinator that never opened has no workers, but feeds nobody either.
  const own = doers(rows.filter((row) => coordinators.some(({ src }) => src === row.fed_by)));
  return {
    by_worker: balanceOf(own.map((row) => row.answered)),
    by_protocol: balanceOf(protocolRows(rows).map((row) => row.answered)),
  };
}

export function protocolRows(rows: readonly WorkerRow[]): QueueMetrics["protocols"] {
  const own = doers(rows);
  const total = sum(own, (row) => row.answered);
  return [...Map.groupBy(own, (row) => row.protocol)].map(([protocol, group]) => {
    const answered = sum(group, (row) => row.answered);
    return {
      protocol,
      workers: group.length,
      answered,
      share: ratio(answered, total),
      failures: sum(group, (row) => row.failures),
      service_mean_ms: ratio(
        sum(group, (row) => (row.service_mean_ms ?? 0) * row.answered),
        answered,
      ),
      bytes_per_question: ratio(
        sum(group, (row) => (row.bytes_per_question ?? 0) * row.answered),
        answered,
      ),
    };
  });
}

/** Bytes of the coordinators' messages; where the counts by second are missing, those of the answered and failed questions. */
export function bytesOf(tally: QueueTally, coordinators: readonly CoordinatorTally[], recorded: number): QueueMetrics["bytes"] {
  let [sent, received] = [0, 0];
  const other: Record<string, number> = {};
  for (const { src, workers } of coordinators) {
    const kinds = tally.messages.get(src);
    const questions = kinds?.get("question");
    sent += questions?.bytesSent ?? sum([...workers.values()], (own) => own.bytesSent);
    received += questions?.bytesReceived ?? sum([...workers.values()], (own) => own.bytesReceived);
    for (const [kind, { bytesSent, bytesReceived }] of kinds ?? [])
      if (kind !== "question") other[kind] = (other[kind] ?? 0) + bytesSent + bytesReceived;
  }
  return { sent, received, per_question: ratio(sent + received, recorded), other };
}

/** What each kill did, as told by the coordinator concerned: the victim itself, or the one that fed it. */
export function crashRows(
  effects: readonly CrashEffect[],
  coordinators: readonly CoordinatorTally[],
  startAt: number,
): QueueMetrics["crashes"] {
  const feeds = new Map(coordinators.map((own) => [own.src, own.workers]));
  return effects
    .filter((effect) => effect.role === "coordinator" || feeds.get(effect.coordinator)?.has(effect.agent) === true)
    .map((effect) => ({
      agent: effect.agent,
      role: effect.role,
      coordinator: effect.coordinator,
      kind: effect.kind,
      cycle: effect.cycle,
      at_ms: Number.isFinite(startAt) ? Math.round((effect.at - startAt) * 1000) / 1000 : 0,
      in_flight: effect.inFlight,
      noticed_ms: effect.noticedMs,
      noticed_by: effect.noticedBy,
      quarantined_ms: effect.quarantinedMs,
      returned_ms: effect.returnedMs,
      redispatched: effect.redispatched,
      redispatch_first_ms: effect.redispatchFirstMs,
      redispatch_last_ms: effect.redispatchLastMs,
      finished: effect.finished,
      finished_last_ms: effect.finishedLastMs,
      duplicates: effect.duplicates,
      gap_ms: effect.gapMs,
    }));
}
