import { describe, test } from "vitest";
import { complianceCases } from "../src/compliance/suite.ts";
import { loadProtocol, protocolNames } from "../src/index.ts";

for (const name of protocolNames()) {
  const protocol = await loadProtocol(name);
  describe(`${name} complies`, () => {
    for (const { title, run, timeoutMs } of complianceCases({ protocol, module: name })) test(title, run, timeoutMs);
  });
}
