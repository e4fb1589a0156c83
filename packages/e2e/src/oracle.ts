import { readClaims } from "./oracle/claims.ts";
import { compareRun } from "./oracle/compare.ts";
import { observeRun } from "./oracle/observe.ts";
import { formatRows } from "./oracle/table.ts";

/**
 * The oracle: `node packages/e2e/src/oracle.ts [failstorm options…]` makes a run, watches it from outside (the kernel's own word on
 * processes, a packet capture, the schedule file) and compares what it saw with the run's figures: within 2 ms for times, 1 % for
 * bytes. It shares no code with what it checks. Needs Linux, root, tcpdump and python3. Exit codes: 0 all agree, 1 otherwise.
 */
const USAGE = `usage: node packages/e2e/src/oracle.ts [failstorm options…]     for example --agents 8 --seed 7

Makes a run of failstorm over simple_json with these options, watches it from outside (the kernel's word on processes, a packet
capture, the schedule file) and compares what it saw with the run's own figures: times within 2 ms, bytes within 1 %.
Needs Linux, root, tcpdump and python3. Exit codes: 0 all agree, 1 otherwise.
`;

const args = process.argv.slice(2);
if (args.includes("--help") || args.includes("-h")) {
  process.stdout.write(USAGE);
  process.exit(0);
}
try {
  const outside = await observeRun(args);
  const claims = readClaims(outside.runDir);
  const rows = compareRun(claims, outside);
  for (const note of outside.notes) console.log(`note: ${note}`);
  if (claims.metrics.saturated)
    console.log(
      "note: the machine was saturated: what processes stamp themselves comes late then; repeat the run on a quiet one",
    );
  console.log(formatRows(rows));
  const bad = rows.filter(({ verdict }) => verdict === "DISAGREES").length;
  const judged = rows.filter(({ verdict }) => verdict !== "").length;
  console.log(
    bad === 0
      ? `harness and oracle agree on all ${judged} figures of ${outside.runDir}`
      : `harness and oracle disagree on ${bad} of ${judged} figures of ${outside.runDir}`,
  );
  process.exitCode = bad === 0 ? 0 : 1;
} catch (error) {
  console.error(`ERROR ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
