import { type AgentId, type FromAgent, MAX_CONTROL_LINE_BYTES, RunError, type RunEvent, type ToAgent } from "@failstorm/core";
import { runEventSchema } from "@failstorm/core/events.ts";

/** The longest line accepted from an agent, in characters. */
export const MAX_ACCEPTED_LINE = 8 * 1024 * 1024;

/** One line of the control link; encode once to send to many. Throws RunError when it is longer than an agent would take. */
export function encodeMessage(message: ToAgent): string {
  const line = `${JSON.stringify(message)}\n`;
  const bytes = Buffer.byteLength(line);
  if (bytes > MAX_CONTROL_LINE_BYTES) {
    throw new RunError(
      "CONTROL_LINE_TOO_LONG",
      `the ${message.type} message for the agents has ${bytes} bytes, more than ${MAX_CONTROL_LINE_BYTES}; ` +
        "lower tasks.rate, scenario.runtime or the number of agents",
    );
  }
  return line;
}

type Fields = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isText = (value: unknown): boolean => typeof value === "string";

/** What makes each kind of message well-formed; the events of a batch are checked one by one (see `genuineEvents`). */
const WELL_FORMED: Readonly<Record<FromAgent["type"], (message: Fields) => boolean>> = {
  hello: (m) => isText(m["agentId"]) && isText(m["token"]) && isCount(m["pid"]) && isCount(m["incarnation"]),
  ready: (m) => isCount(m["port"]) && (m["port"] as number) <= 65_535 && typeof m["rssBytes"] === "number",
  prepared: () => true,
  indexed: (m) => isText(m["sha256"]) && isCount(m["passages"]),
  events: (m) => Array.isArray(m["events"]),
  drained: () => true,
  taken: (m) => isCount(m["bytes"]),
  failed: (m) => isText(m["code"]) && isText(m["message"]),
};

/** The message in a line, or null when it is none. */
export function decodeMessage(line: string): FromAgent | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (!isObject(value)) return null;
  const type = value["type"];
  if (typeof type !== "string" || !Object.hasOwn(WELL_FORMED, type)) return null;
  return WELL_FORMED[type as FromAgent["type"]](value) ? (value as FromAgent) : null;
}

/** Those of a batch that are run events of `agentId` itself. */
export const genuineEvents = (batch: readonly unknown[], agentId: AgentId): RunEvent[] =>
  batch.flatMap((value) => {
    const { success, data } = runEventSchema.safeParse(value);
    return success && data.src === agentId ? [data] : [];
  });
