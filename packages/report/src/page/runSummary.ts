import { disturbances } from "../comparison/digest.ts";
import { findMeasure, formatWithUnit, MEASURES, type Measure, valueOf } from "../measures.ts";
import { type ResultRow, resultRows } from "../rows.ts";
import type { FailstormMetrics } from "../schema.ts";
import { defined } from "./document.ts";
import { type Html, html } from "./html.ts";
import type { RunView } from "./runView.ts";

const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
const percent = (share: number): string => `${(share * 100).toLocaleString("en-US", { maximumFractionDigits: 1 })} %`;
const list = (words: readonly string[]): string =>
  words.length > 6 ? `${words.slice(0, 5).join(", ")} and ${words.length - 5} more` : words.join(", ");

/** The run in a few sentences; every clause is there only when its number is. */
export function verdict(metrics: FailstormMetrics): Html {
  if (metrics.storms.length === 0) {
    const { rate, good, n } = metrics.goodput.measured;
    return html`<p class="lead">No fault in this run${metrics.reasons["storms"] === undefined ? "" : ` (${metrics.reasons["storms"]})`}: <strong>${rate === null ? "–" : percent(rate)}</strong> of the questions were answered right in time (${good} of ${n}).</p>`;
  }
  const victims = metrics.victims ?? [];
  const {
    detection_ms: detection,
    service_gap_ms: gap,
    reconnected_ms: reconnected,
    success_rate_drop: drop,
    bytes_reconnect: bytes,
    steady_state_ms: steady,
  } = metrics;
  const what = metrics.fake ? "was marked, and nothing sent, to" : `was sent to`;
  const again =
    metrics.storms.length > 1 ? ` This was the first of ${metrics.storms.length} storms; the numbers are its own.` : "";
  return html`<p class="lead">At ${seconds(metrics.at_ms ?? 0)} ${(metrics.kind ?? "").toUpperCase()} ${what}
    <strong>${victims.length} of ${metrics.agent_count} agents</strong> (${list(victims.map((victim) => victim.agent))}), with ${metrics.orphaned_tasks} of their questions in flight.
    ${detection !== null && detection.first !== null && html`The survivors noticed after ${seconds(detection.first)}${detection.last === null ? ", some never" : ` to ${seconds(detection.last)}`}. `}
    ${gap !== null && html`The first question that had lost its owner or a helper was answered right after <strong>${seconds(gap)}</strong>. `}
    ${gap === null && metrics.censored?.includes("service_gap_ms") === true && html`No question that had lost its owner or a helper was answered right in time. `}
    ${reconnected !== null && html`The links were repaired after ${seconds(reconnected)}. `}
    ${steady !== null && html`Goodput was back within its threshold ${steady === 0 ? "from the first window on" : `after ${seconds(steady)}`}. `}
    ${drop !== null && html`The fault cost ${percent(Math.max(0, drop))} of the right answers${bytes === null ? "" : ` and ${formatWithUnit(bytes.total / 1000, "kB")} of traffic`}.`}${again}</p>`;
}

/** What speaks against the numbers, before them. */
export function warnings({ metrics, violations }: RunView): Html {
  const strong = [
    ...violations.map(({ invariant, message }) => `Invariant broken: ${invariant}: ${message}`),
    ...metrics.invalid_because.map((why) => `Not valid, do not compare: ${why}.`),
    ...metrics.unexpected_exits.map(
      (exit) => `${exit.agent} ended though nobody killed it (${exit.signal ?? `exit code ${exit.code}`}).`,
    ),
  ];
  const { load } = metrics;
  const saturated = metrics.saturated
    ? [
        `Saturated, do not compare: before the fault the machine was ${percent(load.machine_busy ?? 0)} busy (at most 60 % is allowed), loop lag p99 of the worst agent was ${(load.loop_lag_p99_ms ?? 0).toFixed(1)} ms (at most 20). The times below are partly the machine's.`,
      ]
    : [];
  const company = disturbances(metrics);
  const mild = [...saturated, ...(company.length === 0 ? [] : [`Disturbed: ${company.join(", ")}, no part of this run.`])];
  const banner = (kind: string, lines: readonly string[]): Html | null =>
    lines.length === 0
      ? null
      : html`<div class="banner ${kind}" role="alert"><ul>${lines.slice(0, 12).map((line) => html`<li>${line}</li>`)}</ul></div>`;
  return html`${banner("", strong)}${banner("mild", mild)}`;
}

const TILES = [
  "service_gap_ms",
  "detection_ms.p50",
  "recovery_ms",
  "reconnected_ms",
  "steady_state_ms",
  "success_rate_drop",
  "bytes_reconnect.total",
  "duplicate_work_ratio",
];

const MAX_NOTE = 110;
/** The result table has the whole of it. */
const shortened = (text: string): string =>
  text.length <= MAX_NOTE ? text : `${text.slice(0, MAX_NOTE).replace(/\s+\S*$/, "")} …`;

function tileNote(measure: Measure, metrics: FailstormMetrics): string {
  const reason = metrics.reasons[measure.reasonKey] ?? "";
  if (measure.pick(metrics) === null) return reason === "" ? "not reached" : shortened(reason);
  const {
    detection_ms: detection,
    success_rate: rates,
    bytes_reconnect: bytes,
    duplicate_work: work,
    takeover_ms: takeover,
    reconnected_all_ms: all,
  } = metrics;
  switch (measure.key) {
    case "service_gap_ms":
      return `${metrics.affected_tasks} questions were hit, ${takeover?.task.reached ?? 0} of ${takeover?.task.total ?? 0} orphaned ones were saved`;
    case "detection_ms.p50":
      return `first ${seconds(detection?.first ?? 0)}, ${detection?.last === null || detection === null ? "some never" : `last ${seconds(detection.last)}`}; ${detection?.reached} of ${detection?.total} pairs`;
    case "reconnected_ms":
      return all === null ? "" : `with the restarted victims ${seconds(all)}`;
    case "success_rate_drop":
      return rates === null
        ? ""
        : `${percent(rates.pre.rate ?? 0)} of ${rates.pre.n} before, ${percent(rates.post.rate ?? 0)} of ${rates.post.n} after`;
    case "bytes_reconnect.total":
      return Object.entries(bytes?.by_cause ?? {})
        .filter(([, value]) => value > 0)
        .sort((a, b) => b[1] - a[1])
        .slice(0, 2)
        .map(([cause, value]) => `${cause.replace("_", " ")} ${formatWithUnit(value / 1000, "kB")}`)
        .join(", ");
    case "duplicate_work_ratio":
      return `${work?.duplicates} of ${work?.executions} executions; ${work?.redo_lost} more were lost and had to be redone`;
    case "steady_state_ms":
      return metrics.steady_state_ms === 0
        ? "every window from the fault on passed"
        : "start of the first of 3 windows that passed";
    default:
      return "";
  }
}

function tile(measure: Measure, metrics: FailstormMetrics, isFirst: boolean): Html {
  const [number = "–", unit] = formatWithUnit(valueOf(measure, metrics), measure.unit).split(" ");
  return html`<div class="tile${isFirst && " first"}"><span class="name">${defined(measure.label, measure.definition)}</span>
    <span class="value">${number}${unit !== undefined && html` <small>${unit}</small>`}</span>
    <span class="more">${tileNote(measure, metrics)}</span><a href="#ev-${evidenceKey(measure.key)}">events</a></div>`;
}

/** The headline numbers of a run with a storm. */
export function tiles({ metrics }: RunView): Html | null {
  if (metrics.storms.length === 0) return null;
  return html`<div class="tiles">${TILES.map((key, i) => {
    const measure = findMeasure(key);
    return measure === undefined ? null : tile(measure, metrics, i === 0);
  })}</div>`;
}

/** Of rows that are no measure to compare by. */
const FURTHER_DEFINITIONS: Readonly<Record<string, string>> = {
  detection_ms:
    "Over all pairs of a survivor and a victim: from the stamp just before the victim's kill(2) until that survivor declared it dead (not merely suspect) and did not take it back, or learned of its newer incarnation. No last when a survivor never noticed.",
  transport_notice_ms:
    "Over the pairs whose survivor monitors the victim, by a stream that it holds open: until the survivor's kernel closed it. Recorded always, acted upon only with --transport-signals.",
  rejoin_ms:
    "Over the restarted victims: from the spawn of the new process to the last handshake that completed all of its links.",
  "takeover_ms.task":
    "Over the orphaned tasks: from the kill until a new owner answered them right. Tasks that never were count as infinitely late.",
  "work.latency_ms.p50":
    "Time of right answers from the intended start of their task (open loop), over the whole run: what 50, 95 and 99 of 100 came within, and the longest.",
  victims: "The agents that were hit, with the stamps around each kill(2).",
  reconnected_all_ms: "As reconnected, but with the restarted victims: until the links equal those of the whole topology.",
  "takeover_ms.shard": "Per orphaned shard: from the kill to the first look-up that its new owner answered.",
  "takeover_ms.tool": "Per orphaned tool: from the kill to the first step that its new holder did.",
  conflicting_answers: "Tasks with two outcomes whose answers differ.",
  recovered_work:
    "Tasks that were in flight at a victim, and that survivors asked its next incarnation for while they reconnected.",
  "bytes_reconnect.window":
    "All bytes on the survivors' client sockets, whatever their cause, in as many seconds before the fault as after it.",
  "prediction.recall":
    "Precision: forecasts after which the peer failed within the horizon, of all. Recall: failures that somebody foretold, of all.",
  "load.machine_busy": "Share of all cores in use, mean between the end of warm-up and the fault.",
  unexpected_exits: "Processes that ended though nobody killed or stopped them.",
  "llm.prompt_tokens": "Tokens that the endpoint says it was sent and has given.",
  "llm.steps": "Steps that a model was to do.",
};

/** Where the events behind a measure are, when it is not its own name. */
const EVIDENCE_KEYS: Readonly<Record<string, string>> = {
  orphaned_tasks: "takeover_ms.task",
  "work.latency_ms.p50": "work",
};

const evidenceKey = (key: string): string => EVIDENCE_KEYS[key] ?? findMeasure(key)?.reasonKey ?? key;

/** Every result in one table, each with its definition and the way to its events. */
export function resultTable({ metrics }: RunView): Html {
  const line = ({ measure, value, unit, note, key }: ResultRow): Html => {
    const known = key === undefined ? undefined : (findMeasure(key) ?? MEASURES.find((candidate) => candidate.reasonKey === key));
    const definition = FURTHER_DEFINITIONS[key ?? ""] ?? known?.definition;
    return html`<tr><td>${definition === undefined ? measure : defined(measure, definition)}</td><td class="num">${value}</td><td>${unit}</td><td class="note">${note}</td><td>${key !== undefined && html`<a class="ev" href="#ev-${evidenceKey(key)}">events</a>`}</td></tr>`;
  };
  return html`<div class="scroll"><table><thead><tr><th>measure</th><th class="num">value</th><th>unit</th><th>note</th><th></th></tr></thead><tbody>${resultRows(metrics).map(line)}</tbody></table></div>`;
}

export const glossary = (measures: readonly Measure[]): Html =>
  html`<dl class="glossary">${measures.map((measure) => html`<dt id="def-${measure.key}">${measure.label}</dt><dd>${measure.definition} <code>${measure.key}</code></dd>`)}</dl>`;
