import { connect } from "node:net";
import type { AgentId, Clock } from "@failstorm/core";

interface Patience {
  /** To be told on loopback or a local network that nobody listens, ms; whoever takes longer is probed in the protocol's way. */
  readonly refusalMs: number;
  /** How long a connection that was accepted is watched for being broken off, ms: what a kernel needs to close a dead process's descriptors. */
  readonly lingerMs: number;
}

const PATIENCE: Patience = { refusalMs: 100, lingerMs: 100 };

interface Place {
  readonly address: string;
  readonly port: number;
}

/**
 * Peers whose held-open stream was closed since they were last probed. Of such a one it is asked first whether it is there at all, with a bare TCP
 * connection: no byte of payload, and a fraction of the work of a probe in the protocol, which on few cores delays everybody's
 * detections. Whoever accepts is probed as ever.
 */
export class ClosedPeers {
  private readonly peers = new Set<AgentId>();
  private readonly asked = new Set<AgentId>();
  private readonly patience: Patience;
  private readonly options: {
    readonly clock: Clock;
    readonly placeOf: (peer: AgentId) => Place | null;
  };

  constructor(options: ClosedPeers["options"], patience: Partial<Patience> = {}) {
    this.options = options;
    this.patience = { ...PATIENCE, ...patience };
  }

  add(peer: AgentId): void {
    this.peers.add(peer);
  }

  /** The question is under way. */
  isAsked(peer: AgentId): boolean {
    return this.asked.has(peer);
  }

  /** True when the peer's stream was closed and nobody listens where it was. Callbacks, since a storm asks this of so many at once. */
  isGone(peer: AgentId): Promise<boolean> {
    const { clock, placeOf } = this.options;
    const place = placeOf(peer);
    if (!this.peers.delete(peer) || place === null) return NO;
    this.asked.add(peer);
    return new Promise((resolve) => {
      const settle = (isGone: boolean): void => {
        this.asked.delete(peer);
        resolve(isGone);
      };
      try {
        askWhetherRefused(place, this.patience, clock, settle);
      } catch {
        settle(false); // no address to connect to: the probe in the protocol's way says so
      }
    });
  }
}

const NO = Promise.resolve(false);

/**
 * False when somebody accepts, or when it cannot be told. The kernel accepts for a process of which it has not closed all, and breaks
 * the connection off when it comes to that: then it is asked once more, and only a refusal counts.
 */
function askWhetherRefused(place: Place, patience: Patience, clock: Clock, settle: (isRefused: boolean) => void): void {
  knock(place, patience, clock, (answer) => {
    if (answer === "broken off") knock(place, patience, clock, (again) => settle(again === "refused"));
    else settle(answer === "refused");
  });
}

function knock(
  { address, port }: Place,
  { refusalMs, lingerMs }: Patience,
  clock: Clock,
  onAnswer: (answer: "refused" | "accepted" | "broken off" | "unknown") => void,
): void {
  const socket = connect({ host: address, port });
  let isAccepted = false;
  let isSettled = false;
  const settle = (answer: Parameters<typeof onAnswer>[0]): void => {
    if (isSettled) return;
    isSettled = true;
    socket.destroy();
    onAnswer(answer);
  };
  socket.setTimeout(refusalMs);
  // Each time: it goes off once for the refusal, and once more for one that was accepted late.
  socket.on("timeout", () => {
    const wasAccepted = isAccepted;
    // What came while this process had to wait for a core is read after the timers of this turn of the loop, and before those of the next.
    clock.after(0, () => {
      if (isAccepted === wasAccepted) settle(isAccepted ? "accepted" : "unknown");
    });
  });
  socket.once("connect", () => {
    isAccepted = true;
    socket.setTimeout(lingerMs);
    socket.once("end", () => settle("broken off")).resume();
  });
  // Stays: one that is given up may yet be refused.
  socket.on("error", (error: NodeJS.ErrnoException) => {
    if (isAccepted || error.code === "ECONNRESET") settle("broken off");
    else settle(error.code === "ECONNREFUSED" ? "refused" : "unknown");
  });
}
