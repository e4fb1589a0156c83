import { describe, test } from "vitest";
import { protocol } from "../src/agora/protocol.ts";
import { complianceCases } from "../src/compliance/suite.ts";

// With its defaults, most of the suite's messages are rare enough to go in natural language.
describe("agora complies when every message goes by hash", () => {
  const subject = { protocol, module: "agora", section: { frequent_after: 0, document_store: "memory" } };
  for (const { title, run, timeoutMs } of complianceCases(subject)) test(title, run, timeoutMs);
});
