import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import type { Clock, Traffic, TrafficTag } from "@failstorm/core";
import type { Dispatcher } from "undici";

export interface SocketAccountsOptions {
  readonly clock: Clock;
  /** Bytes that a socket moved after its operation had ended (a late answer to an aborted request). */
  readonly onResidual: (tag: TrafficTag, bytesSent: number, bytesReceived: number) => void;
}

/** One measured operation: what its requests moved so far. */
interface Operation {
  readonly tag: TrafficTag;
  bytesSent: number;
  bytesReceived: number;
  roundTrips: number;
  firstByteAt: number | null;
  finished: boolean;
}

interface SocketState {
  readonly socket: Socket;
  accountedSent: number;
  accountedReceived: number;
  /** Whose request the socket carries or carried last; null when nobody measured it. */
  last: Operation | null;
}

/**
 * One request from its dispatch to its end. Its dispatch handler must call `starting` first thing in `onRequestStart` and `ended` first
 * thing in `onResponseEnd`, `onResponseError` and `onRequestUpgrade`.
 */
export class RequestAccount {
  readonly operation: Operation | null;
  state: SocketState | null = null;
  private readonly accounts: SocketAccounts;

  constructor(accounts: SocketAccounts, operation: Operation | null) {
    this.accounts = accounts;
    this.operation = operation;
  }

  starting(): void {
    this.accounts.starting = this;
  }

  /** The request goes out on a new connection of its own, of which undici knows nothing; called before anything is sent. */
  startsOn(socket: Socket): void {
    this.accounts.carry(this, this.accounts.adopt(socket));
  }

  ended(): void {
    if (this.state !== null) this.accounts.settle(this.state);
  }
}

/** The same handler, with the request's bytes accounted: for requests that others make, like fetch. */
export function accounted(handler: Dispatcher.DispatchHandler, account: RequestAccount): Dispatcher.DispatchHandler {
  return {
    onRequestStart(controller, context) {
      account.starting();
      handler.onRequestStart?.(controller, context);
    },
    onRequestUpgrade(controller, statusCode, headers, socket) {
      account.ended();
      handler.onRequestUpgrade?.(controller, statusCode, headers, socket);
    },
    onResponseStart: (controller, statusCode, headers, statusMessage) =>
      handler.onResponseStart?.(controller, statusCode, headers, statusMessage),
    onResponseData: (controller, chunk) => handler.onResponseData?.(controller, chunk),
    onResponseEnd(controller, trailers) {
      account.ended();
      handler.onResponseEnd?.(controller, trailers);
    },
    onResponseError(controller, error) {
      account.ended();
      handler.onResponseError?.(controller, error);
    },
    onResponseStarted: () => handler.onResponseStarted?.(),
    onBodySent: (chunk) => handler.onBodySent?.(chunk),
    onRequestSent: () => handler.onRequestSent?.(),
  };
}

/**
 * Which request moved which bytes. Without pipelining a socket serves one request at a time, so all it moved since its last request
 * ended belongs to the present one. Which socket a request goes out on, only undici's diagnostics channel tells; undici publishes
 * there in the same turn in which it called the request's `onRequestStart`, before it writes.
 */
export class SocketAccounts {
  starting: RequestAccount | null = null;
  private readonly options: SocketAccountsOptions;
  private readonly scope = new AsyncLocalStorage<Operation>();
  private readonly sockets = new Map<Socket, SocketState>();
  private readonly closedTotals = { bytesSent: 0, bytesReceived: 0 };

  constructor(options: SocketAccountsOptions) {
    this.options = options;
    subscribe("undici:client:sendHeaders", this.onSendHeaders);
  }

  async measure<T>(tag: TrafficTag, fn: () => Promise<T>): Promise<{ value: T; traffic: Traffic }> {
    const { clock } = this.options;
    const operation: Operation = { tag, bytesSent: 0, bytesReceived: 0, roundTrips: 0, firstByteAt: null, finished: false };
    const startedAt = clock.now();
    const traffic = (): Traffic => {
      const { bytesSent, bytesReceived, roundTrips, firstByteAt } = operation;
      return { bytesSent, bytesReceived, roundTrips, firstByteAt, ms: clock.now() - startedAt };
    };
    try {
      const value = await this.scope.run(operation, fn);
      return { value, traffic: traffic() };
    } catch (error) {
      if (error instanceof Error) Object.assign(error, { traffic: traffic() });
      throw error;
    } finally {
      operation.finished = true;
    }
  }

  /** For a request about to be dispatched: it belongs to the operation in whose scope this is called. */
  open(): RequestAccount {
    return new RequestAccount(this, this.present());
  }

  /** Counts a new connection. */
  adopt(socket: Socket): SocketState {
    const state: SocketState = { socket, accountedSent: 0, accountedReceived: 0, last: null };
    this.sockets.set(socket, state);
    socket.once("close", () => {
      this.settle(state);
      this.sockets.delete(socket);
      this.closedTotals.bytesSent += socket.bytesWritten;
      this.closedTotals.bytesReceived += socket.bytesRead;
    });
    return state;
  }

  /** The socket carries this request from now on. */
  carry(account: RequestAccount, state: SocketState): void {
    this.settle(state);
    account.state = state;
    const { operation } = account;
    state.last = operation;
    if (operation === null) return;
    operation.firstByteAt ??= this.options.clock.now();
    operation.roundTrips += 1;
  }

  totals(): { bytesSent: number; bytesReceived: number } {
    const totals = { ...this.closedTotals };
    for (const socket of this.sockets.keys()) {
      totals.bytesSent += socket.bytesWritten;
      totals.bytesReceived += socket.bytesRead;
    }
    return totals;
  }

  close(): void {
    unsubscribe("undici:client:sendHeaders", this.onSendHeaders);
  }

  /** The operation in whose scope this is called. */
  present(): Operation | null {
    return this.scope.getStore() ?? null;
  }

  /** All that the socket moved since it was last looked at goes to its present request. */
  settle(state: SocketState): void {
    const { socket, last } = state;
    const sent = socket.bytesWritten - state.accountedSent;
    const received = socket.bytesRead - state.accountedReceived;
    state.accountedSent += sent;
    state.accountedReceived += received;
    this.give(last, sent, received);
  }

  /** What the socket sent since it was last looked at is the operation's. */
  settleSent(state: SocketState, operation: Operation | null): void {
    const sent = state.socket.bytesWritten - state.accountedSent;
    state.accountedSent += sent;
    if (operation !== null && sent > 0) operation.firstByteAt ??= this.options.clock.now();
    this.give(operation, sent, 0);
  }

  /** Takes so many of the bytes that came and are nobody's yet, or all there are; the caller has to give them to somebody. */
  settleReceived(state: SocketState, most: number): number {
    const received = Math.min(most, state.socket.bytesRead - state.accountedReceived);
    state.accountedReceived += received;
    return received;
  }

  give(operation: Operation | null, sent: number, received: number): void {
    if (operation === null || (sent === 0 && received === 0)) return;
    if (operation.finished) {
      this.options.onResidual(operation.tag, sent, received);
      return;
    }
    operation.bytesSent += sent;
    operation.bytesReceived += received;
  }

  private readonly onSendHeaders = (message: unknown): void => {
    const state = this.sockets.get((message as { socket: Socket }).socket);
    const account = this.starting;
    // The channel is the process's: requests of other clients have sockets that are not ours.
    if (state === undefined || account === null) return;
    this.starting = null;
    this.carry(account, state);
  };
}
