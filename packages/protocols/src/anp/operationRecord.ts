import type { Said } from "./directMessage.ts";
import { canonical, isObject, type JsonObject, parseJson } from "./json.ts";

/** Which operation a request is (ANP-P3 §8.2). */
export interface OperationKey {
  readonly senderDid: string;
  readonly targetDid: string;
  readonly method: string;
  /** Sender's and recipient's device where the operation is between devices (ANP-P5 §10.7), else "". */
  readonly devices: string;
  readonly operationId: string;
  readonly messageId: string;
}

/** An operation accepted here: what it said, and its result, now or later. */
export interface Operation {
  readonly said: Said;
  readonly result: Promise<JsonObject>;
}

/** What is logged of an operation: what it said as `body` or as `digest`. */
interface Line {
  readonly body?: JsonObject;
  readonly digest?: string;
  readonly contentType: string;
  readonly key: OperationKey;
  readonly result: JsonObject;
}

function saidOf({ key: { messageId }, contentType, body, digest }: Line): Said | null {
  if (typeof digest === "string") return { messageId, contentType, digest };
  return isObject(body) ? { messageId, contentType, text: canonical(body) } : null;
}

/** Operations of one time, by their operation ids and by their message ids, each after what the id belongs to. */
interface Generation {
  readonly byOperation: Map<string, Operation>;
  readonly byMessage: Map<string, Operation>;
}

const newGeneration = (): Generation => ({ byOperation: new Map(), byMessage: new Map() });

/** The two names of an operation: its ids, each after what it belongs to, a JSON array, of which no id can pass for a part. */
function namesOf({ senderDid, targetDid, method, devices, operationId, messageId }: OperationKey) {
  const scope = JSON.stringify([senderDid, targetDid, method, devices]);
  return { operation: scope + operationId, message: scope + messageId };
}

/**
 * The record behind ANP's mandatory idempotency. Only results are logged: an operation whose process was killed was never
 * accepted, and is executed when it comes again.
 */
export class OperationRecord {
  private readonly log: (line: string) => void;
  private current = newGeneration();
  private older = newGeneration();

  /** `log` keeps a line for a later process. */
  constructor(log: (line: string) => void) {
    this.log = log;
  }

  /** By operation id first, then by message id. */
  find(key: OperationKey): Operation | undefined {
    const { operation, message } = namesOf(key);
    const { current, older } = this;
    return (
      current.byOperation.get(operation) ??
      older.byOperation.get(operation) ??
      current.byMessage.get(message) ??
      older.byMessage.get(message)
    );
  }

  /** Notes an operation under way. Once it has a result this is kept; when it fails it is forgotten. */
  add(key: OperationKey, said: Said, result: Promise<JsonObject>): void {
    const operation = { said, result };
    this.set(key, operation);
    void this.keep(key, operation);
  }

  /** Takes back a line that an earlier process logged; one that it was killed in the middle of says nothing. */
  restore(line: string): void {
    const stored = parseJson(line);
    if (!isObject(stored) || !isObject(stored["key"]) || !isObject(stored["result"])) return;
    const logged = stored as unknown as Line;
    const said = saidOf(logged);
    if (said !== null) this.set(logged.key, { said, result: Promise.resolve(logged.result) });
  }

  /** The older generation is forgotten, and the present one is the older one from now on. */
  rotate(): void {
    this.older = this.current;
    this.current = newGeneration();
  }

  private set(key: OperationKey, operation: Operation): void {
    const names = namesOf(key);
    this.current.byOperation.set(names.operation, operation);
    this.current.byMessage.set(names.message, operation);
  }

  private async keep(key: OperationKey, operation: Operation): Promise<void> {
    let line: string;
    try {
      const result = await operation.result;
      const { said } = operation;
      const { contentType } = said;
      line = JSON.stringify({ contentType, key, result, ...("digest" in said ? { digest: said.digest } : {}) });
      // What is text is JSON already.
      if ("text" in said) line = `{"body":${said.text},${line.slice(1)}`;
    } catch {
      // It failed, or its result has no JSON form and can't be an answer either.
      this.forget(key, operation);
      return;
    }
    this.log(line);
  }

  private forget(key: OperationKey, operation: Operation): void {
    const names = namesOf(key);
    for (const { byOperation, byMessage } of [this.current, this.older]) {
      if (byOperation.get(names.operation) === operation) byOperation.delete(names.operation);
      if (byMessage.get(names.message) === operation) byMessage.delete(names.message);
    }
  }
}
