import type { Clock, PlannedFault } from "@failstorm/core";
import { strikeAll } from "./faults/fault.ts";
import { faultOf } from "./faults/registry.ts";
import type { Recorder } from "./recorder.ts";
import { isLive, type LiveAgent, type Supervisor, type SupervisedAgent } from "./supervisor.ts";

/** A fault that was done to an agent and not undone. */
interface Struck {
  readonly planned: PlannedFault;
  readonly agent: SupervisedAgent;
  readonly incarnation: number;
  readonly child: LiveAgent["life"]["child"];
}

export interface Storm {
  /** Strikes all victims back to back; events are written only after the last. */
  inject(planned: PlannedFault): void;
  /** Continues the stopped victims of this fault; of all faults when none is given. */
  clear(planned?: PlannedFault): void;
  /** The agents this fault has really struck and that may be started again. */
  victimsToRestart(planned: PlannedFault): readonly SupervisedAgent[];
}

export function createStorm(options: {
  readonly supervisor: Supervisor;
  readonly recorder: Recorder;
  readonly clock: Clock;
}): Storm {
  const { supervisor, recorder, clock } = options;
  let struck: Struck[] = [];

  const inject = (planned: PlannedFault): void => {
    const fault = faultOf(planned);
    const victims = planned.victims.map((id) => supervisor.agent(id));
    const strikes = strikeAll(victims.filter(isLive), clock, (victim) => fault.strike(victim.life.child.process));
    for (const { victim, before, after, sent } of strikes) {
      if (!sent) {
        supervisor.warn(`${victim.id} was gone when the fault was to strike it`);
        continue;
      }
      const { child, link } = victim.life;
      const { kind, cycle, fake } = planned;
      if (!fake) {
        child.fate = kind;
        struck.push({ planned, agent: victim, incarnation: link.incarnation, child });
      }
      const { incarnation: agentInc, pid } = link;
      recorder.write({ ev: "fault.injected", kind, cycle, agent: victim.id, agentInc, pid, before, after, fake });
    }
    for (const victim of victims) {
      if (!isLive(victim)) supervisor.warn(`${victim.id} was not up when the fault was to strike it`);
    }
  };

  const clear = (planned?: PlannedFault): void => {
    const due = struck.filter((one) => (planned === undefined || one.planned === planned) && faultOf(one.planned).clear !== null);
    const strikes = strikeAll(due, clock, (one) => faultOf(one.planned).clear?.(one.child.process) ?? false);
    struck = struck.filter((one) => !due.includes(one));
    for (const { victim, before, after, sent } of strikes) {
      if (!sent) continue;
      victim.child.fate = null;
      const { kind, cycle } = victim.planned;
      recorder.write({ ev: "fault.cleared", kind, cycle, agent: victim.agent.id, agentInc: victim.incarnation, before, after });
    }
  };

  const victimsToRestart = (planned: PlannedFault): readonly SupervisedAgent[] => {
    const due = struck.filter((one) => one.planned === planned && faultOf(planned).clear === null);
    struck = struck.filter((one) => !due.includes(one));
    return due.map((one) => one.agent);
  };

  return { inject, clear, victimsToRestart };
}
