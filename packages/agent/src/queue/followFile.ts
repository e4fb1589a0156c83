import { open } from "node:fs/promises";
import { Readable } from "node:stream";

const CHUNK_BYTES = 64 * 1024;

/** A file that somebody else still writes, as a stream: read as far as it is whole, on when there is more, to its end when it is ended. */
export interface FollowedFile {
  readonly stream: Readable;
  /** It is whole up to `bytes` now; `ended`: it stays so. */
  grow(bytes: number, ended: boolean): void;
}

/** `onRead` is told how far it has been read: only as far as somebody asks for what is in it. */
export function followFile(file: string, onRead: (bytes: number) => void): FollowedFile {
  let whole = { bytes: 0, ended: false };
  let wake = (): void => {};
  async function* read(): AsyncGenerator<Buffer> {
    await using handle = await open(file, "r");
    for (let at = 0; ; ) {
      if (at >= whole.bytes) {
        if (whole.ended) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, whole.bytes - at));
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) throw new Error(`${file}: is shorter than the ${whole.bytes} bytes that were written`);
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
      onRead(at);
    }
  }
  return {
    stream: Readable.from(read(), { objectMode: false, highWaterMark: CHUNK_BYTES }),
    grow(bytes, ended) {
      whole = { bytes, ended };
      wake();
    },
  };
}
