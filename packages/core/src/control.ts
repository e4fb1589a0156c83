import type { Roster, ScheduledTask } from "./config.ts";
import type { RunEvent } from "./events.ts";
import type { AgentId } from "./ids.ts";
import type { QueueNode } from "./queue.ts";

/**
 * The control link: newline-delimited JSON over TCP, dialled by the agent. It carries no liveness of peers. When it closes,
 * the agent exits.
 */
export type ToAgent =
  /** Load what the work needs, and report `prepared`. */
  | { readonly type: "roster"; readonly roster: Roster }
  /** Fetch the document from the mesh (the source serves it), index the home shard, report `indexed`. */
  | { readonly type: "broadcast"; readonly t0: number }
  /** Work begins: `t0` is the run's t=0 on CLOCK_MONOTONIC; tasks intended before `loadFromMs` are not part of the run. */
  | {
      readonly type: "start";
      readonly t0: number;
      readonly loadFromMs: number;
      readonly tasks: readonly ScheduledTask[];
      readonly rejoin: boolean;
    }
  /** Of a queue, in place of the roster and the broadcast: who is there. Load what the work needs, and report `prepared`. */
  | { readonly type: "network"; readonly nodes: readonly QueueNode[] }
  /** The queue may begin, or goes on from its journal; t0 is the run's. A coordinator reports `drained` once the queue is closed. */
  | { readonly type: "feed"; readonly t0: number; readonly resumed: boolean }
  /** The question file, which is still being written, is whole up to here; `ended`: it stays so. */
  | { readonly type: "questions"; readonly bytes: number; readonly ended: boolean }
  /** No task is intended after this; finish what is open, then report `drained`. */
  | { readonly type: "drain" }
  /** Write the final events, close, exit 0. */
  | { readonly type: "stop" };

export type FromAgent =
  | {
      readonly type: "hello";
      readonly agentId: AgentId;
      readonly token: string;
      readonly pid: number;
      readonly incarnation: number;
    }
  | { readonly type: "ready"; readonly port: number; readonly rssBytes: number }
  | { readonly type: "prepared" }
  | { readonly type: "indexed"; readonly sha256: string; readonly passages: number }
  /** Sent after a write of the same events to the agent's own file, batched; only for the live view. */
  | { readonly type: "events"; readonly events: readonly RunEvent[] }
  | { readonly type: "drained" }
  /** A coordinator has read the question file so far: whoever writes it may go on. */
  | { readonly type: "taken"; readonly bytes: number }
  /** The agent cannot go on (port taken, disk full, …) and will exit. */
  | { readonly type: "failed"; readonly code: string; readonly message: string };

export const MAX_CONTROL_LINE_BYTES = 64 * 1024 * 1024;
