import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { RunError, type Traffic } from "@failstorm/core";
import type { BenchContext } from "./bench.ts";
import type { PairAnswer, PairOrder, PairSpec } from "./protocolProcess.ts";

const ENTRY = fileURLToPath(new URL("./protocolProcess.ts", import.meta.url));
const TIMEOUT_MS = 120_000;
/** Sends per turn: one by one, then at once. */
const ONE_BY_ONE = 300;
const AT_ONCE = 1200;
const CONCURRENCY = 32;
const WARM_UPS = 2;

/** One turn of a pair. */
export interface Turn {
  readonly p50Ms: number;
  readonly perSecond: number;
  /** CPU time of a send, µs. */
  readonly callerUs: number;
  readonly calleeUs: number;
  readonly traffic: Traffic | null;
}

class PairProcess {
  private readonly child: ChildProcess;
  private readonly name: string;
  private waiting: { resolve: (answer: PairAnswer) => void; reject: (error: Error) => void } | null = null;

  constructor(spec: PairSpec) {
    this.name = `${spec.protocol ?? spec.rival} (${spec.role})`;
    mkdirSync(path.join(spec.workspaceDir, spec.role === "caller" ? "agent-0" : "agent-1"), { recursive: true });
    this.child = fork(ENTRY, [JSON.stringify(spec)], {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      env: { ...process.env, NODE_ENV: "production" },
    });
    this.child.on("message", (answer: PairAnswer) => this.waiting?.resolve(answer));
    this.child.once("exit", () => this.waiting?.reject(this.failure("the process has ended")));
  }

  /** The next answer, which must be of this kind; throws RunError when it is not, or does not come. */
  async next<Type extends PairAnswer["type"]>(type: Type): Promise<Extract<PairAnswer, { type: Type }>> {
    const { promise, resolve, reject } = Promise.withResolvers<PairAnswer>();
    this.waiting = { resolve, reject };
    const late = AbortSignal.timeout(TIMEOUT_MS);
    late.addEventListener("abort", () => reject(this.failure(`did not say "${type}" in time`)));
    const answer = await promise;
    this.waiting = null;
    if (answer.type === type) return answer as Extract<PairAnswer, { type: Type }>;
    throw this.failure(answer.type === "failed" ? answer.message : `said ${answer.type} instead of ${type}`);
  }

  private failure(why: string): RunError {
    return new RunError("BENCH_PAIR_FAILED", `${this.name}: ${why}`);
  }

  order<Type extends PairAnswer["type"]>(order: PairOrder, type: Type): Promise<Extract<PairAnswer, { type: Type }>> {
    const answer = this.next(type);
    this.child.send(order);
    return answer;
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await exited;
  }
}

/** Two processes of one protocol, one of which asks the other. */
export interface Pair {
  turn(): Promise<Turn>;
  end(): Promise<void>;
}

/** Starts a pair, lets the two meet, and warms their code. */
export async function startPair(
  {
    label,
    protocol,
    rival = "raw",
    section,
  }: {
    readonly label: string;
    readonly protocol: string | null;
    readonly rival?: PairSpec["rival"];
    readonly section: unknown;
  },
  { workDir, clock }: BenchContext,
): Promise<Pair> {
  const workspaceDir = path.join(workDir, `protocols-${clock.wall()}-${label}`);
  const callee = new PairProcess({ role: "callee", protocol, rival, section, workspaceDir });
  const caller = new PairProcess({ role: "caller", protocol, rival, section, workspaceDir });
  const end = async (): Promise<void> => {
    await Promise.all([caller.end(), callee.end()]);
    rmSync(workspaceDir, { recursive: true, force: true });
  };
  const cpu = async (): Promise<{ caller: number; callee: number }> => ({
    caller: (await caller.order({ type: "cpu" }, "cpu")).ms,
    callee: (await callee.order({ type: "cpu" }, "cpu")).ms,
  });
  const turn = async (): Promise<Turn> => {
    const before = await cpu();
    const order = { type: "measure", oneByOne: ONE_BY_ONE, atOnce: AT_ONCE, concurrency: CONCURRENCY } as const;
    const { p50Ms, perSecond, traffic } = await caller.order(order, "measured");
    const after = await cpu();
    const perSend = (ms: number): number => (ms * 1000) / (ONE_BY_ONE + AT_ONCE);
    return {
      p50Ms,
      perSecond,
      traffic,
      callerUs: perSend(after.caller - before.caller),
      calleeUs: perSend(after.callee - before.callee),
    };
  };
  try {
    const [{ address }, { address: back }] = await Promise.all([callee.next("listening"), caller.next("listening")]);
    await callee.order({ type: "meet", peer: back }, "met");
    await caller.order({ type: "meet", peer: address }, "met");
    for (let i = 0; i < WARM_UPS; i++) await turn();
  } catch (error) {
    await end();
    throw error;
  }
  return { turn, end };
}
