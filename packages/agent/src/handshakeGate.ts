/** Whether the peer is believed live: one that is not may keep a handshake waiting until its time-out. */
export type Standing = "live" | "dead";

interface Waiter {
  readonly standing: Standing;
  readonly admit: () => void;
}

/** Of all, so many may be with peers believed dead: those of a storm that was a SIGSTOP must not keep the living waiting. */
const SHARE_OF_THE_DEAD = 1 / 2;

/**
 * Bounds how many handshakes are under way at once. Whoever has to wait comes in the order of asking, the living before the dead.
 */
export class HandshakeGate {
  private readonly limit: number;
  private readonly running = { live: 0, dead: 0 };
  private waiting: Waiter[] = [];

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Resolves with the way out, which is to be called exactly once; with null when `signal` has aborted before there was room. */
  enter(standing: Standing, signal: AbortSignal): Promise<(() => void) | null> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve(null);
      const onAbort = (): void => {
        this.waiting = this.waiting.filter((other) => other !== waiter);
        resolve(null);
      };
      const admit = (): void => {
        signal.removeEventListener("abort", onAbort);
        this.running[standing] += 1;
        resolve(() => this.leave(standing));
      };
      const waiter: Waiter = { standing, admit };
      if (this.hasRoom(standing)) return admit();
      signal.addEventListener("abort", onAbort, { once: true });
      this.waiting.push(waiter);
    });
  }

  private leave(standing: Standing): void {
    this.running[standing] -= 1;
    for (;;) {
      const next =
        this.waiting.find((waiter) => waiter.standing === "live" && this.hasRoom("live")) ??
        this.waiting.find((waiter) => waiter.standing === "dead" && this.hasRoom("dead"));
      if (next === undefined) return;
      this.waiting = this.waiting.filter((other) => other !== next);
      next.admit();
    }
  }

  private hasRoom(standing: Standing): boolean {
    const { live, dead } = this.running;
    return live + dead < this.limit && (standing === "live" || dead < this.limit * SHARE_OF_THE_DEAD);
  }
}
