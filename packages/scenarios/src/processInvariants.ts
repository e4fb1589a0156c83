import type { RunEvent } from "@failstorm/core";
import { type Evidence, refTo, type Violation, writerKey } from "./checkedRun.ts";

/**
 * How long after the *after* stamp of its SIGKILL a process may still stamp an event. The signal is pending when kill(2) returns;
 * a victim running on another core goes on until that core takes the interrupt: microseconds on hardware, but on a virtual
 * machine whose other core is itself descheduled as long as its host keeps it so (tens of ms).
 */
const KILL_SLACK_MS = 50;

/** `seq` counts 0, 1, 2, … per incarnation; the tail of a killed one may be cut off, nothing else may be missing or double. */
export function checkSequences({ of, writers }: Evidence): Violation[] {
  const orderly = new Map(
    of("agent.exited")
      .filter((exit) => exit.cause === "stop" && exit.code === 0)
      .map((exit) => [`${exit.agent}/${exit.agentInc}`, exit]),
  );
  return writers.flatMap((writer) => {
    const { src, inc, events } = writer;
    const exit = orderly.get(writerKey(writer));
    if (exit !== undefined && !events.some((event) => event.ev === "agent.stopping")) {
      const message = `${src} (incarnation ${inc}) ended in order, and its last events are not there`;
      return [{ invariant: "events-gapless", message, events: [...events.slice(-1), exit].map(refTo) }];
    }
    const at = events.findIndex((event, i) => event.seq !== i);
    const odd = events[at];
    if (odd !== undefined) {
      const message = `${src} (incarnation ${inc}): event ${at} expected, ${odd.seq} found`;
      return [{ invariant: "events-gapless", message, events: [refTo(odd)] }];
    }
    const back = events.find((event, i) => event.t < (events[i - 1]?.t ?? event.t));
    if (back === undefined) return [];
    return [{ invariant: "events-in-order", message: `${src} (incarnation ${inc}): time went back`, events: [refTo(back)] }];
  });
}

/** Cumulative counters and CPU time never decrease within an incarnation. */
export function checkCounters({ writers }: Evidence): Violation[] {
  const violations: Violation[] = [];
  for (const { src, inc, events } of writers) {
    let before: Record<string, number> = {};
    for (const event of events) {
      if (event.ev !== "process") continue;
      const now: Record<string, number> = { ...event.counters, cpuMs: event.cpuMs };
      for (const [name, value] of Object.entries(now)) {
        if (value >= (before[name] ?? 0)) continue;
        const message = `${src} (incarnation ${inc}): ${name} fell from ${before[name]} to ${value}`;
        violations.push({ invariant: "counters-never-decrease", message, events: [refTo(event)] });
      }
      before = now;
    }
  }
  return violations;
}

/** Each start of an agent has a higher incarnation than the one before, and begins after that one has ended. */
export function checkIncarnations({ of, writers }: Evidence): Violation[] {
  const violations: Violation[] = [];
  const lastOf = new Map(writers.map((writer) => [writerKey(writer), writer.events.at(-1)]));
  for (const [agent, ups] of Map.groupBy(of("agent.up"), (event) => event.src)) {
    for (const [i, up] of ups.entries()) {
      const before = ups[i - 1];
      if (before === undefined) continue;
      if (up.inc <= before.inc) {
        const message = `${agent}: incarnation ${up.inc} started after ${before.inc}`;
        violations.push({ invariant: "incarnations-increase", message, events: [refTo(before), refTo(up)] });
      }
      const last = lastOf.get(writerKey(before));
      if (up.inc !== before.inc && last !== undefined && last.t > up.t) {
        const message = `${agent}: incarnation ${before.inc} still wrote events when ${up.inc} was up`;
        violations.push({ invariant: "one-incarnation-at-a-time", message, events: [refTo(last), refTo(up)] });
      }
    }
  }
  return violations;
}

/** An incarnation logs nothing, and so executes nothing, after its SIGKILL, nor after its exit was seen. */
export function checkDeadSilence({ of, writers }: Evidence): Violation[] {
  const deaths = new Map<string, { readonly at: number; readonly because: RunEvent }>();
  for (const exit of of("agent.exited")) {
    if (exit.agentInc !== null) deaths.set(`${exit.agent}/${exit.agentInc}`, { at: exit.t, because: exit });
  }
  for (const fault of of("fault.injected")) {
    // SIGTERM lets a process end in order and SIGSTOP ends nothing.
    if (fault.kind !== "sigkill" || fault.fake) continue;
    deaths.set(`${fault.agent}/${fault.agentInc}`, { at: fault.after + KILL_SLACK_MS, because: fault });
  }
  return writers.flatMap((writer) => {
    const death = deaths.get(writerKey(writer));
    const late = death === undefined ? undefined : writer.events.find((event) => event.t > death.at);
    if (death === undefined || late === undefined) return [];
    const message = `${writer.src} (incarnation ${writer.inc}) logged ${late.ev} ${(late.t - death.at).toFixed(1)} ms after it was dead`;
    return [{ invariant: "nothing-after-death", message, events: [refTo(death.because), refTo(late)] }];
  });
}

const SERVICE = new Set<RunEvent["ev"]>(["task.started", "step.started", "takeover.served", "step.deduplicated"]);

/** A restarted agent serves nothing before its anti-entropy with a live peer. */
export function checkRejoin({ of, writers }: Evidence): Violation[] {
  const first = new Map<string, number>();
  for (const up of of("agent.up")) first.set(up.src, Math.min(first.get(up.src) ?? up.inc, up.inc));
  return writers.flatMap(({ src, inc, events }) => {
    if (inc <= (first.get(src) ?? inc)) return [];
    const rejoined = events.find((event) => event.ev === "agent.rejoined");
    const early = events.find((event) => SERVICE.has(event.ev) && event.seq < (rejoined?.seq ?? Number.POSITIVE_INFINITY));
    if (early === undefined) return [];
    const message = `${src} (incarnation ${inc}) logged ${early.ev} before it had rejoined`;
    return [{ invariant: "serves-after-rejoin", message, events: [refTo(early)] }];
  });
}
