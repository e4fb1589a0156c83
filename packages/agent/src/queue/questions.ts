import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import type { Clock, RunEvent } from "@failstorm/core";
import { openQuestionFile, type QuestionSource, questionStream } from "@failstorm/qa";
import { type FollowedFile, followFile } from "./followFile.ts";

export interface OpenedQuestions {
  readonly source: QuestionSource;
  /** Of a file that is still being written. */
  readonly followed: FollowedFile | null;
  /** Lines that are no questions, beyond those that were told one by one. */
  readonly badUntold: number;
}

/** The questions of a run's question file. Throws InputError. */
export async function openQuestions(options: {
  readonly path: string;
  readonly kind: QuestionSource["kind"];
  readonly onBad: (line: number, reason: string) => void;
  readonly onRead: (bytes: number) => void;
}): Promise<OpenedQuestions> {
  const { path, kind, onBad, onRead } = options;
  if (kind === "stdin") {
    const followed = followFile(path, onRead);
    return {
      source: questionStream(followed.stream, { onBad: ({ line, reason }) => onBad(line, reason) }),
      followed,
      badUntold: 0,
    };
  }
  const { source, bad, badCount } = await openQuestionFile(path, { skipBad: true });
  for (const { line, reason } of bad) onBad(line, reason);
  return { source: { ...source, kind }, followed: null, badUntold: badCount - bad.length };
}

/** Gives each question the time it is due, so many per second from the one at place `from` on, which is due at `t0`, and lets none go before. */
export function paced(source: QuestionSource, options: { rate: number; t0: number; from: number; clock: Clock }): QuestionSource {
  const { rate, t0, from, clock } = options;
  return {
    ...source,
    async *questions() {
      for await (const question of source.questions()) {
        const intendedAt = t0 + (Math.max(0, question.seq - from) * 1000) / rate;
        const waitMs = question.seq < from ? 0 : intendedAt - clock.now();
        if (waitMs > 0) await clock.sleep(waitMs);
        yield { ...question, intendedAt };
      }
    },
  };
}

/**
 * What earlier incarnations have written into `eventFile` since `t0`. `sent`: when questions were first sent, by id; those with a result are left
 * out, so that it holds no more than were under way. `recorded`: results there were already when the first of them began; null: none has.
 */
export async function firstDispatches(
  eventFile: string,
  t0: number,
): Promise<{ readonly sent: ReadonlyMap<string, number>; readonly recorded: number | null }> {
  const first = new Map<string, number>();
  let recorded: number | null = null;
  for await (const line of createInterface({ input: createReadStream(eventFile) })) {
    if (!line.includes('"ev":"queue.')) continue;
    const event = parse(line);
    if (event === null || event.t < t0) continue;
    if (event.ev === "queue.opened") recorded ??= event.recorded;
    if (event.ev === "queue.result") first.delete(event.question);
    if (event.ev === "queue.dispatched") for (const id of event.questions) if (!first.has(id)) first.set(id, event.t);
  }
  return { sent: first, recorded };
}

function parse(line: string): RunEvent | null {
  try {
    return JSON.parse(line) as RunEvent;
  } catch {
    // The line its writer was killed in.
    return null;
  }
}
