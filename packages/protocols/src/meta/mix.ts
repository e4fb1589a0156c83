import type { ProtocolCapabilities, ProtocolInfo, ReconnectionInfo } from "@failstorm/core";
import { memberConfig, type MetaConfig } from "./config.ts";
import { kindsOf } from "./deal.ts";
import { capabilitiesOf, MEMBERS, type MemberName, roundTripsOf } from "./members.ts";

const FLAGS = ["streaming", "cancel", "resume", "idempotency", "authentication", "nativeProbe"] as const;

const every = (test: (flag: (typeof FLAGS)[number]) => boolean): ProtocolCapabilities =>
  Object.fromEntries(FLAGS.map((flag) => [flag, test(flag)])) as unknown as ProtocolCapabilities;

/** What can be had from an agent that hosts these: what any of them can. */
export const hostCapabilities = (config: MetaConfig, hosted: readonly MemberName[]): ProtocolCapabilities =>
  every((flag) => hosted.some((name) => capabilitiesOf(name, memberConfig(config, name))[flag]));

/** What can be had from every agent of such a network. */
export const networkCapabilities = (config: MetaConfig, hosts: Iterable<readonly MemberName[]>): ProtocolCapabilities => {
  const each = [...hosts].map((hosted) => hostCapabilities(config, hosted));
  return every((flag) => each.every((capabilities) => capabilities[flag]));
};

const hostedIn = (config: MetaConfig): readonly MemberName[] => [...new Set(kindsOf(config).flat())];

const titles = (names: readonly MemberName[]): string => names.map((name) => MEMBERS[name].title).join(", ");

export function describeMix(config: MetaConfig): ProtocolInfo {
  const names = hostedIn(config);
  const native = names.filter((name) => MEMBERS[name].capabilities.nativeProbe);
  const added = names.filter((name) => !native.includes(name));
  const capabilities = networkCapabilities(config, kindsOf(config));
  return {
    name: "meta",
    version: "1",
    description: `A mesh in which ${titles(names)} live together: each agent hosts its own and dials every other in theirs. Its capabilities are what every agent of it has; one agent or another has more.`,
    features: [
      ...names.map((name) => `hosts and dials ${MEMBERS[name].title}`),
      "agents that host several protocols: a router takes one per message or per link, by need and by measure",
      `probes: native with ${native.length === 0 ? "none" : titles(native)}, added with ${added.length === 0 ? "none" : titles(added)}`,
    ],
    heartbeat: capabilities.nativeProbe ? "native" : "added",
    capabilities,
  };
}

export function describeReconnection(config: MetaConfig): ReconnectionInfo {
  const names = hostedIn(config);
  const rounds = names.map((name) => roundTripsOf(name, memberConfig(config, name)));
  return {
    method: `the peer's own: ${names.map((name, index) => `${MEMBERS[name].title} in ${rounds[index]}`).join(", ")} round trips; where it hosts several, the one that comes back soonest`,
    authentication: names.includes("anp")
      ? "signed with the DID's key towards ANP, else none or as configured"
      : "none, or as configured",
    expectedRoundTrips: Math.max(...rounds),
  };
}
