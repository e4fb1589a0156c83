import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** What the process watcher says, one JSON object a line; `t` is CLOCK_MONOTONIC in ms. */
export type Sighting =
  | { readonly ev: "ready" }
  | { readonly ev: "end"; readonly t: number }
  | { readonly ev: "note"; readonly text: string }
  /** CLOCK_REALTIME − CLOCK_MONOTONIC (ns, a decimal string), read within `widthMs`. */
  | { readonly ev: "offset"; readonly t: number; readonly offsetNs: string; readonly widthMs: number }
  /** An agent's process was found; `spec` is the path of its specification in the run's folder. */
  | { readonly ev: "agent"; readonly t: number; readonly agent: string; readonly pid: number; readonly spec: string }
  | { readonly ev: "listen"; readonly t: number; readonly pid: number; readonly port: number }
  /** A connection that this process opened to an agent's port. */
  | { readonly ev: "socket"; readonly t: number; readonly pid: number; readonly local: number; readonly remote: number }
  /** The kernel stamped the end of a thread; `code` as in wait(2). */
  | { readonly ev: "thread_exit"; readonly t: number; readonly pid: number; readonly thread: number; readonly code: number }
  /** The pidfd became readable: the whole process is gone, memory and sockets included. */
  | { readonly ev: "exit"; readonly t: number; readonly pid: number };

export interface Watcher {
  /** Begins with the children of this process. */
  watch(orchestratorPid: number): void;
  /** Ends the watch and returns all that was seen. */
  stop(): Promise<readonly Sighting[]>;
}

const SCRIPT = new URL("./watchProcesses.py", import.meta.url).pathname;

/** Starts the watcher (python3, standard library only: Node has no pidfd). Throws with the remedy when it cannot be run. */
export async function startWatcher(): Promise<Watcher> {
  const child = spawn("python3", ["-u", SCRIPT], { stdio: ["pipe", "pipe", "pipe"] });
  const sightings: Sighting[] = [];
  const complaints: string[] = [];
  child.stderr.setEncoding("utf8").on("data", (text: string) => complaints.push(text));
  // A watcher that died is told of when it is stopped.
  child.stdin.on("error", () => {});
  const lines = createInterface({ input: child.stdout });
  const ready = Promise.withResolvers<void>();
  lines.on("line", (line) => {
    const sighting = JSON.parse(line) as Sighting;
    if (sighting.ev === "ready") ready.resolve();
    sightings.push(sighting);
  });
  const closed = once(child, "close").catch((cause: unknown) => {
    throw new Error("python3 cannot be started: install it (Debian: apt-get install python3)", { cause });
  });
  await Promise.race([ready.promise, closed]);
  const died = (): Error => new Error(`the process watcher failed (it needs root and python3 ≥ 3.9): ${complaints.join("")}`);
  if (sightings.length === 0) throw died();
  return {
    watch: (orchestratorPid) => child.stdin.write(`${orchestratorPid}\n`),
    async stop() {
      child.stdin.end();
      await closed;
      if (sightings.at(-1)?.ev !== "end") throw died();
      return sightings;
    },
  };
}
