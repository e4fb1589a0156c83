import { closeSync, createReadStream, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { RunError } from "@failstorm/core";

const FLUSH_CHARACTERS = 1 << 16;

/**
 * The results as one JSON document, `{"metadata": …, "results": […]}`, from the journal, line by line: whole or not at all (temporary file, fsync,
 * rename). Lines that are not JSON (damage) are left out. Returns how many results it has. Throws RunError `RESULTS_NOT_WRITTEN`.
 */
export async function writeResultsDocument(
  journal: string,
  target: string,
  metadata: Readonly<Record<string, unknown>>,
): Promise<number> {
  const temporary = `${target}.${process.pid}.tmp`;
  try {
    const fd = openSync(temporary, "w");
    let results = 0;
    try {
      let text = `{\n"metadata": ${JSON.stringify(metadata, null, 1)},\n"results": [`;
      for await (const line of createInterface({ input: createReadStream(journal), crlfDelay: Number.POSITIVE_INFINITY })) {
        if (!isObject(line)) continue;
        text += `${results === 0 ? "\n" : ",\n"}${line}`;
        results += 1;
        if (text.length > FLUSH_CHARACTERS) {
          writeAll(fd, text);
          text = "";
        }
      }
      writeAll(fd, `${text}\n]\n}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, target);
    return results;
  } catch (error) {
    rmSync(temporary, { force: true });
    const message = error instanceof Error ? error.message : String(error);
    throw new RunError("RESULTS_NOT_WRITTEN", `${target}: ${message}`, { cause: error });
  }
}

function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
}

function isObject(line: string): boolean {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null;
  } catch {
    return false;
  }
}
