/** More than this in one reply is no reply; a streamed one has some 300 bytes around each token. */
const MAX_REPLY_BYTES = 4 * 1024 * 1024;

export class ReplyTooLarge extends Error {
  constructor() {
    super(`the reply has more than ${MAX_REPLY_BYTES} bytes`);
    this.name = "ReplyTooLarge";
  }
}

/** A fetch whose answers break off, with ReplyTooLarge, where they get too large to be kept. */
export const boundedFetch =
  (fetch: typeof globalThis.fetch): typeof globalThis.fetch =>
  async (input, init) => {
    const response = await fetch(input, init);
    if (response.body === null) return response;
    let bytes = 0;
    const limit = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        bytes += chunk.byteLength;
        if (bytes > MAX_REPLY_BYTES) controller.error(new ReplyTooLarge());
        else controller.enqueue(chunk);
      },
    });
    const { status, statusText, headers } = response;
    return new Response(response.body.pipeThrough(limit), { status, statusText, headers });
  };
