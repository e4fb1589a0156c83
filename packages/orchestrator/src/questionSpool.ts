import { open, stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import type { SupervisedAgent, Supervisor } from "./supervisor.ts";
import { encodeMessage } from "./control/messages.ts";
import { toRunError } from "./recorder.ts";

/** So far the file may be ahead of its reader; beyond that nothing is read from the stream, and whoever writes to it waits. */
const MAX_AHEAD_BYTES = 256 * 1024;
const DAY_MS = 86_400_000;

/** Questions that come as a stream, kept in a file so that a coordinator which is killed loses none. */
export interface QuestionSpool {
  /** What a coordinator has to know of the file now. */
  state(): string;
  /** Reads the stream to its end, no faster than the coordinator reads the file. Throws RunError, or the signal's reason. */
  run(coordinator: SupervisedAgent, signal: AbortSignal): Promise<void>;
}

export async function openSpool(options: {
  readonly input: Readable;
  readonly path: string;
  readonly supervisor: Supervisor;
  readonly now: () => number;
}): Promise<QuestionSpool> {
  const { input, path, supervisor, now } = options;
  let bytes = (await stat(path).catch(() => ({ size: 0 }))).size;
  let ended = false;
  const state = (): string => encodeMessage({ type: "questions", bytes, ended });
  const tell = ({ life }: SupervisedAgent): void => {
    if (life.kind === "live") life.link.send(state());
  };

  const fill = async (coordinator: SupervisedAgent, signal: AbortSignal): Promise<void> => {
    const taken = (): number => coordinator.said.get("taken")?.bytes ?? 0;
    await using file = await open(path, "a");
    const append = async (chunk: Uint8Array): Promise<void> => {
      await file.appendFile(chunk);
      bytes += chunk.byteLength;
      tell(coordinator);
    };
    // The stream of an earlier run may have ended within a line.
    if (bytes > 0) await append(Buffer.from("\n"));
    for await (const chunk of input.iterator({ destroyOnReturn: true })) {
      await append(typeof chunk === "string" ? Buffer.from(chunk) : (chunk as Uint8Array));
      const caughtUp = (): boolean => bytes - taken() <= MAX_AHEAD_BYTES;
      while (!(await supervisor.waiting.until(caughtUp, now() + DAY_MS, signal)));
    }
    ended = true;
    tell(coordinator);
  };

  return {
    state,
    async run(coordinator, signal) {
      // A stream that nobody writes to would hold up the end of the run.
      const onAbort = (): void => void input.destroy();
      signal.addEventListener("abort", onAbort, { once: true });
      try {
        await fill(coordinator, signal);
      } catch (error) {
        signal.throwIfAborted();
        throw toRunError(error, "questions cannot be kept");
      } finally {
        signal.removeEventListener("abort", onAbort);
      }
    },
  };
}
