import { type AgentId, CommError } from "@failstorm/core";
import type { AcpClient, Line } from "./client.ts";
import { isRecord, type Session } from "./model.ts";

/** Conversations remembered; the least recently used are forgotten first, and then start anew at their next server. */
const MAX_SESSIONS = 1000;

/**
 * Where each session was last, as ACP's own client keeps it: the server that has it needs only its id; another one is given the
 * session itself, read from the last one. When that is dead, what was last known of the history goes along: the URLs in it, which
 * point at servers that may be dead as well.
 */
export class SessionTracker {
  private readonly last = new Map<string, { readonly peer: AgentId; readonly known: Session }>();
  private readonly client: AcpClient;

  constructor(client: AcpClient) {
    this.client = client;
  }

  /** What a run in this session must carry to `line`'s peer: nothing but the id, or the session. */
  async forwardFor(id: string, line: Line): Promise<Session | undefined> {
    const before = this.last.get(id);
    const known = before === undefined || before.peer === line.peer ? before?.known : await this.refresh(before, line);
    this.last.delete(id);
    this.last.set(id, { peer: line.peer, known: known ?? { id, history: [] } });
    for (const oldest of this.last.keys()) {
      if (this.last.size <= MAX_SESSIONS) break;
      this.last.delete(oldest);
    }
    return before === undefined || before.peer === line.peer ? undefined : known;
  }

  clear(): void {
    this.last.clear();
  }

  /** By the path that running servers have; by the document's where there is no such thing. */
  private async read(id: string, line: Line): Promise<unknown> {
    try {
      return await this.client.get(`/sessions/${id}`, line);
    } catch (error) {
      // A server without that path says so in its own words, or in ACP's.
      if (!(error instanceof CommError)) throw error;
      return this.client.get(`/session/${id}`, line);
    }
  }

  private async refresh({ peer, known }: { peer: AgentId; known: Session }, { signal }: Line): Promise<Session> {
    const base = this.client.baseOf(peer);
    if (base === undefined) return known;
    try {
      const raw = await this.read(known.id, { peer, base, signal });
      if (!isRecord(raw) || raw["id"] !== known.id || !Array.isArray(raw["history"]))
        throw new CommError("protocol", peer, `${peer}: the answer is not the session`, { detail: raw });
      const { state } = raw;
      const history = raw["history"].filter((url): url is string => typeof url === "string");
      return { id: known.id, history, ...(typeof state === "string" ? { state } : {}) };
    } catch (error) {
      signal?.throwIfAborted();
      // The history died with its host: that is ACP's way, and no reason not to go on.
      if (error instanceof Error) return known;
      throw error;
    }
  }
}
