import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { InputError } from "@failstorm/core";
import { afterEach, describe, expect, it } from "vitest";
import { checkPorts } from "../src/index.ts";
import { testConfig } from "./fixtures/plan.ts";

const open: ReturnType<typeof createServer>[] = [];
const occupy = async (): Promise<number> => {
  const server = createServer();
  open.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
};
const choose = (basePort: number, agentCount: number) =>
  checkPorts(testConfig("out", { scenario: { agentCount }, network: { basePort } }));

describe("checkPorts", () => {
  afterEach(() => open.splice(0).forEach((server) => server.close()));

  it("takes ports from the base up and says which it skipped", async () => {
    const taken = await occupy();
    const { ports, skipped } = await choose(taken, 2);
    expect(skipped[0]).toEqual({ port: taken, reason: "EADDRINUSE" });
    expect(ports).toHaveLength(2);
    expect(ports.every((port) => port > taken)).toBe(true);
  });

  it("are any free ones when the base is 0, out of the range of outgoing connections", async () => {
    const { ports, skipped } = await choose(0, 3);
    expect(new Set(ports).size).toBe(3);
    expect(Math.min(...ports)).toBeGreaterThanOrEqual(10_000);
    expect(Math.max(...ports)).toBeLessThan(32_768);
    expect(skipped).toEqual([]);
  });

  it("names option, value and remedy when the range is full", async () => {
    const refused = choose(65_535, 2);
    await expect(refused).rejects.toBeInstanceOf(InputError);
    await expect(refused).rejects.toThrow(/network\.base_port.*65535.*2 agents.*0 for any/);
  });
});
