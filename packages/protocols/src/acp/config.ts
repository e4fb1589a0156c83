import { InputError } from "@failstorm/core";
import { RUN_MODES, type RunMode } from "./model.ts";

export interface AcpConfig {
  /** How a run is created when the caller wants neither its events nor its id. */
  readonly mode: RunMode;
  /** Between two looks at a run that is not finished (mode async, and `resume`). */
  readonly pollIntervalMs: number;
  /** Finished runs, and sessions, kept for whoever asks for them later. */
  readonly retainCount: number;
  readonly retainMs: number;
  /** Characters of message content kept in finished runs, and as much again in sessions. */
  readonly retainChars: number;
}

const DEFAULTS = { mode: "sync", poll_interval: 0.1, retain_count: 1000, retain_time: 3600, retain_chars: 33_554_432 } as const;
type Key = keyof typeof DEFAULTS;

function numberOf(section: Record<string, unknown>, key: Exclude<Key, "mode">, min: number, whole: boolean): number {
  const value = section[key] ?? DEFAULTS[key];
  if (typeof value !== "number" || !Number.isFinite(value) || value < min || (whole && !Number.isInteger(value)))
    throw new InputError(`acp.${key}: ${JSON.stringify(value)} is not a ${whole ? "whole " : ""}number of at least ${min}`);
  return value;
}

/** Checks the section `acp.*` (times in seconds); throws InputError naming the key. */
export function parseAcpConfig(section: unknown): AcpConfig {
  const given = (section ?? {}) as Record<string, unknown>;
  const known = Object.keys(DEFAULTS);
  for (const key of Object.keys(given))
    if (!known.includes(key)) throw new InputError(`acp.${key}: unknown key; known are ${known.join(", ")}`);
  const mode = given["mode"] ?? DEFAULTS.mode;
  const chosen = RUN_MODES.find((candidate) => candidate === mode);
  if (chosen === undefined) throw new InputError(`acp.mode: ${JSON.stringify(mode)} is none of ${RUN_MODES.join(", ")}`);
  return {
    mode: chosen,
    pollIntervalMs: numberOf(given, "poll_interval", 0.001, false) * 1000,
    retainCount: numberOf(given, "retain_count", 1, true),
    retainMs: numberOf(given, "retain_time", 0, false) * 1000,
    retainChars: numberOf(given, "retain_chars", 0, true),
  };
}
