import { encodeMessage } from "./control/messages.ts";
import type { Storm } from "./storm.ts";
import type { Supervisor } from "./supervisor.ts";

export interface StopGrace {
  /** From `stop` to SIGTERM, ms. */
  readonly stopMs: number;
  /** From SIGTERM to SIGKILL, ms. */
  readonly termMs: number;
}

/** How often SIGKILL is repeated to what does not go (it is bound to, once the kernel lets it). */
const KILL_REPEAT_MS = 2000;

/** Ends every agent: asks, insists, kills. Resolves only when all processes are gone. */
export async function stopAll(supervisor: Supervisor, storm: Storm, grace: StopGrace): Promise<void> {
  await supervisor.stopping();
  storm.clear();
  const stop = encodeMessage({ type: "stop" });
  const told = new Set<number>();
  for (const { life } of supervisor.live) {
    life.link.send(stop);
    told.add(life.child.process.pid);
  }
  // One that is not up yet cannot be asked.
  for (const process of supervisor.remaining) if (!told.has(process.pid)) process.signal("SIGTERM");
  if (await supervisor.allGone(grace.stopMs)) return;
  for (const process of supervisor.remaining) process.signal("SIGTERM");
  if (await supervisor.allGone(grace.termMs)) return;
  do {
    const left = supervisor.remaining;
    supervisor.warn(`killed, since they did not end when told to: ${left.map(({ id }) => id).join(", ")}`);
    await Promise.all(left.map((process) => process.destroy()));
  } while (!(await supervisor.allGone(KILL_REPEAT_MS)));
}

const running = new Set<Supervisor>();

/** Makes the agents of a run known to `killAllNow` until the returned function is called. */
export function registerRun(supervisor: Supervisor): () => void {
  running.add(supervisor);
  return () => void running.delete(supervisor);
}

/** SIGKILLs every agent of every run of this process, at once and synchronously; for a second Ctrl-C. */
export function killAllNow(): void {
  for (const supervisor of running) for (const process of supervisor.remaining) process.signal("SIGKILL");
}
