import type { Clock } from "@failstorm/core";
import type { FastifyInstance } from "fastify";

/**
 * Answers say when they were made (RFC 9110 §6.6.1), as Node's server says it, but without its timer: that one forgets the second's text at the end of the second, which wakes
 * every agent of a machine at one and the same moment of each second.
 */
export function addDateHeader(server: FastifyInstance, clock: Clock): void {
  let second = -1;
  let text = "";
  server.addHook("onSend", (_request, reply, payload, done) => {
    const now = Math.floor(clock.wall() / 1000);
    if (now !== second) {
      second = now;
      text = new Date(now * 1000).toUTCString();
    }
    void reply.header("date", text);
    done(null, payload);
  });
}
