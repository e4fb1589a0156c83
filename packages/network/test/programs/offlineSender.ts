import { systemClock } from "@failstorm/core";
import { createMessagePassing, openOfflineQueue } from "../../src/index.ts";

/*
 * A process to be killed: sends numbered messages to an agent that is offline, and says after each that it is queued. Arguments: the
 * file of the queue, this process's incarnation.
 */
const [file = "", incarnation = "1"] = process.argv.slice(2);
const self = { agentId: "sender", incarnation: Number(incarnation), nodeId: `sender#${incarnation}`, role: "member" };
const messages = createMessagePassing({ self, clock: systemClock, log: () => {}, queue: openOfflineQueue(file) });

/** More than the parent waits for, and less than a queue holds, should the parent be late. */
const MOST = 5_000;
for (let number = 1; number <= MOST; number++) {
  const { status } = await messages.sendCommand("receiver", { number, bytes: new Uint8Array([number]) }, { ttlMs: 3_600_000 });
  if (status !== "queued") throw new Error(status);
  // Not before the kernel has it: what it has no room for, the parent being late, is kept in this process, and dies with it.
  await new Promise((resolve) => process.stdout.write(`${number}\n`, resolve));
}
await systemClock.sleep(60_000);
