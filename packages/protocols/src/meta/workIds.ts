import { isMember, type MemberName } from "./members.ts";

/** Work is known by the protocol that does it and by its id there. */
export const workIdOf = (name: MemberName, workId: string): string => `${name}:${workId}`;

/** The reverse; an id of some other origin belongs to none of them. */
export function readWorkId(workId: string): { readonly name: MemberName | null; readonly id: string } {
  const colon = workId.indexOf(":");
  const name = workId.slice(0, Math.max(colon, 0));
  return isMember(name) ? { name, id: workId.slice(colon + 1) } : { name: null, id: workId };
}
