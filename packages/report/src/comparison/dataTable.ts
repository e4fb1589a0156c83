/** A cell: what is read, and the value behind it for programs. */
export interface Cell {
  readonly text: string;
  readonly value: string | number | boolean | null;
  /** What belongs to it (an interval), said after it or below it. */
  readonly detail?: string;
  /** Better than all others of its row, with significance. */
  readonly best?: boolean;
}

export interface Column {
  /** In CSV and JSON. */
  readonly key: string;
  readonly name: string;
  readonly numeric: boolean;
  /** Only for programs: in CSV and JSON, not in what is read. */
  readonly dataOnly?: true;
}

/** A table that can be written in several formats. */
export interface DataTable {
  /** Its file's name, without ending. */
  readonly id: string;
  readonly title: string;
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Cell[])[];
  readonly notes: readonly string[];
}

/** The table as it is read: without the columns for programs. */
export function readable(table: DataTable): DataTable {
  const shown = table.columns.map((column) => column.dataOnly !== true);
  return {
    ...table,
    columns: table.columns.filter((_, i) => shown[i]),
    rows: table.rows.map((row) => row.filter((_, i) => shown[i])),
  };
}

export const cell = (text: string, value: Cell["value"] = text, best = false): Cell =>
  best ? { text, value, best } : { text, value };

const markdownText = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

const whole = ({ text, detail }: Cell): string => (detail === undefined ? text : `${text} ${detail}`);

export function toMarkdown(table: DataTable): string {
  const { title, columns, rows, notes } = readable(table);
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [
    `### ${title}`,
    "",
    line(columns.map(({ name }) => markdownText(name))),
    line(columns.map(({ numeric }) => (numeric ? "---:" : ":---"))),
    ...rows.map((row) => line(row.map((own) => (own.best ? `**${markdownText(whole(own))}**` : markdownText(whole(own)))))),
    "",
    ...notes.flatMap((note) => [note, ""]),
  ].join("\n");
}

/** RFC 4180; the values, not the texts. */
export function toCsv({ columns, rows }: DataTable): string {
  const field = (value: Cell["value"]): string => {
    const text = value === null ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns.map(({ key }) => field(key)), ...rows.map((row) => row.map(({ value }) => field(value)))]
    .map((fields) => `${fields.join(",")}\r\n`)
    .join("");
}

const LATEX: Readonly<Record<string, string>> = {
  "\\": "\\textbackslash{}",
  "&": "\\&",
  "%": "\\%",
  $: "\\$",
  "#": "\\#",
  _: "\\_",
  "{": "\\{",
  "}": "\\}",
  "~": "\\textasciitilde{}",
  "^": "\\textasciicircum{}",
  "−": "$-$",
  "–": "--",
  "…": "\\dots{}",
  "×": "$\\times$",
  "≥": "$\\geq$",
  "≤": "$\\leq$",
  "→": "$\\to$",
  "±": "$\\pm$",
  α: "$\\alpha$",
  δ: "$\\delta$",
  µ: "$\\mu$",
  // In LaTeX's default encoding these three come out as other characters.
  "<": "\\textless{}",
  ">": "\\textgreater{}",
  "|": "\\textbar{}",
};

const latexText = (text: string): string =>
  text.replaceAll(/[\\&%$#_{}~^−–…×≥≤→±αδµ<>|]/g, (character) => LATEX[character] ?? character);

/** A `table` for booktabs. */
export function toLatex(table: DataTable): string {
  const { id, title, columns, rows, notes } = readable(table);
  const line = (cells: readonly string[]): string => `    ${cells.join(" & ")} \\\\`;
  return [
    "% needs \\usepackage{booktabs}",
    "\\begin{table}",
    "  \\centering",
    `  \\caption{${latexText(title)}}`,
    `  \\label{tab:${id}}`,
    `  \\begin{tabular}{@{}${columns.map(({ numeric }) => (numeric ? "r" : "l")).join("")}@{}}`,
    "    \\toprule",
    line(columns.map(({ name }) => latexText(name))),
    "    \\midrule",
    ...rows.map((row) => line(row.map((own) => (own.best ? `\\textbf{${latexText(whole(own))}}` : latexText(whole(own)))))),
    "    \\bottomrule",
    "  \\end{tabular}",
    ...notes.map((note) => `  \\par\\footnotesize ${latexText(note)}`),
    "\\end{table}",
    "",
  ].join("\n");
}

/** One object a row, by the columns' keys. */
export const toJson = ({ columns, rows }: DataTable): string =>
  `${JSON.stringify(
    rows.map((row) => Object.fromEntries(columns.map(({ key }, i) => [key, row[i]?.value ?? null]))),
    null,
    1,
  )}\n`;
