import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import type { Clock, MeteredClient, Traffic, TrafficTag } from "@failstorm/core";
import type * as Undici from "undici";

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
  accountedSent: number;
  accountedReceived: number;
  last: Operation | null;
}

/** A held-open response: tells when the kernel closed its connection. */
interface HeldStream {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly closed: Promise<void>;
}

export interface OwnMeteredClient extends MeteredClient {
  /** Opens a response that never ends, and reports the end of its connection. */
  hold(url: string, signal: AbortSignal): Promise<HeldStream>;
  /** Totals of all client sockets, as the sockets themselves counted. */
  socketTotals(): { bytesSent: number; bytesReceived: number };
  close(): Promise<void>;
}

export interface MeteredClientOptions {
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  /** Bytes that a socket moved after its operation had ended (a late answer to an aborted request). */
  readonly onResidual: (tag: TrafficTag, bytesSent: number, bytesReceived: number) => void;
}

const errorsOf = (body: Undici.Dispatcher.ResponseData["body"]): Promise<void> =>
  new Promise((resolve) => {
    body.on("close", () => resolve());
    body.on("error", () => resolve());
    body.resume();
  });

interface Loaded {
  readonly undici: typeof Undici;
  readonly dispatcher: Undici.Dispatcher;
}

/** With the first request: undici takes as long to load as the rest of a starting agent, which sends nothing before it is ready. */
async function loadUndici({ connectTimeoutMs }: MeteredClientOptions, accounts: SocketAccounts): Promise<Loaded> {
  const undici = await import("undici");
  const connector = undici.buildConnector({ timeout: connectTimeoutMs });
  const dispatcher = new undici.Agent({
    pipelining: 1,
    keepAliveTimeout: 30_000,
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: (connectOptions, callback) =>
      connector(connectOptions, (...result) => {
        if (result[0] === null) accounts.adopt(result[1]);
        callback(...result);
      }),
  });
  return { undici, dispatcher };
}

/**
 * The agent's one HTTP client: an undici pool without pipelining, so that a socket serves one request at a time and all it
 * moved since the last request ended belongs to the present one. Bytes are TCP payload, request line and headers included.
 */
export function createMeteredClient(options: MeteredClientOptions): OwnMeteredClient {
  const accounts = new SocketAccounts(options);
  let loading: Promise<Loaded> | null = null;
  const load = (): Promise<Loaded> => (loading ??= loadUndici(options, accounts));
  const measure: MeteredClient["measure"] = async (tag, fn) => {
    const operation: Operation = { tag, bytesSent: 0, bytesReceived: 0, roundTrips: 0, firstByteAt: null, finished: false };
    const startedAt = options.clock.now();
    const traffic = (): Traffic => ({
      bytesSent: operation.bytesSent,
      bytesReceived: operation.bytesReceived,
      roundTrips: operation.roundTrips,
      firstByteAt: operation.firstByteAt,
      ms: options.clock.now() - startedAt,
    });
    try {
      const value = await accounts.run(operation, fn);
      return { value, traffic: traffic() };
    } catch (error) {
      if (error instanceof Error) Object.assign(error, { traffic: traffic() });
      throw error;
    } finally {
      operation.finished = true;
    }
  };
  return {
    fetch: (async (input: string, init?: object) => {
      const { undici, dispatcher } = await load();
      return undici.fetch(input, { ...init, dispatcher });
    }) as unknown as typeof globalThis.fetch,
    async request(url, init) {
      const { undici, dispatcher } = await load();
      const answer = await undici.request(url, { ...init, dispatcher });
      const body = Buffer.from(await answer.body.arrayBuffer());
      return { status: answer.statusCode, headers: answer.headers, body };
    },
    measure,
    async webSocket(url, init = {}) {
      const { undici, dispatcher } = await load();
      const { headers, protocols } = init;
      const options = { dispatcher, ...(headers ? { headers } : {}), ...(protocols ? { protocols: [...protocols] } : {}) };
      return new undici.WebSocket(url, options) as unknown as WebSocket;
    },
    async hold(url, signal) {
      const { undici, dispatcher } = await load();
      const answer = await undici.request(url, { dispatcher, signal, method: "GET" });
      return { headers: answer.headers, closed: errorsOf(answer.body) };
    },
    socketTotals: () => accounts.totals(),
    async close() {
      accounts.close();
      if (loading !== null) await (await loading).dispatcher.destroy();
    },
  };
}

/** Which request moved which bytes; fed by undici's diagnostics channels. */
class SocketAccounts {
  private readonly options: MeteredClientOptions;
  private readonly scope = new AsyncLocalStorage<Operation>();
  private readonly operations = new WeakMap<object, Operation>();
  private readonly sockets = new Map<Socket, SocketState>();
  private readonly socketOf = new WeakMap<object, Socket>();
  private readonly closedTotals = { bytesSent: 0, bytesReceived: 0 };
  private readonly subscriptions: readonly (readonly [string, (message: unknown) => void])[];

  constructor(options: MeteredClientOptions) {
    this.options = options;
    const finish = (message: unknown): void => this.settle((message as { request: object }).request);
    this.subscriptions = [
      ["undici:request:create", (message) => this.created((message as { request: object }).request)],
      ["undici:client:sendHeaders", (message) => this.sent(message as { request: object; socket: Socket })],
      ["undici:request:trailers", finish],
      ["undici:request:error", finish],
    ];
    for (const [name, listener] of this.subscriptions) subscribe(name, listener);
  }

  run<T>(operation: Operation, fn: () => Promise<T>): Promise<T> {
    return this.scope.run(operation, fn);
  }

  adopt(socket: Socket): void {
    this.sockets.set(socket, { accountedSent: 0, accountedReceived: 0, last: null });
    socket.once("close", () => {
      const state = this.sockets.get(socket);
      if (state?.last) this.account(socket, state, state.last);
      this.sockets.delete(socket);
      this.closedTotals.bytesSent += socket.bytesWritten;
      this.closedTotals.bytesReceived += socket.bytesRead;
    });
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
    for (const [name, listener] of this.subscriptions) unsubscribe(name, listener);
  }

  private created(request: object): void {
    const operation = this.scope.getStore();
    if (operation !== undefined) this.operations.set(request, operation);
  }

  private sent({ request, socket }: { request: object; socket: Socket }): void {
    const operation = this.operations.get(request);
    const state = this.sockets.get(socket);
    if (operation === undefined || state === undefined) return;
    operation.firstByteAt ??= this.options.clock.now();
    operation.roundTrips += 1;
    state.last = operation;
    this.socketOf.set(request, socket);
  }

  private settle(request: object): void {
    const socket = this.socketOf.get(request);
    const state = socket === undefined ? undefined : this.sockets.get(socket);
    const operation = this.operations.get(request);
    if (socket && state && operation) this.account(socket, state, operation);
  }

  private account(socket: Socket, state: SocketState, operation: Operation): void {
    const sent = socket.bytesWritten - state.accountedSent;
    const received = socket.bytesRead - state.accountedReceived;
    if (sent === 0 && received === 0) return;
    state.accountedSent += sent;
    state.accountedReceived += received;
    if (operation.finished) {
      this.options.onResidual(operation.tag, sent, received);
      return;
    }
    operation.bytesSent += sent;
    operation.bytesReceived += received;
  }
}
