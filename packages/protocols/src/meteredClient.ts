import type { Socket } from "node:net";
import type { MeteredClient, MeteredRequest, MeteredResponse } from "@failstorm/core";
import type * as Undici from "undici";
import { type HeldStream, holdOpen } from "./heldConnection.ts";
import { accounted, type RequestAccount, SocketAccounts, type SocketAccountsOptions } from "./socketAccounts.ts";
import { WebSocketAccount } from "./webSocketAccount.ts";

export interface OwnMeteredClient extends MeteredClient {
  /** Opens a response that never ends, on a connection of its own, and reports the end of that. */
  hold(url: string, signal: AbortSignal, options?: HoldOptions): Promise<HeldStream>;
  /** Totals of all client sockets, as the sockets themselves counted. */
  socketTotals(): { bytesSent: number; bytesReceived: number };
  close(): Promise<void>;
}

export interface HoldOptions {
  /** Further fields of the request, name: value. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Destroys the connection that the other side has ended, now (if absent) or later; the client's own closing does not. */
  readonly discard?: (socket: Socket) => void;
}

export interface MeteredClientOptions extends SocketAccountsOptions {
  readonly connectTimeoutMs: number;
}

interface Loaded {
  readonly undici: typeof Undici;
  readonly agent: Undici.Agent;
  /** The same agent for requests that are not made here: fetch, WebSocket. */
  readonly accounting: Undici.Dispatcher;
}

/** With the first request: undici takes as long to load as the rest of a starting agent, which sends nothing before it is ready. */
async function loadUndici({ connectTimeoutMs }: MeteredClientOptions, accounts: SocketAccounts): Promise<Loaded> {
  const undici = await import("undici");
  const connector = undici.buildConnector({ timeout: connectTimeoutMs });
  const agent = new undici.Agent({
    pipelining: 1,
    keepAliveTimeout: 4_000,
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: (connectOptions, callback) =>
      connector(connectOptions, (...result) => {
        if (result[0] === null) accounts.adopt(result[1]);
        callback(...result);
      }),
  });
  const accounting = agent.compose((dispatch) => (options, handler) => dispatch(options, accounted(handler, accounts.open())));
  return { undici, agent, accounting };
}

function reasonOf(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return reason instanceof Error ? reason : new Error("given up", { cause: reason });
}

/** A plain exchange: gathers the whole answer without a stream in between, which costs more than all the accounting. */
class Exchange implements Undici.Dispatcher.DispatchHandler {
  private readonly account: RequestAccount;
  private readonly signal: AbortSignal | undefined;
  private readonly resolve: (response: MeteredResponse) => void;
  private readonly reject: (error: unknown) => void;
  private readonly chunks: Buffer[] = [];
  private controller: Undici.Dispatcher.DispatchController | null = null;
  private status = 0;
  private headers: MeteredResponse["headers"] = {};

  constructor(
    account: RequestAccount,
    signal: AbortSignal | undefined,
    resolve: (response: MeteredResponse) => void,
    reject: (error: unknown) => void,
  ) {
    this.account = account;
    this.signal = signal;
    this.resolve = resolve;
    this.reject = reject;
    signal?.addEventListener("abort", this.onAbort, { once: true });
  }

  onRequestStart(controller: Undici.Dispatcher.DispatchController): void {
    // Given up while it waited for a connection.
    if (this.signal?.aborted) {
      controller.abort(reasonOf(this.signal));
      return;
    }
    this.controller = controller;
    this.account.starting();
  }

  onResponseStart(_controller: Undici.Dispatcher.DispatchController, status: number, headers: MeteredResponse["headers"]): void {
    this.status = status;
    this.headers = headers;
  }

  onResponseData(_controller: Undici.Dispatcher.DispatchController, chunk: Buffer): void {
    this.chunks.push(chunk);
  }

  onResponseEnd(): void {
    this.finish();
    const [first] = this.chunks;
    const body = first !== undefined && this.chunks.length === 1 ? first : Buffer.concat(this.chunks);
    this.resolve({ status: this.status, headers: this.headers, body });
  }

  onResponseError(_controller: Undici.Dispatcher.DispatchController, error: Error): void {
    this.finish();
    this.reject(error);
  }

  private finish(): void {
    this.account.ended();
    this.signal?.removeEventListener("abort", this.onAbort);
  }

  private readonly onAbort = (): void => {
    if (this.controller === null) this.reject(this.signal?.reason);
    else this.controller.abort(reasonOf(this.signal));
  };
}

function exchange(agent: Undici.Agent, account: RequestAccount, url: string, init: MeteredRequest): Promise<MeteredResponse> {
  const { method, headers = null, body = null, signal } = init;
  const { origin, pathname, search } = new URL(url);
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    agent.dispatch({ origin, path: pathname + search, method, body, headers }, new Exchange(account, signal, resolve, reject));
  });
}

/**
 * The agent's one HTTP client: an undici pool without pipelining, and the connections held open beside it; all their sockets are counted (see SocketAccounts). Bytes are TCP
 * payload, request line and headers included.
 */
export function createMeteredClient(options: MeteredClientOptions): OwnMeteredClient {
  const accounts = new SocketAccounts(options);
  const closing = new AbortController();
  let loading: Promise<Loaded> | null = null;
  const load = (): Promise<Loaded> => (loading ??= loadUndici(options, accounts));
  return {
    fetch: (async (input: string, init?: object) => {
      const { undici, accounting } = await load();
      return undici.fetch(input, { ...init, dispatcher: accounting });
    }) as unknown as typeof globalThis.fetch,
    async request(url, init) {
      const { agent } = await load();
      return exchange(agent, accounts.open(), url, init);
    },
    measure: (tag, fn) => accounts.measure(tag, fn),
    async webSocket(url, init = {}) {
      const { undici, agent } = await load();
      const { headers, protocols } = init;
      const upgrade = accounts.open();
      const dispatcher = agent.compose((dispatch) => (request, handler) => dispatch(request, accounted(handler, upgrade)));
      const socket = new undici.WebSocket(url, {
        dispatcher,
        ...(headers ? { headers } : {}),
        ...(protocols ? { protocols: [...protocols] } : {}),
      });
      // Keeps itself alive through the listeners that it puts on the socket.
      void new WebSocketAccount(accounts, socket, upgrade);
      return socket;
    },
    hold(url, signal, { headers = {}, discard = (socket: Socket) => void socket.destroy() } = {}) {
      const account = accounts.open();
      const { connectTimeoutMs } = options;
      const either = AbortSignal.any([signal, closing.signal]);
      return holdOpen({
        url,
        headers,
        signal: either,
        connectTimeoutMs,
        onConnected: (socket) => account.startsOn(socket),
        onStanding: () => account.ended(),
        discard,
      });
    },
    socketTotals: () => accounts.totals(),
    async close() {
      accounts.close();
      closing.abort(new Error("the client was closed"));
      if (loading !== null) await (await loading).agent.destroy();
    },
  };
}
