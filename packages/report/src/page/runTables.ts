import { hostedById } from "@failstorm/core";
import { formatValue } from "../measures.ts";
import type { FailstormMetrics } from "../schema.ts";
import { defined } from "./document.ts";
import { type Html, html } from "./html.ts";
import type { RunView } from "./runView.ts";

type Cell = string | number | null;

/** What the heads of the tables mean, where the word alone does not say it. */
const HEADS: Readonly<Record<string, string>> = {
  phase:
    "By intended start. exposed: may be in flight when the fault comes; outage: up to 30 s after it; tail: the deadline lies past the end.",
  tasks: "Tasks that the schedule has in this time, those of dead agents included.",
  "right in time": "Answered right before their deadline.",
  "goodput, %": "Right in time, of all tasks.",
  "p50, ms": "Median latency of right answers, from the intended start.",
  "p95, ms": "95 of 100 right answers came within it; none below 20 answers.",
  "p99, ms": "99 of 100 right answers came within it; none below 100 answers.",
  needed: "Good tasks at which the window passes: at most 5 % of runs without a fault fail one of their first three windows.",
  failed: "Ended in an error of the caller, the connection or the peer.",
  "kB sent": "TCP payload of the requests with headers, as their senders counted it.",
  "kB received": "TCP payload of the answers with headers, as the senders of the requests counted it.",
  "round trips": "Requests on the wire; a message may need several.",
  "mean, ms": "From the request to the end of its answer, failed ones included.",
  "longest, ms": "From the request to the end of its answer, failed ones included.",
  lives: "Incarnations: how often its process was started.",
  "home tasks": "Tasks that are its own as long as it lives.",
  started: "Tasks it began, those taken over included.",
  steps: "Tool steps it executed for others and for itself.",
  messages: "Sent and ended, failed ones included; of an agent, to the last sample of each of its processes.",
  "MB sent": "TCP payload of its own requests, headers included.",
  "MB received": "TCP payload of the answers to them, headers included.",
  "CPU, s": "User and system time of all its processes, to the last sample of each.",
  "RSS, MB": "The largest of its samples of resident memory.",
  "loop lag, ms": "The largest of its samples of how late its timers went off, each the p99 of a sample interval.",
};

/** Where a table's numbers come from. */
const source = (...names: readonly string[]): Html =>
  html`<p class="caption">From the events ${names.map((name, i) => html`${i > 0 && ", "}<code>${name}</code>`)}: <code>grep '"ev":"${names[0] ?? ""}"' events.ndjson</code></p>`;

/** A table with numbers to the right. `numeric`: which columns are. */
function table(
  head: readonly string[],
  rows: readonly { cells: readonly Cell[]; mark?: string }[],
  numeric: (column: number) => boolean,
): Html {
  const cell = (value: Cell, i: number): Html =>
    html`<td${numeric(i) && html` class="num"`}>${typeof value === "number" || value === null ? formatValue(value) : value}</td>`;
  return html`<div class="scroll"><table><thead><tr>${head.map((word, i) => html`<th${numeric(i) && html` class="num"`}>${HEADS[word] === undefined ? word : defined(word, HEADS[word])}</th>`)}</tr></thead>
    <tbody>${rows.map(({ cells, mark }) => html`<tr${mark !== undefined && html` class="${mark}"`}>${cells.map(cell)}</tr>`)}</tbody></table></div>`;
}

const afterFirst = (column: number): boolean => column > 0;
const percent = (share: number | null): number | null => (share === null ? null : share * 100);

function phases(metrics: FailstormMetrics): Html {
  const head = ["phase", "from, s", "to, s", "tasks", "right in time", "goodput, %", "p50, ms", "p95, ms", "p99, ms"];
  return table(
    head,
    metrics.phases.map(({ phase, from_ms, to_ms, tasks }) => ({
      cells: [
        phase,
        from_ms / 1000,
        to_ms / 1000,
        tasks.scheduled,
        tasks.good,
        percent(tasks.goodput),
        tasks.latency_ms.p50,
        tasks.latency_ms.p95,
        tasks.latency_ms.p99,
      ],
    })),
    afterFirst,
  );
}

function messages(metrics: FailstormMetrics): Html {
  const head = ["kind", "messages", "failed", "kB sent", "kB received", "round trips", "mean, ms", "longest, ms"];
  return table(
    head,
    metrics.messages.map((row) => ({
      cells: [
        row.kind,
        row.n,
        row.failed,
        row.bytes_sent / 1000,
        row.bytes_received / 1000,
        row.round_trips,
        row.mean_ms,
        row.max_ms,
      ],
    })),
    afterFirst,
  );
}

function agents(metrics: FailstormMetrics): Html {
  const head = [
    "agent",
    "tool",
    "lives",
    "home tasks",
    "started",
    "steps",
    "messages",
    "MB sent",
    "MB received",
    "CPU, s",
    "RSS, MB",
    "loop lag, ms",
  ];
  return table(
    head,
    metrics.agents.map((row) => ({
      cells: [
        row.agent,
        row.home_tool ?? "–",
        row.incarnations,
        row.tasks_home,
        row.tasks_started,
        row.steps,
        row.messages,
        row.bytes_sent / 1e6,
        row.bytes_received / 1e6,
        row.cpu_ms / 1000,
        row.rss_bytes_max / 1e6,
        row.loop_lag_p99_ms_max,
      ],
      ...(row.victim ? { mark: "victim" } : {}),
    })),
    (column) => column > 1,
  );
}

function windows(metrics: FailstormMetrics): Html | null {
  if (metrics.steady_state_windows === null) return null;
  const title = html`<h3 id="ev-steady_state_ms">Windows of the steady state</h3>`;
  if (metrics.steady_state_windows.length === 0)
    return html`${title}<p class="none">None: ${metrics.reasons["steady_state_ms"] ?? "there is no full one"}.</p>`;
  return html`${title}
    ${table(
      ["from, s after the fault", "to, s", "tasks", "right in time", "needed", "passes"],
      metrics.steady_state_windows.map((row) => ({
        cells: [row.from_ms / 1000, row.to_ms / 1000, row.n, row.good, row.needed, row.good >= row.needed ? "yes" : "no"],
      })),
      (column) => column > 0 && column < 5,
    )}`;
}

/** The tables behind the pictures. */
export const detailTables = ({
  metrics,
}: RunView): Html => html`<h3>Phases, by intended start</h3>${phases(metrics)}${source("task.outcome")}${windows(metrics)}
  <h3>Messages by kind</h3>${messages(metrics)}${source("msg.second")}<h3>Agents</h3>${agents(metrics)}${source("process", "agent.up", "task.started", "step.started")}`;

const text = (value: unknown): string => (typeof value === "string" || typeof value === "number" ? String(value) : "");

function describeMachine(machine: Readonly<Record<string, unknown>>): string {
  const { cores, cpuModel, memoryBytes, kernel } = machine;
  const memory = typeof memoryBytes === "number" ? `${(memoryBytes / 2 ** 30).toFixed(0)} GiB of memory` : "";
  const parts = [`${text(cores)} × ${text(cpuModel)}`, memory, kernel === undefined ? "" : `kernel ${text(kernel)}`];
  return cores === undefined ? "" : parts.filter((word) => word !== "").join(", ");
}

function describeVersions(versions: Readonly<Record<string, unknown>>, git: Readonly<Record<string, unknown>>): string {
  const commit = text(git["commit"]).slice(0, 12);
  const changed = git["dirty"] === true ? " with changes" : "";
  return [
    ...Object.entries(versions).map(([name, version]) => `${name} ${text(version)}`),
    ...(commit === "" ? [] : [`commit ${commit}${changed}`]),
  ].join(", ");
}

/** Which protocols the agents of a mixed network host, in their order; "" for other runs. */
const describeHosts = (scenario: RunView["run"]["config"]["scenario"]): string =>
  Array.from(hostedById(scenario) ?? [], ([agent, hosted]) => `${agent} ${hosted.join(" + ")}`).join(", ");

/** What it ran on and with, and how to run it again. */
export function setup({ run, metrics }: RunView): Html {
  const { scenario, network, tasks } = run.config;
  const manifest = run.manifest ?? {};
  const part = (name: string): Readonly<Record<string, unknown>> =>
    typeof manifest[name] === "object" && manifest[name] !== null ? (manifest[name] as Record<string, unknown>) : {};
  const s = (ms: number): string => `${ms / 1000} s`;
  const restarted = scenario.restartAfterMs === null ? "never restarted" : `restarted after ${s(scenario.restartAfterMs)}`;
  const afterwards = scenario.fault === "sigstop" ? "continued at the end" : restarted;
  const facts: [string, string][] = [
    [
      "protocol",
      `${scenario.protocol}, ${scenario.agentCount} agents, ${network.topology}, redundancy ${network.redundancyLevel}`,
    ],
    [
      "storm",
      `${scenario.fault} to ${scenario.killCount}${scenario.killProtocol === undefined ? "" : ` of those that host ${scenario.killProtocol}`} at about ${s(scenario.faultTimeMs)} of ${s(scenario.runtimeMs)}, ${scenario.cycles === 1 ? "once" : `${scenario.cycles} times`}; ${afterwards}`,
    ],
    ["hosts", describeHosts(scenario)],
    [
      "detector",
      `${network.detector}, interval ${s(network.heartbeatIntervalMs)}, timeout ${s(network.heartbeatTimeoutMs)}, transport signals ${network.transportSignals ? "acted upon" : "only recorded"}`,
    ],
    [
      "work",
      `${tasks.rate} tasks per second and agent, deadline ${s(tasks.deadlineMs)}, mean think time ${s(tasks.thinkTimeMs)}`,
    ],
    ["seed", String(scenario.seed)],
    ["machine", describeMachine(part("machine"))],
    ["versions", describeVersions(part("versions"), part("git"))],
    [
      "events",
      `${metrics.events.n.toLocaleString("en-US")}${metrics.events.bad_lines > 0 ? `, ${metrics.events.bad_lines} damaged lines` : ""}; warnings ${metrics.events.warnings}, errors ${metrics.events.errors}`,
    ],
  ];
  return html`<dl class="glossary">${facts.filter(([, text]) => text !== "").map(([name, text]) => html`<dt>${name}</dt><dd>${text}</dd>`)}</dl>
    <p>The same again: <code>pnpm failstorm --config config.yaml</code> with this run's <a href="config.yaml">config.yaml</a>. All numbers: <a href="failstorm_metrics.json">failstorm_metrics.json</a>.</p>`;
}
