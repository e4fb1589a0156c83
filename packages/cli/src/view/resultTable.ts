import {
  changesTable,
  type FailstormMetrics,
  type MixTable,
  pairTable,
  protocolTable,
  type ResultRow,
  resultRows,
} from "@failstorm/report";
import Table from "cli-table3";
import { type Painter, plain } from "./log.ts";

const MIN_NOTE_COLUMNS = 24;
/** Borders and padding of a table of four columns. */
const FRAME_COLUMNS = 13;

const percent = (value: number | null): string => (value === null ? "–" : (value * 100).toFixed(1));

/** How good the answers were, for data the pipeline was not calibrated on: there goodput counts what it answers without faults. */
function answerRows({ answers, llm }: FailstormMetrics): ResultRow[] {
  if (answers.calibrated) return [];
  const row = (measure: string, value: number | null, note: string): ResultRow => ({
    measure,
    value: percent(value),
    unit: "%",
    note,
  });
  return [
    row(
      "exact match",
      answers.exact_match,
      `of ${answers.answered} answers; ${llm === undefined ? "this data is not calibrated to be answerable without an LLM" : "a model answered, which is not calibrated to be right without a fault"}`,
    ),
    row("token F1", answers.token_f1, ""),
    row("evidence recall", answers.evidence_recall, ""),
  ];
}

/** Rows as a table no wider than `columns`, where that leaves the notes room. */
export function renderTable(rows: readonly ResultRow[], columns: number, paint: Painter): string {
  const widest = (pick: (row: ResultRow) => string): number => Math.max(7, ...rows.map((row) => pick(row).length));
  const used = widest((row) => row.measure) + widest((row) => row.value) + widest((row) => row.unit) + FRAME_COLUMNS;
  const noteColumns = Math.max(MIN_NOTE_COLUMNS, columns - used);
  const table = new Table({
    head: ["measure", "value", "unit", "note"].map((word) => paint("bold", word)),
    style: { head: [], border: [], compact: true },
    colAligns: ["left", "right", "left", "left"],
    wordWrap: true,
    colWidths: [null, null, null, noteColumns + 2],
  });
  for (const { measure, value, unit, note } of rows) table.push([measure, value, unit, plain(note)]);
  return table.toString();
}

/** Column heads broken into words, so that many narrow columns fit beside each other. */
const MIX_HEAD_COLUMNS = 12;
/** Sentences are wrapped. */
const MAX_MIX_COLUMNS = 90;

const LEFT: ReadonlySet<string> = new Set(["protocol", "caller", "callee", "before", "after", "the first reason"]);

function renderMixTable({ title, head, rows, note }: MixTable, paint: Painter): string {
  const widest = (column: number): number => Math.max(...rows.map((cells) => cells[column]?.length ?? 0), 0);
  const longestWord = (text: string): number => Math.max(...text.split(" ").map((word) => word.length));
  const table = new Table({
    head: head.map((word) => paint("bold", word)),
    style: { head: [], border: [], compact: true },
    wordWrap: true,
    colWidths: head.map((word, i) => {
      const needed = Math.max(widest(i), longestWord(word), Math.min(word.length, MIX_HEAD_COLUMNS));
      return 2 + Math.min(needed, MAX_MIX_COLUMNS);
    }),
    colAligns: head.map((_, i) => (LEFT.has(head[i] ?? "") ? "left" : "right")),
  });
  table.push(...rows.map((cells) => [...cells]));
  return `\n${paint("bold", title)}\n${table.toString()}\n${note}`;
}

/** The result of a run in plain words, with units; of a network of several protocols also by protocol and by pair of them. */
export function renderResult(metrics: FailstormMetrics, columns: number, paint: Painter): string {
  const result = renderTable([...resultRows(metrics), ...answerRows(metrics)], columns, paint);
  if (metrics.meta === undefined) return result;
  const { meta } = metrics;
  const tables = [protocolTable(meta), pairTable(meta), changesTable(meta)].filter((table) => table !== null);
  return [result, ...tables.map((table) => renderMixTable(table, paint))].join("\n");
}
