import { InputError } from "@failstorm/core";

/** The section `a2a.*`, checked. */
export interface A2aConfig {
  /** How long a finished task can still be asked for, ms. */
  readonly retainMs: number;
  readonly pushNotifications: boolean;
  /** Whether a card asked for without an A2A-Version header carries the 0.3 fields too. */
  readonly legacyCard: boolean;
  /** User name → bearer token; empty: nobody authenticates. Our own client sends the first. */
  readonly bearerTokens: ReadonlyMap<string, string>;
}

const KEYS = ["retain_ms", "push_notifications", "legacy_card", "bearer_tokens"] as const;

function flag(given: Record<string, unknown>, key: string, byDefault: boolean): boolean {
  const value = given[key] ?? byDefault;
  if (typeof value !== "boolean") throw new InputError(`a2a.${key}: say true or false, not ${JSON.stringify(value)}`);
  return value;
}

function tokens(value: unknown): ReadonlyMap<string, string> {
  if (value === undefined || value === null) return new Map();
  if (typeof value !== "object" || Array.isArray(value))
    throw new InputError("a2a.bearer_tokens: expected user name: token pairs");
  const entries = Object.entries(value as Record<string, unknown>);
  for (const [name, token] of entries)
    if (typeof token !== "string" || !/^[\w.~+/-]+=*$/.test(token))
      throw new InputError(`a2a.bearer_tokens.${name}: not a bearer token (RFC 6750: letters, digits and -._~+/)`);
  return new Map(entries as [string, string][]);
}

/** Checks the section `a2a.*`; throws InputError naming the key. */
export function parseA2aConfig(section: unknown): A2aConfig {
  const given = (section ?? {}) as Record<string, unknown>;
  for (const key of Object.keys(given))
    if (!KEYS.some((known) => known === key)) throw new InputError(`a2a.${key}: unknown key; known are ${KEYS.join(", ")}`);
  const retainMs = given["retain_ms"] ?? 60_000;
  if (typeof retainMs !== "number" || !Number.isFinite(retainMs) || retainMs < 0)
    throw new InputError(`a2a.retain_ms: ${JSON.stringify(retainMs)} is not a number of milliseconds from 0 up`);
  return {
    retainMs,
    pushNotifications: flag(given, "push_notifications", true),
    legacyCard: flag(given, "legacy_card", true),
    bearerTokens: tokens(given["bearer_tokens"]),
  };
}
