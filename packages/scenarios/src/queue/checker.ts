import type { QueueResult, RunEvent } from "@failstorm/core";
import { QueueAudit } from "@failstorm/qa";
import type { CheckResult, Violation } from "../checker.ts";

/** What is looked at: the results, line by line, and who was to be asked. */
export interface CheckedQueue {
  /** In the order of the file; null = a line that is no result. */
  readonly results: Iterable<Pick<QueueResult, "seq" | "id" | "status"> | null>;
  /** Questions of the source; null = nobody knows (an endless stream). */
  readonly questions: number | null;
  /** The run went to its end: every question is to have its result. */
  readonly whole: boolean;
  readonly events: Iterable<RunEvent>;
}

const SHOWN = 5;

const violation = (invariant: string, what: readonly string[], message: string): Violation[] =>
  what.length === 0
    ? []
    : [
        {
          invariant,
          message: `${message}: ${what.slice(0, SHOWN).join(", ")}${what.length > SHOWN ? ` and ${what.length - SHOWN} more` : ""}`,
          events: [],
        },
      ];

/**
 * The invariants of a queue: every question is answered once in the results, none is lost, none is there that was not asked; what the events
 * say was recorded is what is in the file; and those of `QueueAudit` on who was asked what, when.
 */
export function checkQueue({ results, questions, whole, events }: CheckedQueue): CheckResult {
  const seen = new Set<number>();
  const ids = new Set<string>();
  const twice: string[] = [];
  const strange: string[] = [];
  let damaged = 0;
  for (const result of results) {
    if (result === null) {
      damaged += 1;
      continue;
    }
    if (seen.has(result.seq) || ids.has(result.id)) twice.push(result.id);
    seen.add(result.seq);
    ids.add(result.id);
    if (questions !== null && result.seq >= questions) strange.push(result.id);
  }
  const missing =
    whole && questions !== null ? Array.from({ length: questions }, (_, seq) => seq).filter((seq) => !seen.has(seq)) : [];
  const said = new Set<string>();
  const audit = new QueueAudit();
  // Sub-coordinators say results, too, and keep none.
  const fed = new Set<string>();
  for (const event of events) {
    audit.add(event);
    if (event.ev === "queue.opened") for (const { worker } of event.workers) fed.add(worker);
    if (event.ev === "queue.result" && !fed.has(event.src)) said.add(event.question);
  }
  const unkept = [...said].filter((id) => !ids.has(id));
  return {
    violations: [
      ...violation("one-result-each", twice, "questions with more than one result"),
      ...violation("none-lost", missing.map(String), "questions without a result, by their place in the source"),
      ...violation("only-what-was-asked", strange, "results of questions that were not asked"),
      ...violation("kept-what-was-said", unkept, "results in the events that are not in the file"),
      ...audit.violations(),
    ],
    warnings: violation(
      "whole-lines",
      Array.from({ length: damaged }, () => "a line"),
      "lines of the results that are none",
    ),
  };
}
