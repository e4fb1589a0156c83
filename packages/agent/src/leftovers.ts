import type { Socket } from "node:net";
import type { Clock } from "@failstorm/core";
import { Lull } from "./lull.ts";

/** Connections are freed when the other side has ended no other for so long, ms … */
const QUIET_MS = 1_000;
/** … but so long after the first in any case. */
const MOST_MS = 10_000;

/**
 * Connections that the other side has ended, and that nobody needs any more. To free one costs as much as to learn that it was ended (a fifth of
 * all that survivors of a storm among 200 did until the last knew of all was this), and nobody waits for it: so it is done when the rush is over.
 */
export class Leftovers {
  private sockets: Socket[] = [];
  private readonly lull: Lull;

  constructor(clock: Clock) {
    this.lull = new Lull(clock, () => this.free());
  }

  add(socket: Socket): void {
    this.sockets.push(socket);
    this.lull.sign(QUIET_MS, MOST_MS);
  }

  /** Frees all at once. */
  free(): void {
    this.lull.cancel();
    const { sockets } = this;
    this.sockets = [];
    for (const socket of sockets) socket.destroy();
  }
}
