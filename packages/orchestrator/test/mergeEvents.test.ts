import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createPrng, InputError } from "@failstorm/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mergeEvents } from "../src/index.ts";

let runDir: string;
beforeEach(() => {
  runDir = mkdtempSync(path.join(tmpdir(), "merge-"));
});
afterEach(() => rmSync(runDir, { recursive: true }));

const event = (t: number, src: string, seq: number, inc = 1, text = "") =>
  JSON.stringify({ t, src, inc, seq, ev: "log", level: "warning", message: text });
const write = (src: string, content: string): string => {
  const file =
    src === "orchestrator" ? path.join(runDir, "orchestrator.ndjson") : path.join(runDir, "workspaces", src, "events.ndjson");
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, content);
  return file;
};
const merged = (): string[] => readFileSync(path.join(runDir, "events.ndjson"), "utf8").trimEnd().split("\n");

describe("mergeEvents", () => {
  it("puts the events of all writers in order of t, writer, seq, byte for byte, and removes the parts", async () => {
    const parts = [
      write("orchestrator", `${event(1, "orchestrator", 0, 0)}\n${event(5, "orchestrator", 1, 0)}\n`),
      write("agent-1", `${event(2, "agent-1", 0)}\n${event(2, "agent-1", 1)}\n${event(5, "agent-1", 2)}\n`),
      write("agent-0", `${event(2, "agent-0", 0, 1, 'ü € \u2028 { } " \\')}\n`),
    ];
    const result = await mergeEvents(runDir);
    expect(result).toEqual({ path: path.join(runDir, "events.ndjson"), events: 6, truncatedLines: 0 });
    expect(merged()).toEqual([
      event(1, "orchestrator", 0, 0),
      event(2, "agent-0", 0, 1, 'ü € \u2028 { } " \\'),
      event(2, "agent-1", 0),
      event(2, "agent-1", 1),
      event(5, "agent-1", 2),
      event(5, "orchestrator", 1, 0),
    ]);
    expect(parts.filter((part) => existsSync(part))).toEqual([]);
  });

  it("merges files longer than a chunk without loss", async () => {
    const prng = createPrng(3);
    const all: { t: number; line: string }[] = [];
    for (let agent = 0; agent < 5; agent++) {
      const lines: string[] = [];
      let t = 0;
      for (let seq = 0; seq < 3000; seq++) {
        t += prng.next() * 10;
        const line = event(t, `agent-${agent}`, seq, 1, "é".repeat(prng.int(150)));
        lines.push(line);
        all.push({ t, line });
      }
      write(`agent-${agent}`, `${lines.join("\n")}\n`);
    }
    expect(await mergeEvents(runDir)).toMatchObject({ events: 15_000, truncatedLines: 0 });
    expect(merged()).toEqual(all.sort((a, b) => a.t - b.t).map(({ line }) => line));
  });

  it("leaves out the unfinished last line of a killed writer", async () => {
    write("agent-0", `${event(1, "agent-0", 0)}\n${event(2, "agent-0", 1).slice(0, 30)}`);
    expect(await mergeEvents(runDir)).toMatchObject({ events: 1, truncatedLines: 1 });
  });

  it.each([0, 1, 3, 7, 20, 60])(
    "recovers the next incarnation's event behind %i characters of an unfinished one",
    async (cut) => {
      const next = event(3, "agent-0", 0, 2, 'a nested {"t":1} is text');
      write(
        "agent-0",
        `${event(1, "agent-0", 0)}\n${event(2, "agent-0", 1).slice(0, cut)}${next}\n${event(4, "agent-0", 1, 2)}\n`,
      );
      expect(await mergeEvents(runDir)).toMatchObject({ events: 3, truncatedLines: cut === 0 ? 0 : 1 });
      expect(merged()[1]).toBe(next);
    },
  );

  it("keeps an event that lacks only its newline", async () => {
    write("agent-0", `${event(1, "agent-0", 0)}${event(2, "agent-0", 0, 2)}\n${event(3, "agent-0", 1, 2)}`);
    expect(await mergeEvents(runDir)).toMatchObject({ events: 3, truncatedLines: 0 });
  });

  it("does not die of damage: zeros, other JSON, blank lines", async () => {
    write("agent-0", `${"\0".repeat(500)}\n[]\nnull\n{"t":"x"}\n\n${event(1, "agent-0", 0)}\n`);
    expect(await mergeEvents(runDir)).toMatchObject({ events: 1, truncatedLines: 4 });
  });

  it("changes nothing when called again, also when the first call died while it removed the parts", async () => {
    write("orchestrator", `${event(1, "orchestrator", 0, 0)}\n`);
    const part = write("agent-0", `${event(2, "agent-0", 0)}\n`);
    await mergeEvents(runDir);
    const first = merged();
    writeFileSync(part, `${event(2, "agent-0", 0)}\n`); // as if it had not been removed
    expect(await mergeEvents(runDir)).toMatchObject({ events: 2 });
    expect(merged()).toEqual(first);
    expect(existsSync(part)).toBe(false);
  });

  it("removes what a program that was killed while it merged has left, whether it had come to its end or not", async () => {
    const abandoned = path.join(runDir, `events.ndjson.${2 ** 30}.tmp`);
    write("agent-0", `${event(1, "agent-0", 0)}\n`);
    for (let call = 0; call < 2; call++) {
      writeFileSync(abandoned, "half");
      expect(await mergeEvents(runDir)).toMatchObject({ events: 1 });
      expect(existsSync(abandoned)).toBe(false);
    }
  });

  it("works without the orchestrator's file, and refuses a folder without events", async () => {
    await expect(mergeEvents(runDir)).rejects.toBeInstanceOf(InputError);
    const file = write("agent-0", "");
    appendFileSync(file, `${event(2, "agent-0", 0)}\n`);
    expect(await mergeEvents(runDir)).toMatchObject({ events: 1 });
  });
});
