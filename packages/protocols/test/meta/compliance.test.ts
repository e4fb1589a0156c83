import { describe, test } from "vitest";
import { complianceCases } from "../../src/compliance/suite.ts";
import { protocol } from "../../src/meta/protocol.ts";

/** The mix with its defaults is run with all other protocols; here the agent that answers hosts something else than the one that asks, or several. */
const NETWORKS = [
  ["agents that host one protocol each, simple_json asks ANP", { hosts: ["simple_json", "anp"] }],
  ["agents that host A2A and ANP, linked in ANP", { hosts: [["a2a", "anp"]], router: { prefer: ["anp"] } }],
  ["agents that host ACP and Agora", { hosts: [["acp", "agora"]] }],
] as const;

for (const [what, section] of NETWORKS) {
  describe(`[meta-complies] ${what}`, () => {
    const cases = complianceCases({ protocol, module: "meta", section });
    for (const { title, run, timeoutMs } of cases) test(title, run, timeoutMs);
  });
}
