/** Older or newer signatures are refused (ANP-02 §3.2.1: 1 to 5 minutes), so that a nonce may be forgotten after that. */
export const SIGNATURE_WINDOW_S = 300;
/** How far ahead a signer's clock may be. */
export const CLOCK_SKEW_S = 60;

/** A nonce is remembered for at least this long. */
export const NONCE_GENERATION_MS = (SIGNATURE_WINDOW_S + 2 * CLOCK_SKEW_S) * 1000;

/** Nonces of accepted signatures, for as long as their signatures could be accepted again (ANP-02 §7.2). */
export class NonceRecord {
  private readonly log: (line: string) => void;
  private current = new Set<string>();
  private older = new Set<string>();

  /** `log` keeps a line for a later process. */
  constructor(log: (line: string) => void) {
    this.log = log;
  }

  /** Notes a signature's nonce; false when it was seen before, by this process or one before it. */
  use(keyid: string, nonce: string): boolean {
    // JSON keeps a line break in a nonce from becoming a line.
    const key = JSON.stringify([keyid, nonce]);
    if (this.current.has(key) || this.older.has(key)) return false;
    this.log(key);
    this.current.add(key);
    return true;
  }

  /** Takes back a line that an earlier process logged; false when it is known. */
  restore(line: string): boolean {
    const { size } = this.current;
    return this.current.add(line).size > size;
  }

  /** The older generation is forgotten, and the present one is the older one from now on. */
  rotate(): void {
    this.older = this.current;
    this.current = new Set();
  }
}
