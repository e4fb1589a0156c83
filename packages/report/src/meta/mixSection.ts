import { type Html, html } from "../page/html.ts";
import type { MixMetrics } from "./mixSchema.ts";
import { changesTable, type MixTable, pairTable, protocolTable, routeTable } from "./mixTables.ts";

/** So many choices of the router are on the page. */
const MAX_ROUTES_SHOWN = 200;
type Pair = MixMetrics["pairs"][number];

function htmlTable({ title, head, rows, note }: MixTable, words: ReadonlySet<string>): Html {
  const numeric = (column: number): Html | false => !words.has(head[column] ?? "") && html` class="num"`;
  return html`<h3>${title}</h3>${note !== "" && html`<p>${note}</p>`}
    <div class="scroll"><table><thead><tr>${head.map((word, i) => html`<th${numeric(i)}>${word}</th>`)}</tr></thead>
    <tbody>${rows.map((cells) => html`<tr>${cells.map((cell, i) => html`<td${numeric(i)}>${cell}</td>`)}</tr>`)}</tbody></table></div>`;
}

const WORDS = new Set(["protocol", "caller", "callee", "agent", "peer", "before", "after", "reason", "the first reason"]);

/** The matrix: callers down, protocols across, messages in the cells, the failed ones beside them. */
function matrix(pairs: readonly Pair[]): Html {
  const callers = [...new Set(pairs.map(({ caller }) => caller))].toSorted();
  const callees = [...new Set(pairs.map(({ callee }) => callee))].toSorted();
  const cell = (caller: string, callee: string): Html => {
    const pair = pairs.find((other) => other.caller === caller && other.callee === callee);
    if (pair === undefined) return html`<td class="num">–</td>`;
    const failed = pair.failed === 0 ? "" : ` (${pair.failed.toLocaleString("en-US")} failed)`;
    return html`<td class="num">${pair.n.toLocaleString("en-US")}${failed}</td>`;
  };
  return html`<h3>Messages, caller × callee</h3><div class="scroll"><table>
    <thead><tr><th>from \\ by</th>${callees.map((callee) => html`<th class="num">${callee}</th>`)}</tr></thead>
    <tbody>${callers.map((caller) => html`<tr><td>${caller}</td>${callees.map((callee) => cell(caller, callee))}</tr>`)}</tbody></table></div>`;
}

/** The part of a run's page about a network of several protocols; null for other runs. */
export function mixSection(meta: MixMetrics | undefined): Html | null {
  if (meta === undefined) return null;
  const routes = routeTable(meta, MAX_ROUTES_SHOWN);
  const changes = changesTable(meta);
  return html`${htmlTable(protocolTable(meta), WORDS)}${matrix(meta.pairs)}${htmlTable(pairTable(meta), WORDS)}${changes !== null && htmlTable(changes, WORDS)}
    ${routes !== null && html`<details><summary>${meta.routes_total} choices of the router</summary>${htmlTable(routes, WORDS)}</details>`}`;
}
