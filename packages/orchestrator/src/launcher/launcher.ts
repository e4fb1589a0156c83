import type { Address, AgentId, ProcessSpec } from "@failstorm/core";

/** How a process ended: its exit code, or the signal that ended it. */
export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** One started agent process, wherever it runs. */
export interface LaunchedAgent {
  readonly id: AgentId;
  readonly pid: number;
  /** Where it was told to listen; port 0 until it says which one it got (its `ready`). */
  readonly address: Address;
  /** Sends a signal, with nothing in between; false when there is no such process any more. */
  signal(name: NodeJS.Signals): boolean;
  /** SIGKILLs the process and whatever it has started. */
  destroy(): Promise<void>;
  /** Never rejects. */
  readonly exited: Promise<Exit>;
}

/** Starts agents. Nothing above it knows where they run. */
export interface Launcher {
  /** Resolves when the process exists (not when it is ready). Throws RunError when it cannot be started. */
  start(spec: ProcessSpec): Promise<LaunchedAgent>;
  /** Runs `entry` to its end, so that what it loads is compiled before the agents need it. Whether it succeeds is of no consequence. */
  warmUp?(entry: string, protocols: readonly string[], signal: AbortSignal): Promise<void>;
  /** Frees what the launcher itself holds; called when all its agents are gone. */
  close(): Promise<void>;
}
