import type { RequestAccount, SocketAccounts } from "./socketAccounts.ts";

/** Gives a message that is being delivered to the operation that was under way when this was made. */
export type TakeMessage = (message: MessageEvent) => void;

const accountsOf = new WeakMap<WebSocket, WebSocketAccount>();

/**
 * To be called inside `measure` once for each exchange over a WebSocket that the metered client made, which is a round trip then: the
 * answer, handed to the function by a listener of `message`, is counted in the operation, or as its residual if it has ended.
 */
export const takeMessages = (socket: WebSocket): TakeMessage => accountsOf.get(socket)?.taker() ?? (() => {});

/** What an unmasked message in one frame is on the wire, bytes (RFC 6455 §5.2). */
function frameBytes(data: unknown): number {
  const payload = typeof data === "string" ? Buffer.byteLength(data) : data instanceof Blob ? data.size : 0;
  const bytes = data instanceof ArrayBuffer ? data.byteLength : payload;
  return bytes + (bytes < 126 ? 2 : bytes < 65_536 ? 4 : 10);
}

/**
 * Counts a WebSocket's bytes message by message: those of `send` for the operation in whose scope it is called, those of a message for
 * who takes it. A chunk may end in the middle of a message, so a message is as long as its frame, and what is left (control frames,
 * headers of fragments, half a message) waits for the next one or for the end of the connection. What nobody takes is residual
 * of the operation that opened the connection.
 */
export class WebSocketAccount {
  private readonly accounts: SocketAccounts;
  private readonly socket: WebSocket;
  private readonly upgrade: RequestAccount;
  private readonly untaken = new Map<MessageEvent, number>();

  constructor(accounts: SocketAccounts, socket: WebSocket, upgrade: RequestAccount) {
    this.accounts = accounts;
    this.socket = socket;
    this.upgrade = upgrade;
    accountsOf.set(socket, this);
    const send = socket.send.bind(socket);
    socket.send = (data) => {
      const { state } = upgrade;
      if (state !== null) accounts.settleSent(state, state.last);
      send(data);
      if (state !== null) accounts.settleSent(state, accounts.present() ?? state.last);
    };
    // The first listener of all, so that whoever listens finds the message counted.
    socket.addEventListener("message", (message) => this.received(message));
  }

  taker(): TakeMessage {
    const operation = this.accounts.present();
    if (operation !== null) operation.roundTrips += 1;
    return (message) => {
      const bytes = this.untaken.get(message);
      if (bytes === undefined || operation === null) return;
      this.untaken.delete(message);
      this.accounts.give(operation, 0, bytes);
    };
  }

  private received(message: MessageEvent): void {
    const { state } = this.upgrade;
    if (state === null) return;
    // How long a message was that came compressed, its content does not tell.
    const most = this.socket.extensions === "" ? frameBytes(message.data) : Number.POSITIVE_INFINITY;
    const bytes = this.accounts.settleReceived(state, most);
    this.untaken.set(message, bytes);
    queueMicrotask(() => {
      if (this.untaken.delete(message)) this.accounts.give(state.last, 0, bytes);
    });
  }
}
