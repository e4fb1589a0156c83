import type { Clock, MeteredClient, TrafficTag } from "@failstorm/core";
import { checkedDocument, type DidDocument, documentUrl } from "./did.ts";
import { parseJson } from "./json.ts";

export interface DidResolverOptions {
  readonly client: MeteredClient;
  readonly clock: Clock;
  /** Which hosts are reached without TLS. */
  readonly isPlain: (host: string) => boolean;
  /** Documents of agents of this process. */
  readonly own: (did: string) => DidDocument | undefined;
}

interface Cached {
  readonly at: number;
  /** When it was last fetched because of a signature that did not verify. */
  refreshedAt: number;
  readonly document: DidDocument;
}

const CACHE_MS = 600_000;
const MAX_CACHED = 10_000;
const MAX_DOCUMENT_BYTES = 256 * 1024;
/** A host that is slow to say who the caller is must not keep the caller's request for ever. */
const RESOLUTION_TIMEOUT_MS = 5_000;
/** A signature that does not verify makes its document be fetched again, but no document more often than this. */
const REFETCH_MS = 1_000;

/** A document as its host gives it; undefined when there is none, or it is not that DID's. Transport errors are thrown. */
export async function fetchDocument(
  client: MeteredClient,
  did: string,
  url: string,
  signal?: AbortSignal,
): Promise<DidDocument | undefined> {
  const init = { method: "GET", headers: { accept: "application/json" }, ...(signal ? { signal } : {}) };
  const { status, body } = await client.request(url, init);
  if (status !== 200 || body.length > MAX_DOCUMENT_BYTES) return undefined;
  return checkedDocument(did, parseJson(body.toString("utf8"))) ?? undefined;
}

/** DID documents of callers (ANP-02 §3.2.1, steps 3 and 4), cached. */
export class DidResolver {
  private readonly options: DidResolverOptions;
  private readonly cache = new Map<string, Cached>();
  private readonly underWay = new Map<string, Promise<DidDocument | null>>();

  constructor(options: DidResolverOptions) {
    this.options = options;
  }

  /** The document, at once when it is known; null when the DID is malformed, unknown, or its host does not answer. */
  resolve(did: string, tag: (did: string) => TrafficTag): DidDocument | Promise<DidDocument | null> {
    const own = this.options.own(did);
    if (own !== undefined) return own;
    const cached = this.cache.get(did);
    if (cached !== undefined && this.age(cached) < CACHE_MS) return cached.document;
    return this.fetch(did, tag);
  }

  /** The document as it is now, after what the cached one said proved wrong (ANP-P2 §9.5). */
  async refresh(did: string, tag: (did: string) => TrafficTag): Promise<DidDocument | null> {
    const cached = this.cache.get(did);
    const now = this.options.clock.now();
    if (cached !== undefined && now - cached.refreshedAt < REFETCH_MS) return cached.document;
    const document = await this.fetch(did, tag);
    const fresh = this.cache.get(did);
    if (fresh !== undefined) fresh.refreshedAt = now;
    return document;
  }

  /** What a handshake of this process's own has fetched. */
  remember(document: DidDocument): void {
    const refreshedAt = this.cache.get(document.id)?.refreshedAt ?? Number.NEGATIVE_INFINITY;
    this.cache.delete(document.id);
    this.cache.set(document.id, { at: this.options.clock.now(), refreshedAt, document });
    for (const oldest of this.cache.keys()) {
      if (this.cache.size <= MAX_CACHED) break;
      this.cache.delete(oldest);
    }
  }

  clear(): void {
    this.cache.clear();
  }

  private age({ at }: Cached): number {
    return this.options.clock.now() - at;
  }

  private fetch(did: string, tag: (did: string) => TrafficTag): Promise<DidDocument | null> {
    const running = this.underWay.get(did);
    if (running !== undefined) return running;
    const fetching = this.fetchNow(did, tag).finally(() => this.underWay.delete(did));
    this.underWay.set(did, fetching);
    return fetching;
  }

  private async fetchNow(did: string, tag: (did: string) => TrafficTag): Promise<DidDocument | null> {
    const url = documentUrl(did, this.options.isPlain);
    if (url === null) return null;
    const signal = AbortSignal.timeout(RESOLUTION_TIMEOUT_MS);
    try {
      const document = await this.unreported(tag(did), () => fetchDocument(this.options.client, did, url, signal));
      if (document !== undefined) this.remember(document);
      return document ?? null;
    } catch {
      return null;
    }
  }

  /**
   * No call of this agent waits for these bytes, so none can report them. Measuring only the start of the request makes the client
   * report them itself, under the tag, as bytes of an operation that has ended.
   */
  private async unreported<T>(tag: TrafficTag, fn: () => Promise<T>): Promise<T> {
    const { value } = await this.options.client.measure(tag, async () => ({ pending: fn() }));
    return value.pending;
  }
}
