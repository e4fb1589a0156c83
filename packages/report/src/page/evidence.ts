import type { RunEvent } from "@failstorm/core";
import type { StormMetrics } from "../schema.ts";
import { redoneTasks } from "../storm.ts";
import { affectedTasks } from "../tasks.ts";
import type { Storm, Timeline } from "../timeline.ts";
import { FAULT_CAUSES } from "../traffic.ts";
import { type Html, html } from "./html.ts";
import type { RunView } from "./runView.ts";

/** The events that decided a number. */
export interface Evidence {
  /** The measure's name in failstorm_metrics.json. */
  readonly key: string;
  readonly says: string;
  readonly events: readonly RunEvent[];
  /** How many there are in all; more than are shown when they are very many. */
  readonly total: number;
}

const MAX_SHOWN = 14;
/** Half a µs: instants are whole µs, and differences of floats are not. */
const SAME_MS = 0.0006;
const same = (a: number, b: number): boolean => Math.abs(a - b) < SAME_MS;

const evidence = (key: string, says: string, events: readonly RunEvent[]): Evidence => ({
  key,
  says,
  events: events.slice(0, MAX_SHOWN),
  total: events.length,
});

const struckEvents = (timeline: Timeline, storm: Storm): RunEvent[] =>
  timeline.index.of("fault.injected").filter((event) => event.cycle === storm.cycle);

function detectionEvidence(view: RunView, storm: Storm, metrics: StormMetrics): Evidence {
  const { index } = view.timeline;
  const said = [...index.of("detect.dead"), ...index.of("detect.alive"), ...index.of("link.up")];
  const found = metrics.detection_ms.pairs
    .toSorted((a, b) => (a.ms ?? Number.POSITIVE_INFINITY) - (b.ms ?? Number.POSITIVE_INFINITY))
    .flatMap((pair) => {
      const victim = storm.victims.find((candidate) => candidate.agent === pair.victim);
      const event = said.find(
        (event) =>
          event.src === pair.survivor &&
          event.peer === pair.victim &&
          pair.ms !== null &&
          same(event.t, (victim?.before ?? 0) + pair.ms),
      );
      return event === undefined ? [] : [event];
    });
  return evidence("detection_ms", "The first verdict of each survivor on each victim, earliest first.", found);
}

function reconnectEvidence({ timeline }: RunView, storm: Storm, metrics: StormMetrics): Evidence[] {
  const changes = [...timeline.index.of("link.up"), ...timeline.index.of("link.down")];
  const stamps = storm.victims.map((victim) => victim.before);
  const { recovery_ms: recovery, reconnected_ms: reconnected, reconnected_all_ms: all } = metrics;
  const handshakes =
    recovery === null
      ? []
      : timeline.index.of("link.up").filter((event) => stamps.some((before) => same(event.startedAt, before + recovery)));
  const at = (ms: number | null): RunEvent[] => (ms === null ? [] : changes.filter((event) => same(event.t, storm.at + ms)));
  return [
    evidence("recovery_ms", "The handshake: its startedAt is the instant of the measure.", handshakes),
    evidence(
      "reconnected_ms",
      "The change of a link after which the links were those of the repaired topology.",
      at(reconnected),
    ),
    evidence("reconnected_all_ms", "The same with the restarted victims.", at(all)),
  ];
}

function takeoverEvidence(view: RunView, storm: Storm, metrics: StormMetrics): Evidence[] {
  const { timeline, tasks } = view;
  const struck = new Set(storm.victims.map((victim) => victim.agent));
  const within = (event: { t: number }): boolean => event.t >= storm.at && event.t <= storm.until;
  const seats = (kind: "shard" | "tool"): RunEvent[] =>
    [...timeline.index.of("takeover.claimed"), ...timeline.index.of("takeover.served")]
      .filter((event) => event.kind === kind && struck.has(event.from) && within(event))
      .sort((a, b) => a.t - b.t);
  const affected = affectedTasks(timeline, storm, tasks);
  const orphans = affected.filter((task) => task.orphaned);
  const answers = orphans
    .flatMap((task) => task.result.outcomes.filter((event) => event.t >= task.before))
    .sort((a, b) => a.t - b.t);
  const gap = metrics.service_gap_ms;
  const first =
    gap === null ? [] : affected.flatMap((task) => task.result.outcomes.filter((event) => same(event.t, task.before + gap)));
  return [
    evidence("service_gap_ms", "The first right answer, in its deadline, to a task whose owner or helper died.", first),
    evidence("takeover_ms.shard", "Claims and first services of the victims' shards.", seats("shard")),
    evidence("takeover_ms.tool", "Claims and first services of the victims' tools.", seats("tool")),
    evidence("takeover_ms.task", "Outcomes of the orphaned tasks after the kill.", answers),
  ];
}

function costEvidence(view: RunView, storm: Storm, metrics: StormMetrics): Evidence[] {
  const { timeline, tasks, run } = view;
  const causes = new Set<string>(FAULT_CAUSES);
  const survivors = new Set(storm.survivors.map((life) => life.agent));
  const from = Math.floor((storm.at - timeline.t0) / 1000);
  const to = Math.floor((storm.until - timeline.t0) / 1000);
  const rows = timeline.index
    .of("msg.second")
    .filter((event) => causes.has(event.cause) && survivors.has(event.src) && event.second >= from && event.second <= to)
    .sort((a, b) => b.bytesSent + b.bytesReceived - a.bytesSent - a.bytesReceived);
  const bad = tasks.filter(
    (task) => !task.good && task.intendedAt >= storm.at - run.config.tasks.deadlineMs && task.intendedAt < storm.until,
  );
  const affected = new Set([
    ...affectedTasks(timeline, storm, tasks).map((task) => task.result.task.task),
    ...redoneTasks(timeline, storm),
  ]);
  const executions = Map.groupBy(
    timeline.index.of("step.started").filter((event) => affected.has(event.task)),
    (event) => `${event.task} ${event.step}`,
  );
  const repeats = [...executions.values()].filter((group) => group.length > 1).flat();
  const restarts = timeline.index.of("agent.spawned").filter((event) => event.t > storm.at && event.t < storm.until);
  const back = timeline.index.of("agent.rejoined").filter((event) => event.t > storm.at && event.t < storm.until);
  return [
    evidence("bytes_reconnect", "Seconds of traffic with a cause that only a fault has, largest first.", rows),
    evidence(
      "success_rate_drop",
      `Outcomes of the ${bad.length} tasks that were not answered right in time around and after the fault.`,
      bad.flatMap((task) => task.first ?? []),
    ),
    evidence("duplicate_work_ratio", "Steps of affected tasks that were executed more than once.", repeats),
    evidence(
      "rejoin_ms",
      `Restarted and rejoined${metrics.rejoin_ms.total === 0 ? ": nobody" : ""}.`,
      [...restarts, ...back].sort((a, b) => a.t - b.t),
    ),
  ];
}

/** What is behind each number of a storm. */
export function stormEvidence(view: RunView, storm: Storm, metrics: StormMetrics): Evidence[] {
  const notices = view.timeline.index
    .of("transport.notice")
    .filter(
      (notice) =>
        notice.t <= storm.until &&
        storm.victims.some(
          (victim) => victim.agent === notice.peer && victim.inc === notice.peerInc && notice.t >= victim.before,
        ),
    );
  const own = [
    evidence("victims", "The stamps around each kill(2); every time counts from “before”.", struckEvents(view.timeline, storm)),
    detectionEvidence(view, storm, metrics),
    evidence("transport_notice_ms", "When each survivor's kernel closed its connection to a victim.", notices),
    ...reconnectEvidence(view, storm, metrics),
    ...takeoverEvidence(view, storm, metrics),
    ...costEvidence(view, storm, metrics),
  ];
  const suffix = view.timeline.storms[0] === storm ? "" : `-${storm.cycle}`;
  return own.map(({ key, says, events, total }) => ({ key: `${key}${suffix}`, says, events, total }));
}

/** What is behind the numbers of the whole run. */
export function runEvidence({ timeline, tasks, metrics }: RunView): Evidence[] {
  const wrong = timeline.index.of("detect.dead").filter((event) => {
    const struck = timeline.lives.find((life) => life.agent === event.peer && life.inc === event.peerInc);
    const stopped = timeline.index
      .of("fault.injected")
      .some((fault) => !fault.fake && fault.agent === event.peer && fault.agentInc === event.peerInc && fault.before <= event.t);
    return !stopped && event.t < (struck?.goneAt ?? Number.POSITIVE_INFINITY);
  });
  const slowest = tasks.filter((task) => task.right).sort((a, b) => (b.latencyMs ?? 0) - (a.latencyMs ?? 0));
  const conflicting = tasks.filter((task) => task.conflicting);
  return [
    evidence("false_positives", "Verdicts of death on the living.", wrong),
    evidence(
      "work",
      "The slowest right answers.",
      slowest.slice(0, 5).flatMap((task) => task.first ?? []),
    ),
    evidence(
      "conflicting_answers",
      "Outcomes of tasks that got different answers.",
      conflicting.flatMap((task) => task.outcomes),
    ),
    evidence(
      "goodput",
      `Tasks of the whole run without a right answer in time: ${metrics.goodput.whole.n - metrics.goodput.whole.good}.`,
      tasks.filter((task) => !task.good).flatMap((task) => task.first ?? []),
    ),
  ];
}

const row = (event: RunEvent): Html => {
  const { t, src, inc, seq, ev, ...rest } = event;
  return html`<tr><td class="num">${t.toFixed(3)}</td><td>${src}/${inc}</td><td class="num">#${seq}</td><td><b>${ev}</b> <code>${JSON.stringify(rest)}</code></td></tr>`;
};

/** The events behind the numbers, folded away; `#ev-<measure>` leads to one, and opens it. */
export function evidenceSection(items: readonly Evidence[]): Html {
  return html`<p>Every number is computed from the recorded events alone. <code>t</code> is CLOCK_MONOTONIC in ms; the writer,
    its incarnation and <code>#seq</code> name an event: <code>grep '"src":"agent-0","inc":1,"seq":42,' events.ndjson</code>.
    The whole record: <a href="events.ndjson">events.ndjson</a>.</p>
    ${items.map(
      (
        item,
      ) => html`<details class="evidence"><summary><code>${item.key}</code> <span>${item.says}</span> <span class="count">${item.total}</span></summary>
      <div id="ev-${item.key}" class="scroll">${item.events.length === 0 ? html`<p class="none">No such event.</p>` : html`<table class="events"><thead><tr><th>t, ms</th><th>writer</th><th>seq</th><th>event</th></tr></thead><tbody>${item.events.map(row)}</tbody></table>`}${item.total > item.events.length && html`<p class="none">${item.total - item.events.length} more in events.ndjson.</p>`}</div></details>`,
    )}`;
}
