import type { Outcome } from "./network.ts";
import { type ProcessPlan, type Schedule, TIMEOUT_MS } from "./schedule.ts";

const livesAtEnd = ({ crashesAt, restartsAt }: ProcessPlan): boolean => crashesAt === null || restartsAt !== null;

/** Completeness and accuracy after stabilisation: what everybody alive at the end believes of everybody else, where it is wrong. */
export function wrongBeliefs(schedule: Schedule, outcome: Outcome): string[] {
  const wrong: string[] = [];
  for (const { id, restartsAt, crashesAt } of schedule.processes) {
    const incarnation = restartsAt === null ? 1 : 2;
    const truth = `${id}#${incarnation} ${crashesAt !== null && restartsAt === null ? "dead" : "alive"}`;
    for (const [observer, beliefs] of outcome.beliefs) {
      const belief = beliefs.get(id);
      if (observer !== id && belief !== truth) wrong.push(`${observer} believes ${belief}, but ${truth}`);
    }
  }
  return wrong;
}

/** Deaths declared from `from` on of processes that live. */
export function falseDeaths(schedule: Schedule, outcome: Outcome, from: number): string[] {
  const plans = new Map(schedule.processes.map((plan) => [plan.id, plan]));
  return outcome.declared.flatMap(({ at, by, effect }) => {
    const plan = plans.get(effect.peer);
    if (effect.kind !== "dead" || plan === undefined || at < from) return [];
    const lives = plan.crashesAt === null || at < plan.crashesAt || (effect.incarnation === 2 && livesAtEnd(plan));
    return lives ? [`${at.toFixed(1)}: ${by} declares ${effect.peer}#${effect.incarnation} dead (${effect.how})`] : [];
  });
}

/** Those of processes that never stood still for longer than must be borne. */
export function unbearableDeaths(schedule: Schedule, outcome: Outcome): string[] {
  const observers = schedule.processes.filter(({ pauses }) => pauses.some(([from, until]) => until - from > TIMEOUT_MS / 2));
  return falseDeaths(schedule, outcome, 0).filter((line) => !observers.some(({ id }) => line.includes(`declares ${id}#`)));
}

/** From the first blow: when each survivor had declared every victim dead, ms; infinite where some did not. */
export function detectionMs(schedule: Schedule, outcome: Outcome): number[] {
  const struckAt = (plan: ProcessPlan): number | null => plan.crashesAt ?? plan.pauses[0]?.[0] ?? null;
  const victims = schedule.processes.filter((plan) => struckAt(plan) !== null);
  const survivors = schedule.processes.filter((plan) => struckAt(plan) === null);
  return survivors.flatMap(({ id }) =>
    victims.map((victim) => {
      const found = outcome.declared.find(({ by, effect }) => by === id && effect.kind === "dead" && effect.peer === victim.id);
      return found === undefined ? Number.POSITIVE_INFINITY : found.at - (struckAt(victim) ?? 0);
    }),
  );
}

/** Of what was foretold, and of the processes that died: who did die later, and of whom it was foretold. */
export function judgeForetold(schedule: Schedule, { foretold }: Outcome) {
  const crashes = new Map(
    schedule.processes.flatMap(({ id, crashesAt }) => (crashesAt === null ? [] : [[id, crashesAt] as const])),
  );
  const before = foretold.filter(({ at, effect }) => at < (crashes.get(effect.peer) ?? Number.POSITIVE_INFINITY));
  const right = before.filter(({ effect }) => crashes.has(effect.peer));
  return {
    foretold: before.length,
    right: right.length,
    deaths: crashes.size,
    foreseen: new Set(right.map(({ effect }) => effect.peer)).size,
    leadMs: right.map(({ at, effect }) => (crashes.get(effect.peer) ?? 0) - at),
  };
}
