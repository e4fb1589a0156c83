import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { RunError } from "@failstorm/core";

const TIMEOUT_MS = 120_000;

/** A process that answers each order with one message, and says something when it is ready. */
export interface OrderedChild<Order, Answer> {
  readonly ready: Answer;
  /** Throws RunError when the process ends, or takes too long. */
  order(order: Order): Promise<Answer>;
  end(): Promise<void>;
}

async function next<Answer>(child: ChildProcess, name: string): Promise<Answer> {
  const over = new AbortController();
  const signal = AbortSignal.any([over.signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const onExit = (): void => over.abort();
  child.once("exit", onExit);
  try {
    const [answer] = (await once(child, "message", { signal })) as [Answer];
    return answer;
  } catch (cause) {
    throw new RunError("BENCH_CHILD_FAILED", `${name}: ${over.signal.aborted ? "the process has ended" : "no answer"}`, {
      cause,
    });
  } finally {
    child.off("exit", onExit);
  }
}

export async function startChild<Order extends object, Answer>(
  entry: string,
  args: readonly string[],
): Promise<OrderedChild<Order, Answer>> {
  const name = args.join(" ");
  const child = fork(entry, [...args], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const ready = await next<Answer>(child, name);
  return {
    ready,
    order(order) {
      const answer = next<Answer>(child, name);
      child.send(order);
      return answer;
    },
    async end() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
  };
}
