import type { RunEvent } from "@failstorm/core";
import type { StormMetrics } from "../schema.ts";
import { postWindow, redoneTasks } from "../storm.ts";
import { seatsOf } from "../takeover.ts";
import { affectedTasks } from "../tasks.ts";
import type { Storm, Timeline } from "../timeline.ts";
import { FAULT_CAUSES, secondsOf } from "../traffic.ts";
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
  const reached = metrics.detection_ms.pairs
    .flatMap(({ survivor, victim, ms }) => (ms === null ? [] : [{ survivor, victim, ms }]))
    .sort((a, b) => a.ms - b.ms);
  // Of very many pairs only those that are shown are looked for.
  const events = reached.slice(0, MAX_SHOWN).flatMap(({ survivor, victim, ms }) => {
    const before = storm.victims.find((candidate) => candidate.agent === victim)?.before ?? 0;
    const own = said.filter((event) => event.src === survivor && event.peer === victim);
    const stood = ms === 0 ? own.findLast((event) => event.ev === "detect.dead" && event.t < before) : undefined;
    return own.find((event) => same(event.t, before + ms)) ?? stood ?? [];
  });
  const says = "The verdict of each survivor on each victim that it did not take back, earliest first.";
  return { key: "detection_ms", says, events, total: reached.length };
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
  const left = storm.victims.map((victim) => seatsOf(timeline, storm, victim));
  const seats = (kind: "shard" | "tool"): RunEvent[] =>
    [...timeline.index.of("takeover.claimed"), ...timeline.index.of("takeover.served")]
      .filter((event) => event.kind === kind && left.some((isSeat) => isSeat(event)))
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

function bytesEvidence({ timeline }: RunView, storm: Storm, metrics: StormMetrics): Evidence[] {
  const causes = new Set<string>(FAULT_CAUSES);
  const survivors = new Set(storm.survivors.map((life) => life.agent));
  const { first, last } = secondsOf(timeline, storm);
  const { seconds } = metrics.bytes_reconnect.window;
  const rows = timeline.index
    .of("msg.second")
    .filter((event) => survivors.has(event.src))
    .sort((a, b) => b.bytesSent + b.bytesReceived - a.bytesSent - a.bytesReceived);
  const caused = rows.filter((event) => causes.has(event.cause) && event.second >= first && event.second <= last);
  const all = rows.filter((event) => event.second >= first - seconds && event.second < first + seconds);
  return [
    evidence("bytes_reconnect", "Seconds of traffic with a cause that only a fault has, largest first.", caused),
    evidence("bytes_reconnect.window", `All traffic of the ${seconds} s before the fault and after it, largest first.`, all),
  ];
}

function costEvidence(view: RunView, storm: Storm, metrics: StormMetrics): Evidence[] {
  const { timeline, tasks, run } = view;
  const { from, to } = postWindow(run, storm);
  const bad = tasks.filter((task) => !task.good && task.intendedAt >= from && task.intendedAt < to);
  const affected = new Set([
    ...affectedTasks(timeline, storm, tasks).map((task) => task.result.task.task),
    ...redoneTasks(timeline, storm),
  ]);
  const executions = Map.groupBy(
    timeline.index.of("step.started").filter((event) => affected.has(event.task)),
    (event) => `${event.task} ${event.step}`,
  );
  const repeats = [...executions.values()].filter((group) => group.length > 1).flat();
  return [
    ...bytesEvidence(view, storm, metrics),
    evidence(
      "success_rate_drop",
      `Outcomes of the ${bad.length} of ${metrics.success_rate.post.n} tasks around and after the fault that were not answered right in time.`,
      bad.flatMap((task) => task.first ?? []),
    ),
    evidence("duplicate_work_ratio", "Steps of affected tasks that were executed more than once.", repeats),
  ];
}

/** Of the victims that came back. */
function returnEvidence({ timeline }: RunView, storm: Storm, metrics: StormMetrics): Evidence[] {
  const { index } = timeline;
  const within = (event: { t: number }): boolean => event.t > storm.at && event.t <= storm.until;
  const restarts = index.of("agent.spawned").filter(within);
  const links = index.of("link.up").filter(within);
  const completed = metrics.rejoin_ms.victims.flatMap(([agent, ms]) => {
    const spawned = restarts.find((event) => event.agent === agent)?.t;
    if (ms === null || spawned === undefined) return [];
    return links.filter((event) => (event.src === agent || event.peer === agent) && same(event.t, spawned + ms));
  });
  const says = `Restarted, rejoined, and the handshake that completed the links${metrics.rejoin_ms.total === 0 ? ": nobody" : ""}.`;
  const back = [...restarts, ...index.of("agent.rejoined").filter(within), ...completed];
  return [
    evidence(
      "rejoin_ms",
      says,
      back.sort((a, b) => a.t - b.t),
    ),
    ...(metrics.recovered_work === null
      ? []
      : [
          evidence(
            "recovered_work",
            "Handshakes in which survivors asked for it.",
            links.filter(({ recovered }) => recovered !== undefined),
          ),
        ]),
  ];
}

/** What is behind each number of a storm. */
export function stormEvidence(view: RunView, storm: Storm, metrics: StormMetrics): Evidence[] {
  const survivors = new Set(storm.survivors.map((life) => life.agent));
  const notices = view.timeline.index
    .of("transport.notice")
    .filter(
      (notice) =>
        notice.t <= storm.until &&
        survivors.has(notice.src) &&
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
    ...returnEvidence(view, storm, metrics),
  ];
  const suffix = view.timeline.storms[0] === storm ? "" : `-${storm.cycle}`;
  return own.map(({ key, says, events, total }) => ({ key: `${key}${suffix}`, says, events, total }));
}

/** What only some runs have, and what the machine was like. */
function furtherEvidence({ run, timeline, metrics }: RunView): Evidence[] {
  const { index } = timeline;
  const [from, to] = [timeline.t0 + run.config.scenario.warmupMs, timeline.storms[0]?.at ?? timeline.endAt];
  const busy = index.of("machine").filter((event) => event.t >= from && event.t < to);
  const exits = index.of("agent.exited").filter((exit) => exit.cause === "unexpected");
  return [
    evidence(
      "load.machine_busy",
      "Samples between the end of warm-up and the fault, busiest first.",
      busy.sort((a, b) => b.busy - a.busy),
    ),
    ...(exits.length === 0 ? [] : [evidence("unexpected_exits", "Ended though nobody killed or stopped them.", exits)]),
    ...(metrics.prediction === undefined ? [] : [evidence("prediction.recall", "Forecasts.", index.of("link.predicted"))]),
    ...(metrics.llm === undefined
      ? []
      : [
          evidence("llm.prompt_tokens", "Requests to the model.", index.of("llm.call")),
          evidence(
            "llm.steps",
            "Steps that a model did not bring to a result.",
            index.of("llm.step").filter(({ outcome }) => outcome !== "ok"),
          ),
        ]),
  ];
}

/** What is behind the numbers of the whole run. */
export function runEvidence(view: RunView): Evidence[] {
  const { timeline, tasks, metrics } = view;
  const lost = new Set(metrics.tasks_lost_ids);
  const wrong = timeline.index.of("detect.dead").filter((event) => {
    if (event.how === "gossip") return false;
    const struck = timeline.lives.find((life) => life.agent === event.peer && life.inc === event.peerInc);
    const stopped = timeline.index
      .of("fault.injected")
      .some((fault) => !fault.fake && fault.agent === event.peer && fault.agentInc === event.peerInc && fault.before <= event.t);
    return !stopped && event.t < (struck?.goneAt ?? Number.POSITIVE_INFINITY);
  });
  const slowest = tasks.filter((task) => task.right).sort((a, b) => (b.latencyMs ?? 0) - (a.latencyMs ?? 0));
  const conflicting = tasks.filter((task) => task.conflicting);
  return [
    evidence("false_positives", "Own verdicts of death on the living.", wrong),
    evidence(
      "tasks_lost",
      "Starts of tasks without any outcome.",
      tasks.filter((task) => lost.has(task.task.task)).flatMap((task) => task.starts),
    ),
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
    ...furtherEvidence(view),
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
