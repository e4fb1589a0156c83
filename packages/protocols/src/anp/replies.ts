import type { Content } from "./directMessage.ts";

/** Who waits for the answer to a direct message that the peer only accepted. */
export interface Replies {
  /** From now on an answer to this message is taken for it; call `release` in the end. */
  expect(did: string, messageId: string): { readonly content: Promise<Content>; release(): void };
  /** Hands over an answer; false when nobody waits for it. */
  deliver(did: string, messageId: string, content: Content): boolean;
}

/**
 * Success of `direct.send` only means acceptance (ANP-P3 §3.3). Our own agents answer in the result; a stranger's answer comes as a
 * direct message of its own, with `reply_to_message_id`.
 */
export function createReplies(): Replies {
  const waiting = new Map<string, (content: Content) => void>();
  return {
    expect(did, messageId) {
      const { promise, resolve } = Promise.withResolvers<Content>();
      const key = `${did} ${messageId}`;
      waiting.set(key, resolve);
      return {
        content: promise,
        release() {
          if (waiting.get(key) === resolve) waiting.delete(key);
        },
      };
    },
    deliver(did, messageId, content) {
      const resolve = waiting.get(`${did} ${messageId}`);
      resolve?.(content);
      return resolve !== undefined;
    },
  };
}
