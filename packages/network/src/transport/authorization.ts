import type { AgentId } from "@failstorm/core";
import type { MessageType } from "../messaging/message.ts";

/** For whom something may be done: nobody, the sender itself, the agents named, or anybody. */
export type Scope = "nobody" | "self" | "anybody" | readonly AgentId[];

/**
 * What a role may send, and for whom. Command: whom it may command. StateSync: whose states it may bring. Registration and
 * Deregistration: whom it may announce, or take out of the network. The others: to whom. A type left out: "anybody" for those that change nothing
 * (Query, Response, Heartbeat, Broadcast), "nobody" for the others.
 */
export type RoleRights = Partial<Readonly<Record<MessageType, Scope>>>;

/** Rights by role. A role that is not named may do nothing but what changes nothing. */
export type Policy = Readonly<Record<string, RoleRights>>;

/**
 * member: a full part of the network; it passes on the states of others and who there is, and takes out nobody but itself (a false
 * address it might tell is of little use: whoever is called there has to prove its name). operator: may take others out of the network too.
 * observer: asks, and changes nothing.
 */
export const DEFAULT_POLICY: Policy = {
  member: { Command: "anybody", StateSync: "anybody", Registration: "anybody", Deregistration: "self" },
  operator: { Command: "anybody", StateSync: "anybody", Registration: "anybody", Deregistration: "anybody" },
  observer: { Registration: "self", Deregistration: "self" },
};

const HARMLESS: ReadonlySet<MessageType> = new Set(["Query", "Response", "Heartbeat", "Broadcast"]);

const NO_RIGHTS: RoleRights = {};

function scopeOf(policy: Policy, role: string, type: MessageType): Scope {
  const rights = Object.hasOwn(policy, role) ? (policy[role] ?? NO_RIGHTS) : NO_RIGHTS;
  return rights[type] ?? (HARMLESS.has(type) ? "anybody" : "nobody");
}

/** Whether `sender`, in its role, may send such a message for `subject`. */
export function maySendFor(
  policy: Policy,
  sender: { readonly agentId: AgentId; readonly role: string },
  type: MessageType,
  subject: AgentId,
): boolean {
  const scope = scopeOf(policy, sender.role, type);
  if (scope === "nobody") return false;
  if (scope === "anybody") return true;
  return scope === "self" ? subject === sender.agentId : scope.includes(subject);
}

/** Types of which only the payload says whom they are about: their handlers ask `maySendFor`. */
const ABOUT_OTHERS: ReadonlySet<MessageType> = new Set(["StateSync", "Registration", "Deregistration"]);

/** Whether `receiver` may be sent such a message by `sender` at all. */
export const maySendTo = (
  policy: Policy,
  sender: { readonly agentId: AgentId; readonly role: string },
  type: MessageType,
  receiver: AgentId,
): boolean =>
  ABOUT_OTHERS.has(type) ? scopeOf(policy, sender.role, type) !== "nobody" : maySendFor(policy, sender, type, receiver);
