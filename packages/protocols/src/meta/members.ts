import type { Protocol, ProtocolCapabilities } from "@failstorm/core";
import { parseA2aConfig } from "../a2a/config.ts";
import { parseAcpConfig } from "../acp/config.ts";
import { parseAgoraConfig } from "../agora/config.ts";
import { parseAnpConfig } from "../anp/config.ts";
import { parseSimpleJsonConfig, type SimpleJsonConfig } from "../simple_json/backend.ts";

/** What a router may ask of a protocol: what the protocol declares, and whether it seals what it carries. */
export interface MemberCapabilities extends ProtocolCapabilities {
  readonly encryption: boolean;
}

/**
 * A protocol that may live in the mix. What is said of it here is what it declares itself (a test holds it to that): a mix has to say
 * what it is, and to check its configuration, before it loads any of them.
 */
interface Member {
  readonly title: string;
  /** Checks the protocol's own section; throws InputError naming `<protocol>.<key>`. */
  readonly parseConfig: (section: unknown) => unknown;
  readonly load: () => Promise<Protocol>;
  readonly capabilities: ProtocolCapabilities;
  /** Round trips of its handshake with a peer that was met before. */
  readonly roundTrips: number;
  /**
   * What a handshake leaves serves further lives of the peer too, and spares messages more than it costs: before the first message to a
   * peer it is met, and never again for a message's sake.
   */
  readonly metOnce?: boolean;
  /** A caller must be found by those it calls, also where it hosts another protocol: who it is stands in a document of its own. */
  readonly presence?: boolean;
  /** What its configuration changes in what it can. */
  readonly configured?: (config: unknown) => Partial<MemberCapabilities>;
  /** Round trips that its configuration adds to the handshake. */
  readonly furtherRoundTrips?: (config: unknown) => number;
}

const NOTHING: ProtocolCapabilities = {
  streaming: false,
  cancel: false,
  resume: false,
  idempotency: false,
  authentication: false,
  nativeProbe: false,
};

/** Whether a section that its protocol has checked says yes to this. */
const isOn = (config: unknown, key: string): boolean => (config as Readonly<Record<string, unknown>>)[key] === true;

export const MEMBERS = {
  a2a: {
    title: "A2A",
    parseConfig: parseA2aConfig,
    load: async () => (await import("../a2a/protocol.ts")).protocol,
    capabilities: { ...NOTHING, streaming: true, cancel: true, resume: true },
    roundTrips: 1,
    configured: (config: unknown) =>
      (config as ReturnType<typeof parseA2aConfig>).bearerTokens.size > 0 ? { authentication: true } : {},
  },
  acp: {
    title: "ACP",
    parseConfig: parseAcpConfig,
    load: async () => (await import("../acp/protocol.ts")).protocol,
    capabilities: { ...NOTHING, streaming: true, cancel: true, resume: true, nativeProbe: true },
    roundTrips: 2,
  },
  agora: {
    title: "Agora",
    parseConfig: parseAgoraConfig,
    load: async () => (await import("../agora/protocol.ts")).protocol,
    capabilities: NOTHING,
    roundTrips: 1,
    // What /wellknown lists need not be negotiated. Documents and agreements outlive both sides, or are sent again when one is missed.
    metOnce: true,
  },
  anp: {
    title: "ANP",
    parseConfig: parseAnpConfig,
    load: async () => (await import("../anp/protocol.ts")).protocol,
    capabilities: { ...NOTHING, idempotency: true, authentication: true },
    roundTrips: 2,
    presence: true,
    configured: (config: unknown) => ({ encryption: isOn(config, "e2ee") }),
    furtherRoundTrips: (config: unknown) =>
      ["negotiate", "challenge", "e2ee"].filter((key) => isOn(config, key)).length +
      Number((config as ReturnType<typeof parseAnpConfig>).transport === "websocket"),
  },
  simple_json: {
    title: "simple_json",
    parseConfig: parseSimpleJsonConfig,
    load: async () => (await import("../simple_json/protocol.ts")).protocol,
    capabilities: { ...NOTHING, idempotency: true, nativeProbe: true },
    roundTrips: 1,
    configured: (config: unknown) => ({ idempotency: (config as SimpleJsonConfig).idempotency }),
  },
} as const satisfies Readonly<Record<string, Member>>;

export type MemberName = keyof typeof MEMBERS;

export const MEMBER_NAMES = Object.keys(MEMBERS) as readonly MemberName[];

export const isMember = (name: string): name is MemberName => Object.hasOwn(MEMBERS, name);

/** Whether those that it calls must find the caller. */
export const needsPresence = (name: MemberName): boolean => (MEMBERS[name] as Member).presence === true;

/** Whether it meets a peer before its first message, and not again in the peer's next life. */
export const isMetOnce = (name: MemberName): boolean => (MEMBERS[name] as Member).metOnce === true;

/** Round trips of a protocol's handshake with a peer that was met before, as it is configured here. */
export function roundTripsOf(name: MemberName, config: unknown): number {
  const member: Member = MEMBERS[name];
  return member.roundTrips + (member.furtherRoundTrips?.(config) ?? 0);
}

/** What a protocol can as it is configured here. */
export function capabilitiesOf(name: MemberName, config: unknown): MemberCapabilities {
  const member: Member = MEMBERS[name];
  return { ...member.capabilities, encryption: false, ...member.configured?.(config) };
}
