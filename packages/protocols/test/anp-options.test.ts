import { describe, test } from "vitest";
import { complianceCases } from "../src/compliance/suite.ts";
import { loadProtocol } from "../src/index.ts";

const anp = await loadProtocol("anp");

/** Round trips of a handshake beyond those by default: the prekey bundle, the upgrade. */
const options = [{ section: { e2ee: true, transport: "websocket" }, more: 2 }];

for (const { section, more } of options) {
  const info = anp.getReconnectionInfo();
  const getReconnectionInfo = () => ({ ...info, expectedRoundTrips: info.expectedRoundTrips + more });
  describe(`anp complies with ${JSON.stringify(section)}`, () => {
    const subject = { protocol: { ...anp, getReconnectionInfo }, module: "anp", section };
    for (const { title, run, timeoutMs } of complianceCases(subject)) test(title, run, timeoutMs);
  });
}
