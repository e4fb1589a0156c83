import { stripVTControlCharacters, styleText } from "node:util";
import { InputError, RunError } from "@failstorm/core";

export const LEVELS = ["INFO", "SUCCESS", "WARNING", "ERROR", "PROGRESS"] as const;
export type Level = (typeof LEVELS)[number];

/** One line of the log. `tag`: who it is about (`simple_json`, `agent-3`). */
export interface LogLine {
  readonly level: Level;
  readonly tag: string | null;
  readonly text: string;
}

const STYLES = { INFO: "blue", SUCCESS: "green", WARNING: "yellow", ERROR: "red", PROGRESS: "cyan" } as const;

/** Colours only on a terminal, and not when NO_COLOR or --no-color says so. */
export const useColor = (stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env, argv = process.argv): boolean =>
  !argv.includes("--no-color") && !env["NO_COLOR"] && (stream.isTTY === true || Boolean(env["FORCE_COLOR"]));

export type Painter = (style: Parameters<typeof styleText>[0], text: string) => string;
export const painter = (color: boolean): Painter =>
  color ? (style, text) => styleText(style, text, { validateStream: false }) : (_, text) => text;

export const formatLine = ({ level, tag, text }: LogLine, paint: Painter): string =>
  `${paint(STYLES[level], level.padEnd(8))} ${tag === null ? "" : `${paint("dim", `[${tag}]`)} `}${text}`;

/** Text from elsewhere (an agent's message) must not move the cursor or colour the terminal. */
export const plain = (text: string): string =>
  stripVTControlCharacters(text).replaceAll(/\p{Cc}/gu, (character) => (character === "\t" ? character : " "));

/** Writes one line to stderr. */
export function log(level: Level, text: string, tag: string | null = null): void {
  process.stderr.write(`${formatLine({ level, tag, text: plain(text) }, painter(useColor(process.stderr)))}\n`);
}

/** Says why it did not go on: the message for what was foreseen, with the stack for what was not. */
export function failure(error: unknown): void {
  if (error instanceof InputError || error instanceof RunError) {
    for (const line of error.message.split("\n")) log("ERROR", line);
    return;
  }
  log("ERROR", `internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
}
