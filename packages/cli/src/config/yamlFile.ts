import { readFileSync } from "node:fs";
import { InputError } from "@failstorm/core";
import { isMap, isScalar, LineCounter, parse, parseDocument, type Pair, type ParsedNode } from "yaml";
import { type Entry, isSecret, type Origin } from "./entry.ts";

type Environment = Readonly<Record<string, string | undefined>>;

interface Reader {
  readonly file: string;
  readonly lines: LineCounter;
  readonly env: Environment;
  readonly entries: Entry[];
}

/** A value as words would have it in a YAML file: `3` a number, `true` a truth value, `[0, 1]` a list. */
export function parseWord(word: string): unknown {
  try {
    return parse(word, { logLevel: "silent" }) as unknown;
  } catch {
    return word;
  }
}

const VARIABLE = /\$(\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})/g;

/** Replaces `${NAME}` and `${NAME:-default}`; `$$` is a dollar sign. */
function expand(text: string, env: Environment, where: string): string {
  return text.replace(VARIABLE, (_, escaped: string, name: string | undefined, fallback: string | undefined) => {
    if (escaped === "$") return "$";
    const value = env[name ?? ""] ?? fallback;
    if (value === undefined)
      throw new InputError(`${where}: \${${name}}: this environment variable is not set; set it, or write \${${name}:-default}`);
    return value;
  });
}

const originOf = (reader: Reader, offset: number): Origin => {
  const { line, col } = reader.lines.linePos(offset);
  return { kind: "file", file: reader.file, line, column: col };
};
const place = (origin: Origin): string =>
  origin.kind === "file" ? `${origin.file}:${origin.line}:${origin.column}` : origin.name;

function valueOf(reader: Reader, path: string, node: ParsedNode | null, origin: Origin): unknown {
  const value = node === null ? null : (node.toJSON() as unknown);
  if (isScalar(node) && typeof value === "string" && value.includes("$")) {
    const expanded = expand(value, reader.env, place(origin));
    // A secret is nothing but characters, whatever number or comment it looks like.
    return node.type === "PLAIN" && expanded !== value && !isSecret(path) ? parseWord(expanded) : expanded;
  }
  return expandDeep(reader, value, origin);
}

function expandDeep(reader: Reader, value: unknown, origin: Origin): unknown {
  if (typeof value === "string") return value.includes("$") ? expand(value, reader.env, place(origin)) : value;
  return Array.isArray(value) ? value.map((item) => expandDeep(reader, item, origin)) : value;
}

function walk(reader: Reader, path: readonly string[], pair: Pair<ParsedNode, ParsedNode | null>): void {
  const here = [...path, String(pair.key.toJSON())];
  const origin = originOf(reader, pair.key.range[0]);
  if (isMap(pair.value) && pair.value.items.length > 0) {
    for (const item of pair.value.items) walk(reader, here, item);
    return;
  }
  const at = here.join(".");
  reader.entries.push({ path: at, value: valueOf(reader, at, pair.value, origin), origin });
}

function readText(file: string, named: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const why = { ENOENT: "there is no such file", EISDIR: "is a folder", EACCES: "may not be read" }[code ?? ""] ?? String(code);
    throw new InputError(`${named}: ${why}; name a readable YAML file`, { cause });
  }
}

/**
 * The values of a YAML file, each with its line. `shown` names the file in messages.
 * Throws InputError when it cannot be read or is no YAML, naming line and column, or when a `${VARIABLE}` is not set.
 */
export function readYamlFile(file: string, options: { env: Environment; shown: string; option: string }): Entry[] {
  const lines = new LineCounter();
  const document = parseDocument(readText(file, `${options.option} ${options.shown}`), {
    lineCounter: lines,
    logLevel: "silent",
  });
  const broken = document.errors[0];
  if (broken !== undefined) {
    const { line, col } = lines.linePos(broken.pos[0]);
    const why = broken.message.split("\n")[0]?.replace(/ at line \d+, column \d+:?$/, "");
    throw new InputError(`${options.shown}:${line}:${col}: not readable as YAML: ${why}`, { cause: broken });
  }
  const reader: Reader = { file: options.shown, lines, env: options.env, entries: [] };
  if (document.contents === null) return [];
  if (!isMap(document.contents))
    throw new InputError(`${options.shown}:1:1: must be sections with keys (scenario:, network:, …), not a single value`);
  for (const pair of document.contents.items) walk(reader, [], pair);
  return reader.entries;
}
