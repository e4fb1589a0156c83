import { InputError } from "@failstorm/core";
import { type Entry, nameEntry } from "./entry.ts";

/** The protocol whose network is made of others, and its section in the configuration. */
export const MIX = "meta";

/** `protocols.a2a.agent_count` of older configurations → `meta.protocols.a2a.agent_count`. */
const OLD_SECTION = /^protocols\.([^.]+)\.(enabled|agent_count)$/;

/** The present name of a key of the older section `protocols`; null when it is no such key. */
export function renameMixKey(path: string): string | null {
  const [, member, key] = OLD_SECTION.exec(path) ?? [];
  return member === undefined || key === undefined ? null : `${MIX}.protocols.${member}.${key}`;
}

/**
 * A configuration that says which protocols are mixed, but not that they are: nothing of it would be used. Where another protocol was
 * asked for on purpose, that is a warning (the text returned); else an InputError.
 */
export function checkMixIsMeant(name: string, entries: ReadonlyMap<string, Entry>): string | null {
  const said = [...entries.values()].find(
    ({ path, origin }) =>
      path.startsWith(`${MIX}.protocols.`) && !(origin.kind === "file" && origin.file === `configs/${MIX}.yaml`),
  );
  if (said === undefined || name === MIX) return null;
  const text = `${nameEntry(said)}: only used when several protocols are mixed; for that give --protocol ${MIX} (scenario.protocol: ${MIX})`;
  if (!entries.has("scenario.protocol")) throw new InputError(text);
  return text;
}

/** How many agents the storm may choose from. Throws InputError when `scenario.kill_protocol` leaves none. */
export function countTargets(
  scenario: { readonly agent_count: number; readonly kill_protocol: string | null },
  hosts: readonly (readonly string[])[] | null,
  entries: ReadonlyMap<string, Entry>,
): number {
  const { agent_count: agents, kill_protocol: wanted } = scenario;
  if (wanted === null) return agents;
  const entry = entries.get("scenario.kill_protocol");
  const named = entry === undefined ? `scenario.kill_protocol ${wanted}` : nameEntry(entry);
  if (hosts === null)
    throw new InputError(`${named}: all agents speak the same protocol, there are none to choose; give --protocol ${MIX}`);
  const targets = hosts.filter((hosted) => hosted.includes(wanted)).length;
  if (targets === 0)
    throw new InputError(`${named}: no agent hosts it; the network has ${[...new Set(hosts.flat())].toSorted().join(", ")}`);
  return targets;
}
