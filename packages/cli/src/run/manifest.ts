import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Clock, RunConfig } from "@failstorm/core";
import type { MachineDescription } from "@failstorm/orchestrator";
import { redact, redactArgument } from "../config/entry.ts";
import { projectRoot, version } from "../project.ts";

const GIT_PATIENCE_MS = 5000;
const run = promisify(execFile);

/** What was run: which commit, and whether the files differed from it. null where the project is no git checkout. */
async function describeCheckout(): Promise<{ commit: string; dirty: boolean } | null> {
  const git = async (...args: string[]): Promise<string> =>
    (await run("git", ["-C", projectRoot, ...args], { timeout: GIT_PATIENCE_MS })).stdout.trim();
  try {
    const [commit, changes] = await Promise.all([git("rev-parse", "HEAD"), git("status", "--porcelain")]);
    return { commit, dirty: changes !== "" };
  } catch {
    return null;
  }
}

/** `manifest.json`: everything needed to judge and repeat a run. Secrets are replaced. */
export async function describeRun(options: {
  readonly runId: string;
  readonly config: RunConfig;
  readonly machine: MachineDescription;
  readonly argv: readonly string[];
  readonly clock: Clock;
}): Promise<Record<string, unknown>> {
  const { runId, config, machine, argv, clock } = options;
  const { node, v8, uv, openssl } = process.versions;
  return {
    format: "failstorm-manifest",
    version: 1,
    runId,
    startedAt: new Date(clock.wall()).toISOString(),
    versions: { failstorm: version(), node, v8, uv, openssl },
    machine,
    git: await describeCheckout(),
    seed: config.scenario.seed,
    pid: process.pid,
    argv: argv.map(redactArgument),
    config: redact(config),
  };
}
