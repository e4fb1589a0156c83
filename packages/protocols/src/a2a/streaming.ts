import { Readable } from "node:stream";
import type { FastifyReply } from "fastify";
import { formatEvent } from "./sse.ts";

async function* formatted<T>(first: T, rest: AsyncGenerator<T>): AsyncGenerator<string> {
  yield formatEvent(first);
  for await (const event of rest) yield formatEvent(event);
}

/**
 * Sends events as a stream of server-sent events, no faster than they are read; aborts `gone` when their reader is. When the first is
 * an error, it is the whole answer and is sent as plain JSON. `events` must not throw.
 */
export async function sendEvents<T>(
  reply: FastifyReply,
  gone: AbortController,
  events: AsyncGenerator<T>,
  isError: (event: T) => boolean,
): Promise<FastifyReply> {
  reply.raw.once("close", () => gone.abort());
  const first = await events.next();
  if (first.done === true) return reply.type("text/event-stream").send("");
  if (isError(first.value)) return reply.send(first.value);
  reply.type("text/event-stream").header("cache-control", "no-cache");
  return reply.send(Readable.from(formatted(first.value, events)));
}
