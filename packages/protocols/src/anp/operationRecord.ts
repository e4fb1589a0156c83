import path from "node:path";
import { GenerationLog } from "./generationLog.ts";
import { isObject, type JsonObject, parseJson } from "./json.ts";

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
  readonly fingerprint: string;
  readonly result: Promise<JsonObject>;
}

export interface OperationRecord {
  /** By operation id first, then by message id. */
  find(key: OperationKey): Operation | undefined;
  /** Notes an operation under way. Once it has a result this is kept; when it fails it is forgotten. */
  add(key: OperationKey, fingerprint: string, result: Promise<JsonObject>): void;
  close(): void;
}

interface Entry {
  readonly key: OperationKey;
  readonly operation: Operation;
}

/** When answers are so big that a generation gets here before its time, they are remembered for less. */
const MAX_GENERATION_BYTES = 32 * 1024 * 1024;

const operationOf = (key: OperationKey): string =>
  JSON.stringify([key.senderDid, key.targetDid, key.method, key.devices, key.operationId]);
const messageOf = (key: OperationKey): string =>
  JSON.stringify([key.senderDid, key.targetDid, key.method, key.devices, null, key.messageId]);

function readLine(line: string): Entry | null {
  const stored = parseJson(line);
  if (!isObject(stored) || !isObject(stored["key"]) || !isObject(stored["result"])) return null;
  const { key, fingerprint, result } = stored as { key: OperationKey; fingerprint: string; result: JsonObject };
  return { key, operation: { fingerprint, result: Promise.resolve(result) } };
}

/**
 * The record behind ANP's mandatory idempotency. Only results are written: an operation whose process was killed was never
 * accepted, and is executed when it comes again.
 */
export function openOperationRecord(
  workspaceDir: string,
  agentId: string,
  rememberMs: number,
  now: () => number,
): OperationRecord {
  let current = new Map<string, Operation>();
  let older = new Map<string, Operation>();
  const set = ({ key, operation }: Entry): void => {
    current.set(operationOf(key), operation);
    current.set(messageOf(key), operation);
  };
  const log = new GenerationLog({
    file: path.join(workspaceDir, `anp-operations-${encodeURIComponent(agentId)}.log`),
    generationMs: rememberMs,
    maxBytes: MAX_GENERATION_BYTES,
    now,
    onLine(line) {
      const entry = readLine(line);
      if (entry !== null) set(entry);
    },
    onRotate() {
      older = current;
      current = new Map();
    },
  });
  const find = (id: string): Operation | undefined => current.get(id) ?? older.get(id);
  let open = true;
  const keep = async (key: OperationKey, operation: Operation): Promise<void> => {
    try {
      const result = await operation.result;
      if (open) log.append(JSON.stringify({ key, fingerprint: operation.fingerprint, result }));
    } catch {
      for (const id of [operationOf(key), messageOf(key)])
        for (const generation of [current, older]) if (generation.get(id) === operation) generation.delete(id);
    }
  };
  return {
    find: (key) => find(operationOf(key)) ?? find(messageOf(key)),
    add(key, fingerprint, result) {
      const operation = { fingerprint, result };
      set({ key, operation });
      void keep(key, operation);
    },
    close() {
      open = false;
      log.close();
    },
  };
}
