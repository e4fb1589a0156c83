import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type ProtocolDocument, parseDocument } from "./document.ts";
import { routineOf } from "./library.ts";

/** What is kept at most; beyond it the oldest of somebody else's documents goes. `wellknown` lists them all with their texts. */
const MAX_DOCUMENTS = 256;
const MAX_TOTAL_BYTES = 1024 * 1024;
const SUFFIX = ".txt";

/**
 * The protocol documents that an agent knows and supports, by hash. A document never changes (its hash is its name), and the reference
 * library keeps the ones it knows in a file; so do we, one file each, and they outlive a crash. In memory only when configured: then a
 * crash forgets them and senders have to send their sources again. A file that was cut short does not match its name and is dropped.
 */
export class DocumentStore {
  private readonly documents = new Map<string, ProtocolDocument>();
  private readonly folder: string | null;

  /** `folder` null = in memory. */
  constructor(folder: string | null) {
    this.folder = folder;
    if (folder === null) return;
    for (const name of filesIn(folder)) this.load(path.join(folder, name), name);
  }

  get(hash: string): ProtocolDocument | undefined {
    return this.documents.get(hash);
  }

  list(): readonly ProtocolDocument[] {
    return [...this.documents.values()];
  }

  /** Keeps a document. One that cannot be written to the disk is kept in memory: its senders have it too. */
  add(document: ProtocolDocument): void {
    if (this.documents.has(document.hash)) return;
    this.documents.set(document.hash, document);
    this.write(document);
    while (this.documents.size > MAX_DOCUMENTS || this.totalBytes() > MAX_TOTAL_BYTES) this.evict(document);
  }

  private totalBytes(): number {
    return this.list().reduce((total, { text }) => total + Buffer.byteLength(text), 0);
  }

  private evict(newest: ProtocolDocument): void {
    const oldest = this.list().find((document) => routineOf(document).type === "foreign" && document !== newest) ?? newest;
    this.documents.delete(oldest.hash);
    if (this.folder !== null) rmSync(path.join(this.folder, oldest.hash + SUFFIX), { force: true });
  }

  private load(file: string, name: string): void {
    const document = readDocument(file);
    if (document !== null && name === document.hash + SUFFIX) this.documents.set(document.hash, document);
    else rmSync(file, { force: true });
  }

  private write({ hash, text }: ProtocolDocument): void {
    if (this.folder !== null) writeWhole(path.join(this.folder, hash + SUFFIX), text);
  }
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    // Not there before the first document.
    return [];
  }
}

function readDocument(file: string): ProtocolDocument | null {
  try {
    return parseDocument(readFileSync(file, "utf8"));
  } catch {
    return null;
  }
}

/** Writes a file whole or not at all; false when the disk will not have it. */
export function writeWhole(file: string, text: string): boolean {
  const draft = `${file}.draft`;
  try {
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(draft, text);
    renameSync(draft, file);
    return true;
  } catch {
    return false;
  }
}
