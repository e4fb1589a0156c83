import { randomUUID } from "node:crypto";
import type { Clock } from "@failstorm/core";
import type { Served } from "./library.ts";

/** Conversations kept at most; the one that was silent longest makes room. */
const MAX_CONVERSATIONS = 10_000;

export interface Conversation {
  readonly id: string;
  /** One conversation, one protocol (spec 7.2). */
  readonly served: Served;
  /** Unix seconds, what the client is told. */
  expires: number;
  /** The same instant on the monotonic clock, what counts. */
  expiresAt: number;
}

export type Found =
  | { readonly state: "open"; readonly conversation: Conversation }
  | { readonly state: "expired" }
  | { readonly state: "unknown" };

/**
 * The server's conversations (spec 7), in memory like the reference library's: a crash forgets them and clients open new ones. Each message
 * extends its conversation's life. An id is told "expired" for another lifetime after its end, and is unknown after that.
 */
export class Conversations {
  private readonly clock: Clock;
  private readonly ttlMs: number;
  /** Ordered by expiry, since every renewal moves its entry to the end. */
  private readonly byId = new Map<string, Conversation>();

  constructor(clock: Clock, ttlMs: number) {
    this.clock = clock;
    this.ttlMs = ttlMs;
  }

  open(served: Served): Conversation {
    this.sweep();
    const conversation = { id: randomUUID(), served, expires: 0, expiresAt: 0 };
    this.renew(conversation);
    return conversation;
  }

  find(id: string): Found {
    const conversation = this.byId.get(id);
    if (conversation === undefined || this.isForgotten(conversation)) return { state: "unknown" };
    return this.clock.now() < conversation.expiresAt ? { state: "open", conversation } : { state: "expired" };
  }

  /** Another lifetime from now, unless it was closed meanwhile. */
  extend(conversation: Conversation): void {
    if (this.byId.has(conversation.id)) this.renew(conversation);
  }

  close(id: string): void {
    this.byId.delete(id);
  }

  private renew(conversation: Conversation): void {
    const wallMs = this.clock.wall();
    conversation.expires = Math.ceil((wallMs + this.ttlMs) / 1000);
    conversation.expiresAt = this.clock.now() + conversation.expires * 1000 - wallMs;
    this.byId.delete(conversation.id);
    this.byId.set(conversation.id, conversation);
  }

  private isForgotten({ expiresAt }: Conversation): boolean {
    return this.clock.now() >= expiresAt + this.ttlMs;
  }

  private sweep(): void {
    for (const [id, conversation] of this.byId) {
      if (!this.isForgotten(conversation) && this.byId.size < MAX_CONVERSATIONS) return;
      this.byId.delete(id);
    }
  }
}
