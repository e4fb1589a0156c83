import { describe, test } from "vitest";
import { complianceCases } from "../src/compliance/suite.ts";
import { loadProtocol } from "../src/index.ts";

const anp = await loadProtocol("anp");

for (const section of [{ e2ee: true, transport: "websocket" }]) {
  describe(`anp complies with ${JSON.stringify(section)}`, () => {
    for (const { title, run, timeoutMs } of complianceCases({ protocol: anp, module: "anp", section }))
      test(title, run, timeoutMs);
  });
}
