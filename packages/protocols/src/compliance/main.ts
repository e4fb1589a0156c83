import { InputError } from "@failstorm/core";
import { loadProtocol, locateProtocol } from "../registry.ts";
import { within } from "./expectations.ts";
import { complianceCases } from "./suite.ts";

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${describe(error.cause)}`;
}

/**
 * Runs the compliance suite on a protocol by its name, path or package: `node packages/protocols/src/compliance/main.ts ./my-protocol.ts`.
 * Exit codes: 0 all cases passed, 1 some did not, 2 bad input.
 */
async function main(given: string | undefined): Promise<number> {
  if (given === undefined) throw new InputError("usage: node packages/protocols/src/compliance/main.ts PROTOCOL");
  const module = locateProtocol(given);
  const cases = complianceCases({ protocol: await loadProtocol(module), module });
  const stray: unknown[] = [];
  process.on("unhandledRejection", (error) => stray.push(error));
  let failed = 0;
  for (const { title, run, timeoutMs } of cases) {
    try {
      await within(title, timeoutMs, run());
      if (stray.length > 0) throw new Error("a rejection that nobody handled", { cause: stray.pop() });
      process.stdout.write(`ok      ${title}\n`);
    } catch (error) {
      failed++;
      process.stdout.write(`FAILED  ${title}\n        ${describe(error)}\n`);
    }
  }
  process.stdout.write(`${cases.length - failed} of ${cases.length} cases passed\n`);
  return failed === 0 ? 0 : 1;
}

try {
  process.exit(await main(process.argv[2]));
} catch (error) {
  if (!(error instanceof InputError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(2);
}
