import { connect, type Socket } from "node:net";

/** A held-open response: tells when its connection was closed, and how. */
export interface HeldStream {
  readonly headers: Readonly<Record<string, string>>;
  readonly closed: Promise<Closing>;
}

/**
 * `ended`: in order (FIN), and without another word, in the middle of an answer that has no end: as the kernel does for a process that is no more.
 * `broken`: in any other way. One that is given up here is reset, so that the other side does not take this process for dead.
 */
export type Closing = "ended" | "broken";

interface HeldConnectionOptions {
  readonly url: string;
  /** Further fields of the request, name: value. */
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  readonly connectTimeoutMs: number;
  /** The connection stands, and nothing was sent on it yet. */
  readonly onConnected: (socket: Socket) => void;
  /** The answer has begun. */
  readonly onStanding: () => void;
  /** The other side has ended it: to be destroyed, now or later. */
  readonly discard: (socket: Socket) => void;
}

const MAX_HEAD_BYTES = 16_384;
const END_OF_HEAD = "\r\n\r\n";
const STATUS_LINE = /^HTTP\/1\.[01] (\d{3})/;
const KEEP_ALIVE_MS = 60_000;

const failure = (code: string, message: string): Error => Object.assign(new Error(message), { code });

/** The response's header fields (RFC 9112 §5), names in lower case; Error when it is no answer that says 200. */
function headersOf(head: string, url: string): Record<string, string> {
  const [statusLine = "", ...lines] = head.split("\r\n");
  const status = STATUS_LINE.exec(statusLine)?.[1];
  if (status !== "200")
    throw failure("EPROTO", `${url}: a stream was to be held there, the answer was ${JSON.stringify(statusLine.slice(0, 100))}`);
  return Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
}

function requestOf({ host, pathname, search }: URL, headers: HeldConnectionOptions["headers"]): string {
  const fields = Object.entries({ host, ...headers }).map(([name, value]) => `${name}: ${value}`);
  return [`GET ${pathname}${search} HTTP/1.1`, ...fields].join("\r\n") + END_OF_HEAD;
}

/**
 * One GET on a connection of its own whose answer is not meant to end. On a bare socket, since a storm closes as many of these at once as there are
 * pairs of survivor and victim, and each close wakes a process on a machine that has no time: an HTTP client's own tidying up would take longer than
 * all that is done about it. What comes after the head is dropped. Resolves when the answer has begun; rejects with the socket's error, with
 * ETIMEDOUT when no connection stood in time, with EPROTO for another answer, with `signal`'s reason.
 */
export function holdOpen(options: HeldConnectionOptions): Promise<HeldStream> {
  const { url, headers, signal, connectTimeoutMs, onConnected, onStanding, discard } = options;
  const end = Promise.withResolvers<Closing>();
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const target = new URL(url);
    const host = target.hostname.replace(/^\[|\]$/g, "");
    const socket = connect({
      host,
      port: Number(target.port || 80),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
      allowHalfOpen: true,
    });
    let isStanding = false;
    const over = (how: Closing, reason?: unknown): void => {
      signal.removeEventListener("abort", onAbort);
      if (isStanding) end.resolve(how);
      else reject(reason ?? failure("ECONNRESET", `${url}: closed before it answered`));
    };
    const onAbort = (): void => {
      over("broken", signal.reason);
      if (socket.connecting) socket.destroy();
      else socket.resetAndDestroy();
    };
    let hasMore = false;
    const onMore = (): void => void (hasMore = true);
    let head = "";
    const onData = (chunk: Buffer): void => {
      head += chunk.toString("latin1");
      const length = head.indexOf(END_OF_HEAD);
      if (length < 0 && head.length <= MAX_HEAD_BYTES) return;
      socket.off("data", onData).on("data", onMore);
      if (head.length > length + END_OF_HEAD.length) onMore();
      try {
        const answered = headersOf(head.slice(0, Math.max(0, length)), url);
        isStanding = true;
        onStanding();
        resolve({ headers: answered, closed: end.promise });
      } catch (error) {
        socket.destroy(error as Error);
      }
    };
    signal.addEventListener("abort", onAbort, { once: true });
    socket.setTimeout(connectTimeoutMs, () =>
      socket.destroy(failure("ETIMEDOUT", `${url}: no connection within ${connectTimeoutMs} ms`)),
    );
    socket.once("connect", () => {
      socket.setTimeout(0);
      onConnected(socket);
      socket.write(requestOf(target, headers));
    });
    socket.on("data", onData);
    // Whichever comes first: "close" takes another turn of the loop. To one that is gone nothing is said in return, which would take some more.
    socket
      .once("end", () => {
        over(hasMore ? "broken" : "ended");
        discard(socket);
      })
      .once("error", (error) => over("broken", error))
      .once("close", () => over("broken"));
  });
}
