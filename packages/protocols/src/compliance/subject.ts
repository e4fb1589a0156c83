import type { Protocol } from "@failstorm/core";

/** What the suite is run on. */
export interface Subject {
  readonly protocol: Protocol;
  /** The same protocol as `--protocol` takes it (name, path, package): the suite's own processes load it by that. */
  readonly module: string;
  /** Its section of the configuration. */
  readonly section?: unknown;
}

/** One thing that every protocol must do. */
export interface ComplianceCase {
  /** The claim that it verifies. */
  readonly id: string;
  /** `[id] what must hold`. */
  readonly title: string;
  /** Long enough on a busy machine. */
  readonly timeoutMs: number;
  /** Rejects with what does not hold. */
  readonly run: () => Promise<void>;
}
