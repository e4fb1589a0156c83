import { hash } from "node:crypto";
import type { Part, Payload } from "@failstorm/core";
import { canonical, isObject, type JsonObject } from "./json.ts";
import { RpcError } from "./rpc.ts";

/** What a direct message carries (ANP-P3 §6): its content type, and the one member of the body that holds the content. */
export interface Content {
  readonly contentType: string;
  readonly body: JsonObject;
}

const isPart = (value: unknown): value is Part =>
  isObject(value) && ((value["kind"] === "text" && typeof value["text"] === "string") || value["kind"] === "data");

const isParts = (value: unknown): value is Part[] => Array.isArray(value) && value.every(isPart);

/** A JSON payload that is nothing but a list of parts. */
const partsIn = (payload: JsonObject): Part[] | null =>
  isParts(payload["parts"]) && Object.keys(payload).length === 1 ? payload["parts"] : null;

/**
 * Words travel as text/plain, one data object as the application/json payload itself, and anything else as a payload
 * {parts: […]}: ANP has one content per message.
 */
export function contentOf(payload: Payload): Content {
  if ("text" in payload) return { contentType: "text/plain", body: { text: payload.text } };
  const [only, ...more] = payload.parts;
  const alone = only?.kind === "data" && more.length === 0 && isObject(only.data) && partsIn(only.data) === null;
  return { contentType: "application/json", body: { payload: alone ? only.data : { parts: payload.parts } } };
}

/** The parts of an answer: a single text part travels as plain words. */
export function contentOfParts(parts: readonly Part[]): Content {
  const [only, ...more] = parts;
  return contentOf(only?.kind === "text" && more.length === 0 ? { text: only.text } : { parts });
}

export function payloadOf({ contentType, body }: Content): Payload {
  if (contentType === "text/plain") return { text: body["text"] as string };
  const payload = body["payload"] as JsonObject;
  return { parts: partsIn(payload) ?? [{ kind: "data", data: payload }] };
}

export const partsOf = (payload: Payload): readonly Part[] =>
  "text" in payload ? [{ kind: "text", text: payload.text }] : payload.parts;

/** What a body may hold (§6.2). */
const BODY_FIELDS = new Set(["conversation_id", "reply_to_message_id", "annotations", "text", "payload", "payload_b64u"]);

/** Checks the body of a direct message (§6.2, §6.3); throws RpcError. */
export function readContent(contentType: unknown, body: JsonObject): Content {
  const wrong = (message: string): RpcError => new RpcError("direct.invalid_payload_shape", message);
  if (typeof contentType !== "string") throw new RpcError("anp.invalid_params_shape", "meta.content_type is a string");
  const json = contentType === "application/json" || contentType === "application/anp-attachment-manifest+json";
  if (!json && contentType !== "text/plain")
    throw new RpcError("anp.unsupported_content_type", `content type ${contentType.slice(0, 100)} is not supported`);
  for (const key of Object.keys(body))
    if (!BODY_FIELDS.has(key) && !key.startsWith("x_")) throw wrong(`body.${key} is not defined`);
  if (["text", "payload", "payload_b64u"].filter((key) => key in body).length !== 1)
    throw wrong("exactly one of text, payload and payload_b64u");
  for (const key of ["conversation_id", "reply_to_message_id"])
    if (body[key] !== undefined && typeof body[key] !== "string") throw wrong(`body.${key} is a string`);
  if (body["annotations"] !== undefined && !isObject(body["annotations"])) throw wrong("body.annotations is an object");
  if (json ? !isObject(body["payload"]) : typeof body["text"] !== "string")
    throw wrong(json ? `${contentType} has its object in payload` : "text/plain has its words in text");
  return { contentType, body };
}

/** `value` without the member at `path`; shares what it does not change. */
function without(value: JsonObject, [first, ...rest]: readonly string[]): JsonObject {
  if (first === undefined || !(first in value)) return value;
  const { [first]: member, ...others } = value;
  if (rest.length === 0) return others;
  return isObject(member) ? { ...others, [first]: without(member, rest) } : value;
}

/** Above this a digest is kept instead of what was said. */
const MAX_KEPT_CHARS = 16 * 1024;

/** The members of a JSON payload that describe the delivery and not the operation, as paths. */
export type DeliveryMembers = readonly (readonly string[])[];

/** What a sender said with an operation, to be held against what it says with the same operation again. */
export type Said = {
  readonly messageId: string;
  readonly contentType: string;
} & (
  | {
      /** The body in RFC 8785 form. */
      readonly text: string;
    }
  | {
      /** Of what in the body is the operation. */
      readonly digest: string;
    }
);

/** Of what must be the same of a body. */
function digestOfOperation(body: JsonObject, deliveryMembers: DeliveryMembers): string {
  const { annotations: _, ...said } = body;
  const { payload } = said;
  const operation = isObject(payload) ? { ...said, payload: deliveryMembers.reduce(without, payload) } : said;
  return hash("sha256", canonical(operation), "base64");
}

/** What is kept of a message; `text` is its body in RFC 8785 form, where that may be kept. */
export function saidIn(
  { messageId, content, text }: { readonly messageId: string; readonly content: Content; readonly text: string | null },
  deliveryMembers: DeliveryMembers,
): Said {
  const { contentType, body } = content;
  if (text !== null && text.length <= MAX_KEPT_CHARS) return { messageId, contentType, text };
  return { messageId, contentType, digest: digestOfOperation(body, deliveryMembers) };
}

/** Whether two deliveries of one operation are semantically equivalent (P3 §8.4). */
export function isSameOperation(one: Said, other: Said, deliveryMembers: DeliveryMembers): boolean {
  if (one.messageId !== other.messageId || one.contentType !== other.contentType) return false;
  if ("text" in one && "text" in other && one.text === other.text) return true;
  const digest = (said: Said): string =>
    "digest" in said ? said.digest : digestOfOperation(JSON.parse(said.text) as JsonObject, deliveryMembers);
  return digest(one) === digest(other);
}
