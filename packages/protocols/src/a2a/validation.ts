import type { Message } from "@a2a-js/sdk";
import { Role } from "@a2a-js/sdk";
import { ContentTypeNotSupportedError, RequestMalformedError } from "@a2a-js/sdk/errors";
import { isRecord } from "./wire.ts";

const CONTENT_KEYS = ["text", "raw", "url", "data"] as const;

/** Which contents a part has. ProtoJSON's null is as if it were not there; for `data` alone it is a value. */
function contentOf(part: Record<string, unknown>): readonly string[] {
  const given = CONTENT_KEYS.filter((key) => part[key] !== undefined && part[key] !== null);
  return given.length === 0 && Object.hasOwn(part, "data") ? ["data"] : given;
}

/**
 * What the SDK's codec would not notice, or would choke on, in the JSON of a message: parts that are no parts. RequestMalformedError
 * names the field.
 */
export function checkRawMessage(params: unknown): void {
  const message = isRecord(params) ? params["message"] : undefined;
  const parts = isRecord(message) ? message["parts"] : undefined;
  if (!Array.isArray(parts)) return; // missing: noticed later, with its proper error
  for (const [index, part] of (parts as unknown[]).entries()) {
    const field = `message.parts[${index}]`;
    if (!isRecord(part)) throw new RequestMalformedError(`${field} is no object`);
    const given = contentOf(part);
    if (given.length !== 1) throw new RequestMalformedError(`${field} must have exactly one of ${CONTENT_KEYS.join(", ")}`);
    for (const key of ["text", "raw", "url"])
      if (given[0] === key && typeof part[key] !== "string") throw new RequestMalformedError(`${field}.${key} is no string`);
  }
}

/** Throws RequestMalformedError unless all of these are texts: the codecs of 0.3 pass on whatever came. */
export function requireText(fields: Readonly<Record<string, unknown>>): void {
  for (const [field, value] of Object.entries(fields))
    if (typeof value !== "string") throw new RequestMalformedError(`${field} is no string`);
}

const accepted = (mediaType: string): boolean => /^(text\/|application\/(.*\+)?json\b)/i.test(mediaType);

/** The message of a request, when all that must be there is (spec §4.1.4). Throws RequestMalformedError, ContentTypeNotSupportedError. */
export function checkMessage(message: Message | undefined): Message {
  if (message === undefined) throw new RequestMalformedError("message is required");
  const { messageId, contextId, taskId } = message;
  requireText({ messageId, contextId, taskId });
  if (messageId === "") throw new RequestMalformedError("message.messageId is required");
  if (message.role !== Role.ROLE_USER && message.role !== Role.ROLE_AGENT)
    throw new RequestMalformedError("message.role must be ROLE_USER or ROLE_AGENT");
  if (message.parts.length === 0) throw new RequestMalformedError("message.parts must have at least one part");
  for (const { content, mediaType } of message.parts) {
    requireText({ mediaType, text: content?.$case === "text" ? content.value : "" });
    if (content?.$case === "raw" || content?.$case === "url" || (mediaType !== "" && !accepted(mediaType)))
      throw new ContentTypeNotSupportedError(`This agent takes text and JSON data, not files or ${mediaType || "URLs"}`);
  }
  return message;
}
