import { readFile } from "node:fs/promises";
import { InputError } from "@failstorm/core";
import { numberedLines } from "./document.ts";

/** The bytes of a file the user named; a file that cannot be read is an InputError naming it. */
export async function readInput(file: string, remedy: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InputError(`${file}: cannot be read (${why}); ${remedy}`, { cause: error });
  }
}

/** One line of a JSON Lines file: an object, and how to complain about it. */
export interface JsonLine {
  readonly line: number;
  readonly fields: Readonly<Record<string, unknown>>;
  /** Makes an InputError that names the file, the line and the remedy. */
  readonly broken: (why: string) => InputError;
}

/** The objects of a JSON Lines file, line by line. Throws InputError at the first line that is none. `form` shows a right line. */
export function* jsonLines(file: string, bytes: Uint8Array, form: string): Generator<JsonLine> {
  for (const { line, text } of numberedLines(bytes)) {
    const broken = (why: string, cause?: unknown): InputError =>
      new InputError(`${file}:${line}: ${why}; mend the line or take it out; a line looks like ${form}`, { cause });
    if (text === null) throw broken("it is not UTF-8");
    let fields: unknown;
    try {
      fields = JSON.parse(text);
    } catch (error) {
      throw broken("it is not JSON", error);
    }
    if (typeof fields !== "object" || fields === null || Array.isArray(fields)) throw broken("it is not a JSON object");
    yield { line, fields: fields as Record<string, unknown>, broken };
  }
}
