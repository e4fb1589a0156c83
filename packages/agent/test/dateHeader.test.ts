import { FakeClock } from "@failstorm/core";
import fastify from "fastify";
import { expect, test } from "vitest";
import { addDateHeader } from "../src/dateHeader.ts";

test("answers say when they were made, once each", async () => {
  const clock = new FakeClock(Date.UTC(2026, 10, 23, 4, 5, 6, 999));
  const server = fastify();
  addDateHeader(server, clock);
  server.get("/", async () => "");
  const url = await server.listen({ host: "127.0.0.1", port: 0 });
  const dated = async (): Promise<string | null> => (await fetch(url)).headers.get("date");
  try {
    expect(await dated()).toBe("Mon, 23 Nov 2026 04:05:06 GMT");
    await clock.advance(1);
    expect(await dated()).toBe("Mon, 23 Nov 2026 04:05:07 GMT");
  } finally {
    await server.close();
  }
});
