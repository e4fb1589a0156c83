import type { MeteredClient } from "@failstorm/core";
import { hashOf, MAX_DOCUMENT_BYTES, type ProtocolDocument, parseDocument, textOfDataUri } from "./document.ts";

/** Of the sources that one request names, so many are fetched, and all of them within so long. */
const MAX_FETCHES = 4;
const FETCH_TIMEOUT_MS = 3_000;
/** Requests whose sources are being fetched at the same time; the next is told that its protocol is unsupported. */
const MAX_CONCURRENT = 8;

export interface SourcesOptions {
  readonly client: MeteredClient;
  /** Hosts, besides loopback, that may be fetched from; asked at each fetch, since peers move. */
  readonly allowedHosts: () => ReadonlySet<string>;
  readonly onFetch: () => void;
  /** For all fetches of one request together, ms; 3 s unless told. */
  readonly timeoutMs?: number;
}

const isLoopback = (host: string): boolean => host === "localhost" || host === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(host);

/** Reads at most a document's worth of an answer; null when it is longer. */
async function readBounded(response: Response): Promise<string | null> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += (chunk as Uint8Array).byteLength;
    // Leaving the loop cancels the stream, and with it the transfer.
    if (size > MAX_DOCUMENT_BYTES) return null;
    chunks.push(chunk as Uint8Array);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/**
 * Finds the document with a given hash among its sources: the text itself, a `data:` URI, or a URL. Nothing is taken but what hashes to
 * the name it was asked for by; a URL is fetched from loopback, peers and configured hosts only, without redirects, within bounds of size,
 * time and number.
 */
export class Sources {
  private readonly options: SourcesOptions;
  private underWay = 0;

  constructor(options: SourcesOptions) {
    this.options = options;
  }

  /** Null when no source has it. Never throws. */
  async find(hash: string, sources: readonly string[]): Promise<ProtocolDocument | null> {
    const here = textsIn(sources).find((text) => hashOf(text) === hash);
    if (here !== undefined) return parseDocument(here);
    const urls = sources.filter((source) => this.mayFetch(source)).slice(0, MAX_FETCHES);
    if (urls.length === 0 || this.underWay >= MAX_CONCURRENT) return null;
    this.underWay += 1;
    try {
      const signal = AbortSignal.timeout(this.options.timeoutMs ?? FETCH_TIMEOUT_MS);
      for (const url of urls) {
        const text = await this.fetch(url, signal);
        if (text !== null && hashOf(text) === hash) return parseDocument(text);
      }
      return null;
    } finally {
      this.underWay -= 1;
    }
  }

  private mayFetch(source: string): boolean {
    const url = URL.parse(source);
    if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) return false;
    if (url.username !== "" || url.password !== "") return false;
    // A URL has an IPv6 address in brackets, an endpoint has it without.
    const bare = url.hostname.replace(/^\[(.*)\]$/, "$1");
    const allowed = this.options.allowedHosts();
    return isLoopback(url.hostname) || allowed.has(url.hostname) || allowed.has(bare);
  }

  private async fetch(url: string, signal: AbortSignal): Promise<string | null> {
    const { client, onFetch } = this.options;
    onFetch();
    const tag = { cause: "setup", kind: "handshake", peer: new URL(url).host } as const;
    try {
      const { value } = await client.measure(tag, async () => {
        const response = await client.fetch(url, { signal, redirect: "error" });
        if (response.status === 200) return readBounded(response);
        await response.body?.cancel();
        return null;
      });
      return value;
    } catch {
      // A source that cannot be had is no source.
      return null;
    }
  }
}

/** The texts that sources carry themselves; the spec's example (9) gives one document in two pieces, so their sums count too. */
function textsIn(sources: readonly string[]): readonly string[] {
  const texts: string[] = [];
  const plain: string[] = [];
  for (const source of sources) {
    if (/^https?:/i.test(source)) continue;
    const text = /^data:/i.test(source) ? textOfDataUri(source) : source;
    if (text === null) continue;
    texts.push(text);
    if (text === source) plain.push(text);
  }
  return plain.length > 1 ? [...texts, plain.join(""), plain.join("\n")] : texts;
}
