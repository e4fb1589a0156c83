import { readFileSync } from "node:fs";
import path from "node:path";
import { InputError } from "@failstorm/core";
import { describe, expect, test } from "vitest";
import { loadProtocol } from "../../src/index.ts";
import { capabilitiesOf, MEMBER_NAMES, MEMBERS, roundTripsOf } from "../../src/meta/members.ts";
import { protocol } from "../../src/meta/protocol.ts";

const hosts = (section: unknown, agentCount: number): string =>
  protocol
    .hosts(protocol.parseConfig(section), agentCount)
    .map((own) => own.join("+"))
    .join(" ");

const counts = (given: Readonly<Record<string, number>>): object => ({
  protocols: Object.fromEntries(Object.entries(given).map(([name, agent_count]) => [name, { agent_count }])),
});

describe("who hosts what", () => {
  test.each([
    ["two each by default", {}, 8, "a2a acp agora anp a2a acp agora anp"],
    ["in turn for other numbers", {}, 6, "a2a acp agora anp a2a acp"],
    [
      "only those that are enabled",
      { protocols: { acp: { enabled: false }, anp: { enabled: false } } },
      4,
      "a2a agora a2a agora",
    ],
    [
      "the control group where it is asked for",
      { protocols: { simple_json: { enabled: true } } },
      5,
      "a2a acp agora anp simple_json",
    ],
    ["as many as said", counts({ a2a: 3, acp: 1, agora: 1, anp: 1 }), 6, "a2a acp agora anp a2a a2a"],
    ["what is left in equal shares", counts({ a2a: 4 }), 8, "a2a acp agora anp a2a acp a2a a2a"],
    ["agent by agent", { hosts: [["a2a", "acp"], "anp"] }, 2, "a2a+acp anp"],
    [
      "agent by agent, repeated where it goes evenly",
      { hosts: [["a2a", "acp"], "simple_json"] },
      4,
      "a2a+acp simple_json a2a+acp simple_json",
    ],
  ])("[meta-hosts] %s", (_what, section, agentCount, expected) => {
    expect(hosts(section, agentCount)).toBe(expected);
  });

  test.each([
    [
      "counts that make more",
      counts({ a2a: 3, acp: 3, agora: 3, anp: 3 }),
      8,
      /agent_count: a2a 3 \+ acp 3 \+ agora 3 \+ anp 3 are 12 agents, and there are 8; change the counts, or say --agents 12/,
    ],
    ["counts that make fewer", counts({ a2a: 1, acp: 1, agora: 1, anp: 1 }), 8, /are 4 agents, and there are 8/],
    [
      "counts that leave nothing for the others",
      counts({ a2a: 4, acp: 4 }),
      8,
      /a2a 4 \+ acp 4 leave none of 8 agents for agora, anp; give more agents, or disable/,
    ],
    [
      "lists that do not go into the agents",
      { hosts: [["a2a"], ["acp"], ["anp"]] },
      8,
      /meta\.hosts: 3 entries for 8 agents; give one for each/,
    ],
  ])("[meta-hosts] what does not fit so many agents is bad input: %s", (_what, section, agentCount, message) => {
    expect(() => hosts(section, agentCount)).toThrow(message);
    expect(() => hosts(section, agentCount)).toThrow(InputError);
  });
});

describe("the section", () => {
  test.each([
    [{ protocol: {} }, /^meta\.protocol: unknown key; known are protocols, hosts, router/],
    [{ protocols: { mcp: {} } }, /^meta\.protocols\.mcp: no such protocol; choose from a2a, acp, agora, anp, simple_json/],
    [{ protocols: { a2a: { count: 2 } } }, /^meta\.protocols\.a2a\.count: unknown key; known are enabled, agent_count, config/],
    [{ protocols: { a2a: { enabled: "yes" } } }, /^meta\.protocols\.a2a\.enabled: say true or false, not "yes"/],
    [{ protocols: { a2a: { agent_count: 0 } } }, /^meta\.protocols\.a2a\.agent_count: 0 .*meta\.protocols\.a2a\.enabled: false/],
    [{ protocols: { a2a: { agent_count: 1.5 } } }, /^meta\.protocols\.a2a\.agent_count: 1\.5 is not a whole number from 1 up/],
    [{ protocols: [] }, /^meta\.protocols: expected a section with keys, not \[\]/],
    [
      { protocols: Object.fromEntries(["a2a", "acp", "agora", "anp"].map((name) => [name, { enabled: false }])) },
      /^meta\.protocols: all are disabled; enable at least one of a2a/,
    ],
    [{ protocols: { anp: { config: { no_such: 1 } } } }, /^meta\.protocols\.anp\.config\.no_such: /],
    [{ protocols: { acp: { enabled: false, config: { mode: "fast" } } } }, /^meta\.protocols\.acp\.config\.mode: /],
    [{ hosts: [] }, /^meta\.hosts: \[\] says of no agent what it hosts; expected an entry for each/],
    [{ hosts: "a2a+" }, /^meta\.hosts\[0\]: "" is no protocol/],
    [{ hosts: { 0: "a2a" } }, /^meta\.hosts: \{"0":"a2a"\} says of no agent/],
    [{ hosts: [["a2a"], []] }, /^meta\.hosts\[1\]: an agent hosts at least one protocol/],
    [{ hosts: [["a2a", "http"]] }, /^meta\.hosts\[0\]: "http" is no protocol/],
    [{ hosts: [["a2a", "a2a"]] }, /^meta\.hosts\[0\]: a2a, a2a names one twice/],
    [
      { hosts: [["a2a"]], protocols: { a2a: { enabled: false } } },
      /^meta\.hosts\[0\]: a2a is disabled; remove it, or say meta\.protocols\.a2a\.enabled: true/,
    ],
    [{ hosts: [["a2a"]], ...counts({ a2a: 1 }) }, /^meta\.protocols\.a2a\.agent_count: 1 is not used where meta\.hosts says/],
    [{ router: { per: "agent" } }, /^meta\.router\.per: "agent" is none of message, kind, link/],
    [{ router: { prefer: ["mcp"] } }, /^meta\.router\.prefer: "mcp" is none of a2a/],
    [{ router: { require: "authentication" } }, /^meta\.router\.require: expected a list of encryption, authentication, /],
    [{ router: { require: ["speed"] } }, /^meta\.router\.require: "speed" is none of encryption, authentication, /],
    [
      { router: { require: ["authentication"] } },
      /^meta\.router\.require: no protocol of an agent that hosts a2a has authentication \(anp would, as configured\); let each agent/,
    ],
    [
      { hosts: [["a2a", "anp"]], router: { require: ["encryption", "authentication"] } },
      /an agent that hosts a2a, anp has encryption and authentication \(none would, as configured\)/,
    ],
    [{ router: { margin: 1 } }, /^meta\.router\.margin: 1 is not a number from 0\.01 to 0\.99/],
    [{ router: { dwell: -1 } }, /^meta\.router\.dwell: -1 is not a number from 0 up \(seconds\)/],
    [{ router: { explore_every: 1 } }, /^meta\.router\.explore_every: 1 leaves no message .*give 2 or more, or 0 for none/],
    [{ protocols: { acp: { enabled: false, agent_count: "two" } } }, /^meta\.protocols\.acp\.agent_count: "two" is not a whole/],
    [{ router: { explore_every: 0.5 } }, /^meta\.router\.explore_every: 0\.5 is not a whole number/],
  ])("[meta-config] %j is bad input that names key, value and remedy", (section, message) => {
    expect(() => protocol.parseConfig(section)).toThrow(message);
    expect(() => protocol.parseConfig(section)).toThrow(InputError);
  });

  test("[meta-config] configs/meta.yaml says the router's defaults, each of them", () => {
    const text = readFileSync(path.join(import.meta.dirname, "../../../../configs/meta.yaml"), "utf8");
    const lines = [...text.slice(text.indexOf("  router:\n")).matchAll(/^    (\w+): (.+)$/gm)];
    const router = Object.fromEntries(
      lines.map(([, key = "", value = ""]) => [key, value === "message" ? value : JSON.parse(value)]),
    );
    expect(Object.keys(router)).toEqual([
      "per",
      "require",
      "prefer",
      "dwell",
      "margin",
      "bytes_margin",
      "loss_penalty",
      "explore_every",
      "large",
    ]);
    expect(protocol.parseConfig({ router })).toEqual(protocol.parseConfig({}));
  });
});

describe("what is said of the mix", () => {
  test.each(MEMBER_NAMES.map((name) => [name] as const))("[meta-facts] %s is what it says itself", async (name) => {
    const itself = await loadProtocol(name);
    const { capabilities, roundTrips, load } = MEMBERS[name];
    expect(capabilities).toEqual(itself.getProtocolInfo().capabilities);
    expect(roundTrips).toBe(itself.getReconnectionInfo().expectedRoundTrips);
    expect(await load()).toBe(itself);
  });

  test.each([
    ["anp", { negotiate: true, transport: "websocket" }],
    ["anp", { challenge: true, e2ee: true }],
    ["a2a", { bearer_tokens: { a: "t" } }],
    ["simple_json", { idempotency: false }],
  ] as const)("[meta-facts] %s with %j is what it says itself", async (name, section) => {
    const itself = await loadProtocol(name);
    const config = itself.parseConfig(section);
    const { encryption: _, ...capabilities } = capabilitiesOf(name, config);
    expect(capabilities).toEqual(itself.getProtocolInfo(config).capabilities);
    expect(roundTripsOf(name, config)).toBe(itself.getReconnectionInfo(config).expectedRoundTrips);
  });

  const told = (section: unknown) => protocol.getProtocolInfo(protocol.parseConfig(section));
  const has = (section: unknown): string =>
    Object.entries(told(section).capabilities)
      .flatMap(([flag, can]) => (can ? [flag] : []))
      .join(" ");

  test.each([
    ["all four", {}, ""],
    ["what both have", { hosts: ["a2a", "acp"] }, "streaming cancel resume"],
    [
      "what one or the other of an agent's protocols has",
      { hosts: [["a2a", "anp"]] },
      "streaming cancel resume idempotency authentication",
    ],
    [
      "what its configuration takes away",
      { hosts: ["anp", "simple_json"], protocols: { simple_json: { config: { idempotency: false } } } },
      "",
    ],
    [
      "what its configuration adds",
      { hosts: ["anp", "a2a"], protocols: { a2a: { config: { bearer_tokens: { a: "t" } } } } },
      "authentication",
    ],
  ])("[meta-info] the mix has what every agent has: %s", (_what, section, expected) => {
    expect(has(section)).toBe(expected);
  });

  test("[meta-info] its probes are native where all are, and by protocol it says which", () => {
    expect(told({ hosts: ["acp", "simple_json"] }).heartbeat).toBe("native");
    expect(protocol.getProtocolInfo().heartbeat).toBe("added");
    expect(protocol.getProtocolInfo().features).toContain("probes: native with ACP, added with A2A, Agora, ANP");
  });

  test("[meta-info] a reconnection takes no more round trips than that of the slowest", () => {
    expect(protocol.getReconnectionInfo().expectedRoundTrips).toBe(2);
    expect(protocol.getReconnectionInfo(protocol.parseConfig({ hosts: ["a2a", "agora"] })).expectedRoundTrips).toBe(1);
    const negotiating = protocol.parseConfig({ protocols: { anp: { config: { negotiate: true } } } });
    expect(protocol.getReconnectionInfo(negotiating).expectedRoundTrips).toBe(3);
  });
});
