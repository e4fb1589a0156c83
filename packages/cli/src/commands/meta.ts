import { InputError } from "@failstorm/core";
import { nameEntry } from "../config/entry.ts";
import { MIX } from "../config/mix.ts";
import { type RunRequest, run } from "./run.ts";

/** `failstorm meta`: the run of `failstorm --protocol meta`, by the same code. Returns the exit code. */
export function meta(request: RunRequest): Promise<number> {
  const other = request.flags.find(({ path }) => path === "scenario.protocol");
  if (other !== undefined && other.value !== MIX)
    throw new InputError(`${nameEntry(other)}: failstorm meta runs the protocol ${MIX}; leave the option or the command out`);
  const flags = request.flags.filter((entry) => entry !== other);
  const chosen = { path: "scenario.protocol", value: MIX, origin: { kind: "flag", name: "failstorm meta: --protocol" } } as const;
  return run({ ...request, flags: [...flags, chosen] });
}
