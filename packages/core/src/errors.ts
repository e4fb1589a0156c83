/** Bad input found before anything started: exit code 2. The message names the option, the value and the remedy. */
export class InputError extends Error {
  readonly code = "BAD_INPUT";
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "InputError";
  }
}

/** The run could not be carried through (disk full, a child that cannot start, …): exit code 1. */
export class RunError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "RunError";
    this.code = code;
  }
}

/** What can go wrong between two agents, as seen by the one that called. */
export type CommErrorCode =
  | "refused" // nobody listens at the address
  | "reset" // the connection was cut before or during the answer
  | "timeout" // the caller's deadline passed
  | "aborted" // the caller gave up for another reason (its signal's reason is the cause)
  | "protocol" // an answer came, but not one of this protocol
  | "remote" // the peer answered with the protocol's own error
  | "unknown_agent"; // no endpoint registered

/** The typed failure of a CommBackend operation. */
export class CommError extends Error {
  readonly code: CommErrorCode;
  readonly peer: string;
  /** The protocol's own error, when there is one (JSON-RPC code, HTTP status, …). */
  readonly detail: unknown;
  constructor(code: CommErrorCode, peer: string, message: string, options?: ErrorOptions & { detail?: unknown }) {
    super(message, options);
    this.name = "CommError";
    this.code = code;
    this.peer = peer;
    this.detail = options?.detail;
  }
}

const SYSTEM_CODES: Readonly<Record<string, CommErrorCode>> = {
  ECONNREFUSED: "refused",
  ECONNRESET: "reset",
  EPIPE: "reset",
  UND_ERR_SOCKET: "reset",
  UND_ERR_CLOSED: "reset",
  UND_ERR_DESTROYED: "reset",
  UND_ERR_CONNECT_TIMEOUT: "timeout",
  UND_ERR_HEADERS_TIMEOUT: "timeout",
  UND_ERR_BODY_TIMEOUT: "timeout",
  ETIMEDOUT: "timeout",
};

/** Classifies whatever a client threw (undici, fetch, an SDK over them) as a CommError about `peer`. */
export function toCommError(error: unknown, peer: string, signal?: AbortSignal): CommError {
  if (error instanceof CommError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (signal?.aborted) {
    const timedOut = signal.reason instanceof Error && signal.reason.name === "TimeoutError";
    return new CommError(timedOut ? "timeout" : "aborted", peer, `${peer}: ${timedOut ? "deadline passed" : "given up"}`, {
      cause: signal.reason ?? error,
    });
  }
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const systemCode = (cause as NodeJS.ErrnoException).code;
    const code = systemCode === undefined ? undefined : SYSTEM_CODES[systemCode];
    if (code !== undefined) return new CommError(code, peer, `${peer}: ${cause.message || systemCode}`, { cause: error });
  }
  const terminated = message === "terminated" || message === "other side closed";
  return new CommError(terminated ? "reset" : "protocol", peer, `${peer}: ${message}`, { cause: error });
}
