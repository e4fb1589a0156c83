import type { MessageKind, Payload, SendOptions } from "@failstorm/core";
import type { Need } from "./costs.ts";
import type { MemberCapabilities } from "./members.ts";
import type { Demand } from "./router.ts";
import { LARGE } from "./sizes.ts";

export const NEEDS: readonly Need[] = ["encryption", "authentication", "idempotency", "streaming"];
/** Their time is that of the work, of several hops, or of their size. */
const UNTIMED: ReadonlySet<MessageKind> = new Set(["tool", "relay"]);

/** Which needs a protocol meets. */
export const needsOf = (capabilities: MemberCapabilities): ReadonlySet<Need> =>
  new Set(NEEDS.filter((need) => capabilities[need]));

export function charsOf(payload: Payload): number {
  if ("text" in payload) return payload.text.length;
  let chars = 0;
  for (const part of payload.parts) chars += part.kind === "text" ? part.text.length : (JSON.stringify(part.data) ?? "").length;
  return chars;
}

/**
 * What this message needs of the protocol that carries it: what it requires, and what its options show that it would use.
 * `chars`: how many it has; null where size makes no difference, and was not found out.
 */
export function demandOf(chars: number | null, options: SendOptions, largeChars: number): Demand {
  const { requirements, idempotencyKey, onEvent, onAccepted, kind = "tool" } = options;
  const wished: Need[] = [];
  // To be executed once matters more than to be heard of early.
  if (idempotencyKey !== undefined) wished.push("idempotency");
  const streams = onEvent !== undefined || onAccepted !== undefined;
  if (streams) wished.push("streaming");
  const large = chars !== null && chars >= largeChars;
  return {
    kind: large ? kind + LARGE : kind,
    timed: !streams && !UNTIMED.has(kind),
    required: NEEDS.filter((need) => requirements?.[need] === true),
    wished,
    large,
  };
}
