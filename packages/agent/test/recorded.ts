import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type AgentSpec, type Clock, type RunEvent, type RunEventName, type RunEventOf } from "@failstorm/core";
import { afterEach } from "vitest";
import { Recorder } from "../src/recorder.ts";

const folders: string[] = [];
afterEach(() => {
  for (const made of folders.splice(0)) rmSync(made, { recursive: true });
});

export const folder = (): string => {
  const made = mkdtempSync(path.join(tmpdir(), "failstorm-agent-"));
  folders.push(made);
  return made;
};

/** A recorder that writes real files, and what it wrote. */
export function recording(clock: Clock, fullRecording: AgentSpec["fullRecording"] = []) {
  const file = path.join(folder(), "events.ndjson");
  const published: RunEvent[] = [];
  const recorder = new Recorder({
    path: file,
    agentId: "agent-0",
    incarnation: 1,
    clock,
    fullRecording,
    publish: (events) => published.push(...events),
  });
  const events = (): RunEvent[] =>
    readFileSync(file, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as RunEvent);
  const of = <Name extends RunEventName>(name: Name): RunEventOf<Name>[] =>
    events().filter((event): event is RunEventOf<Name> => event.ev === name);
  return { recorder, events, of, published };
}
