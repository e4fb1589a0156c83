import type { Protocol, ProtocolInfo, ReconnectionInfo } from "@failstorm/core";

/** What the suite is run on. */
export interface Subject {
  readonly protocol: Protocol;
  /** The same protocol as `--protocol` takes it (name, path, package): the suite's own processes load it by that. */
  readonly module: string;
  /** Its section of the configuration. */
  readonly section?: unknown;
}

/** What the protocol says of itself, configured as it is tested. */
export function declared({ protocol, section }: Subject): ProtocolInfo & { readonly reconnection: ReconnectionInfo } {
  const config = protocol.parseConfig(section);
  return { ...protocol.getProtocolInfo(config), reconnection: protocol.getReconnectionInfo(config) };
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
