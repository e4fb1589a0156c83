import { InputError } from "@failstorm/core";

export interface AnpConfig {
  /** What carries JSON-RPC; identity, discovery and authentication are HTTP with both. */
  readonly transport: "http" | "websocket";
  /** Whether a bearer token is used once one was given, or every request is signed. */
  readonly accessToken: boolean;
  readonly tokenLifetimeMs: number;
  /** Whether the host insists on a nonce of its own in every HTTP signature (ANP-02 §3.2.4.1). */
  readonly challenge: boolean;
  /** `domain`: did:wba:localhost%3APORT; `e1`: …:AGENT:e1_FINGERPRINT, bound to the key. Under a path prefix always e1. */
  readonly did: "domain" | "e1";
  /** Whether a handshake ends with a meta-protocol negotiation (ANP-06). */
  readonly negotiate: boolean;
  /** Whether direct messages are encrypted end to end (ANP-P5); all are, or none. */
  readonly e2ee: boolean;
  /**
   * How long an answered operation is remembered at least, as long as what was asked and answered in that time is below 32 MB, where
   * of a question above 16 KB (and of any that came encrypted) only a digest counts.
   */
  readonly rememberMs: number;
  /** Members of a JSON payload in which two deliveries of one operation may differ: dotted paths. */
  readonly deliveryMembers: readonly string[];
}

type Section = Readonly<Record<string, unknown>>;

const wrong = (key: string, value: unknown, expected: string): InputError =>
  new InputError(`anp.${key}: ${JSON.stringify(value)} is not ${expected}`);

function oneOf<T extends string>(section: Section, key: string, choices: readonly [T, ...T[]]): T {
  const value = section[key] ?? choices[0];
  const choice = choices.find((candidate) => candidate === value);
  if (choice === undefined) throw wrong(key, value, choices.join(" or "));
  return choice;
}

function flag(section: Section, key: string, fallback: boolean): boolean {
  const value = section[key] ?? fallback;
  if (typeof value !== "boolean") throw wrong(key, value, "true or false");
  return value;
}

function secondsAsMs(section: Section, key: string, fallback: number, max: number): number {
  const value = section[key] ?? fallback;
  if (typeof value !== "number" || !(value > 0 && value <= max)) throw wrong(key, value, `a number of seconds up to ${max}`);
  return value * 1000;
}

function paths(section: Section, key: string, fallback: readonly string[]): readonly string[] {
  const value = section[key] ?? fallback;
  if (!Array.isArray(value) || !value.every((path) => typeof path === "string" && path !== ""))
    throw wrong(key, value, "a list of member paths");
  return value as string[];
}

/** Attempt, remaining budget and sender's incarnation differ from one delivery of a step to the next; the step does not. */
const DELIVERY_MEMBERS = ["from", "body.attempt", "body.budgetMs", "body.takeover"];

const KEYS = [
  "transport",
  "access_token",
  "token_lifetime",
  "challenge",
  "did",
  "negotiate",
  "remember",
  "delivery_members",
  "e2ee",
];

/** Checks the section `anp.*`; throws InputError naming the key. */
export function parseAnpConfig(given: unknown): AnpConfig {
  const section = (given ?? {}) as Section;
  for (const key of Object.keys(section))
    if (!KEYS.includes(key)) throw new InputError(`anp.${key}: unknown key; known are ${KEYS.join(", ")}`);
  const config: AnpConfig = {
    transport: oneOf(section, "transport", ["http", "websocket"]),
    accessToken: flag(section, "access_token", true),
    tokenLifetimeMs: secondsAsMs(section, "token_lifetime", 3600, 86_400),
    challenge: flag(section, "challenge", false),
    did: oneOf(section, "did", ["domain", "e1"]),
    negotiate: flag(section, "negotiate", false),
    e2ee: flag(section, "e2ee", false),
    rememberMs: secondsAsMs(section, "remember", 600, 86_400),
    deliveryMembers: paths(section, "delivery_members", DELIVERY_MEMBERS),
  };
  // Whoever a WebSocket is refused to is not told the nonce to come back with; by token no nonce is needed.
  if (config.transport === "websocket" && config.challenge && !config.accessToken)
    throw new InputError("anp.challenge: with transport websocket it needs access_token true");
  if (config.e2ee && config.negotiate) throw new InputError("anp.negotiate: not with e2ee true, which leaves nothing to choose");
  return config;
}
