import path from "node:path";
import { GenerationLog } from "./generationLog.ts";

/** Older or newer signatures are refused (ANP-02 §3.2.1: 1 to 5 minutes), so that a nonce may be forgotten after that. */
export const SIGNATURE_WINDOW_S = 300;
/** How far ahead a signer's clock may be. */
export const CLOCK_SKEW_S = 60;

const GENERATION_MS = (SIGNATURE_WINDOW_S + 2 * CLOCK_SKEW_S) * 1000;

export interface NonceRecord {
  /** Notes a signature's nonce; false when it was seen before, by this process or one before it. */
  use(keyid: string, nonce: string): boolean;
  close(): void;
}

/** Nonces of accepted signatures, for as long as their signatures could be accepted again (ANP-02 §7.2). */
export function openNonceRecord(workspaceDir: string, agentId: string, now: () => number): NonceRecord {
  let current = new Set<string>();
  let older = new Set<string>();
  const log = new GenerationLog({
    file: path.join(workspaceDir, `anp-nonces-${encodeURIComponent(agentId)}.log`),
    generationMs: GENERATION_MS,
    maxBytes: Number.POSITIVE_INFINITY,
    now,
    onLine: (line) => current.add(line),
    onRotate() {
      older = current;
      current = new Set();
    },
  });
  return {
    use(keyid, nonce) {
      // JSON keeps a line break in a nonce from becoming a line.
      const key = JSON.stringify([keyid, nonce]);
      if (current.has(key) || older.has(key)) return false;
      log.append(key);
      current.add(key);
      return true;
    },
    close: () => log.close(),
  };
}
