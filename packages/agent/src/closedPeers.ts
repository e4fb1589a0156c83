import { connect } from "node:net";
import { type AgentId, CommError } from "@failstorm/core";

/** To be told on loopback or a local network that nobody listens, ms; whoever takes longer is probed in the protocol's way. */
const REFUSAL_MS = 100;

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
  private readonly placeOf: (peer: AgentId) => Place | null;

  constructor(placeOf: ClosedPeers["placeOf"]) {
    this.placeOf = placeOf;
  }

  add(peer: AgentId): void {
    this.peers.add(peer);
  }

  /** Throws CommError `refused` when the peer's stream was closed and nobody listens where it was. */
  async rejectRefused(peer: AgentId): Promise<void> {
    const place = this.placeOf(peer);
    if (!this.peers.delete(peer) || place === null) return;
    if (await isRefused(place)) throw new CommError("refused", peer, `${peer} has closed its stream, and nobody listens there`);
  }
}

/** False when somebody accepts, or when it cannot be told. */
function isRefused({ address, port }: Place): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, signal: AbortSignal.timeout(REFUSAL_MS) });
    const settle = (refused: boolean): void => {
      socket.destroy();
      resolve(refused);
    };
    socket.once("connect", () => settle(false));
    socket.once("error", (error: NodeJS.ErrnoException) => settle(error.code === "ECONNREFUSED"));
  });
}
