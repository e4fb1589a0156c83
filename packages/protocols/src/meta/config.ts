import { InputError } from "@failstorm/core";
import type { RouterSettings } from "./costs.ts";
import { kindsOf } from "./deal.ts";
import { NEEDS, needsOf } from "./demand.ts";
import { type Given, keysOf, listed, numberIn, oneOf, sectionIn } from "./sections.ts";
import { capabilitiesOf, isMember, MEMBER_NAMES, MEMBERS, type MemberName } from "./members.ts";

export interface RouterConfig extends RouterSettings {
  readonly prefer: readonly MemberName[];
  /** A payload of so many characters is large, and measured apart. */
  readonly largeChars: number;
}

/** The section `meta.*`, checked. */
export interface MetaConfig {
  /** Those that are enabled, in the order in which they are dealt. `count`: null = an equal share. */
  readonly members: ReadonlyMap<MemberName, { readonly count: number | null; readonly config: unknown }>;
  /** What the agents host, where it is said agent by agent. */
  readonly hosts: readonly (readonly MemberName[])[] | null;
  readonly router: RouterConfig;
}

/** Enabled unless the configuration says otherwise: the mix of the network that has all of them. simple_json is the control group. */
const BY_DEFAULT: ReadonlySet<MemberName> = new Set(["a2a", "acp", "agora", "anp"]);

/** The member's own check, its keys named from the section `meta` on. */
function parseMember(name: MemberName, given: unknown): unknown {
  try {
    return MEMBERS[name].parseConfig(given ?? {});
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(error.message.replace(`${name}.`, `meta.protocols.${name}.config.`), { cause: error });
  }
}

function membersIn(given: Given, hosted: ReadonlySet<string>): MetaConfig["members"] {
  for (const name of Object.keys(given))
    if (!isMember(name)) throw new InputError(`meta.protocols.${name}: no such protocol; choose from ${MEMBER_NAMES.join(", ")}`);
  const members = new Map<MemberName, { count: number | null; config: unknown }>();
  for (const name of MEMBER_NAMES) {
    const path = `meta.protocols.${name}`;
    const section = sectionIn(given[name], path);
    keysOf(section, path, ["enabled", "agent_count", "config"]);
    const config = parseMember(name, section["config"]);
    const enabled = section["enabled"] ?? (hosted.has(name) || (section["agent_count"] ?? null) !== null || BY_DEFAULT.has(name));
    if (typeof enabled !== "boolean") throw new InputError(`${path}.enabled: say true or false, not ${JSON.stringify(enabled)}`);
    const count = section["agent_count"] ?? null;
    if (!enabled && count === 0) continue;
    if (count === 0)
      throw new InputError(`${path}.agent_count: 0 agents host no protocol; give it 1 or more, or say ${path}.enabled: false`);
    if (count !== null && (typeof count !== "number" || !Number.isInteger(count) || count < 1))
      throw new InputError(`${path}.agent_count: ${JSON.stringify(count)} is not a whole number from 1 up`);
    if (enabled) members.set(name, { count, config });
  }
  if (members.size === 0)
    throw new InputError(`meta.protocols: all are disabled; enable at least one of ${MEMBER_NAMES.join(", ")}`);
  return members;
}

/** Entries of a list, or of a text such as `a2a+acp, anp`: agents by commas, one agent's protocols by `+`. */
function entriesIn(given: unknown): readonly (readonly unknown[])[] {
  if (typeof given === "string" && given.trim() !== "")
    return given.split(",").map((entry) => entry.split("+").map((name) => name.trim()));
  if (!Array.isArray(given) || given.length === 0)
    throw new InputError(
      `meta.hosts: ${JSON.stringify(given)} says of no agent what it hosts; expected an entry for each, as [[a2a], [a2a, acp]] or "a2a, a2a+acp"`,
    );
  return given.map((entry: unknown) => (Array.isArray(entry) ? entry : [entry]));
}

function hostsIn(given: unknown): MetaConfig["hosts"] {
  if (given === undefined || given === null) return null;
  return entriesIn(given).map((names, index) => {
    const own = names.map((name) => {
      if (typeof name === "string" && isMember(name)) return name;
      throw new InputError(
        `meta.hosts[${index}]: ${JSON.stringify(name)} is no protocol; choose from ${MEMBER_NAMES.join(", ")}`,
      );
    });
    if (own.length === 0) throw new InputError(`meta.hosts[${index}]: an agent hosts at least one protocol; name it`);
    if (new Set(own).size < own.length)
      throw new InputError(`meta.hosts[${index}]: ${own.join(", ")} names one twice; once is enough`);
    return own;
  });
}

/** That what is said agent by agent and what is said protocol by protocol agree. */
function checkTogether({ hosts, members }: Pick<MetaConfig, "hosts" | "members">): void {
  if (hosts === null) return;
  for (const [name, { count }] of members)
    if (count !== null)
      throw new InputError(
        `meta.protocols.${name}.agent_count: ${count} is not used where meta.hosts says what each agent hosts; remove one`,
      );
  for (const [index, own] of hosts.entries())
    for (const name of own)
      if (!members.has(name))
        throw new InputError(`meta.hosts[${index}]: ${name} is disabled; remove it, or say meta.protocols.${name}.enabled: true`);
}

function routerIn(given: Given): RouterConfig {
  const path = "meta.router";
  keysOf(given, path, ["per", "prefer", "require", "dwell", "margin", "bytes_margin", "loss_penalty", "explore_every", "large"]);
  const number = (key: string, byDefault: number, range: Parameters<typeof numberIn>[2]): number =>
    numberIn(given[key] ?? byDefault, `${path}.${key}`, range);
  if (given["explore_every"] === 1)
    throw new InputError(
      `${path}.explore_every: 1 leaves no message to the protocol that was chosen; give 2 or more, or 0 for none`,
    );
  return {
    per: oneOf(given["per"] ?? "message", `${path}.per`, ["message", "kind", "link"]),
    prefer: listed(given["prefer"] ?? [], `${path}.prefer`, MEMBER_NAMES),
    require: listed(given["require"] ?? [], `${path}.require`, NEEDS),
    dwellMs: 1000 * number("dwell", 5, { min: 0, unit: "seconds" }),
    margin: number("margin", 0.25, { min: 0.01, max: 0.99, unit: "a share" }),
    bytesMargin: number("bytes_margin", 0.05, { min: 0.01, max: 0.99, unit: "a share" }),
    lossPenaltyMs: 1000 * number("loss_penalty", 1, { min: 0, unit: "seconds" }),
    exploreEvery: number("explore_every", 8, { min: 0, whole: true, unit: "messages" }),
    largeChars: number("large", 65_536, { min: 1, whole: true, unit: "characters" }),
  };
}

/** That every agent can be sent to as `require` wants it. */
function checkRequired(config: MetaConfig): void {
  const { require } = config.router;
  const has = (name: MemberName): boolean => {
    const needs = needsOf(capabilitiesOf(name, memberConfig(config, name)));
    return require.every((need) => needs.has(need));
  };
  for (const own of kindsOf(config))
    if (!own.some(has))
      throw new InputError(
        `meta.router.require: no protocol of an agent that hosts ${own.join(", ")} has ${require.join(" and ")} (${MEMBER_NAMES.filter(has).join(", ") || "none"} would, as configured); let each agent host one that has, or require less`,
      );
}

/** Checks the section `meta.*`, the members' sections in it included; throws InputError naming the key. */
export function parseMetaConfig(section: unknown): MetaConfig {
  const given = sectionIn(section, "meta");
  keysOf(given, "meta", ["protocols", "hosts", "router"]);
  const hosts = hostsIn(given["hosts"]);
  const members = membersIn(sectionIn(given["protocols"], "meta.protocols"), new Set(hosts?.flat()));
  checkTogether({ hosts, members });
  const config = { members, hosts, router: routerIn(sectionIn(given["router"], "meta.router")) };
  checkRequired(config);
  return config;
}

/** A member's section, also of one that hosts name although it is not enabled here: then as it is by default. */
export const memberConfig = ({ members }: MetaConfig, name: MemberName): unknown =>
  members.get(name)?.config ?? MEMBERS[name].parseConfig({});
