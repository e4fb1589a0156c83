/** What a subscriber has not yet taken. Ends when `end` is called, or at once when its reader is gone. */
export class Feed<T> {
  private readonly waiting: T[] = [];
  private wake: (() => void) | null = null;
  private ended = false;

  constructor(readerGone: AbortSignal | undefined) {
    if (readerGone?.aborted) this.ended = true;
    else readerGone?.addEventListener("abort", this.abandon, { once: true });
  }

  push(item: T): void {
    if (this.ended) return;
    this.waiting.push(item);
    this.wake?.();
  }

  /** Nothing follows what was pushed. */
  end = (): void => {
    this.ended = true;
    this.wake?.();
  };

  async *items(): AsyncGenerator<T, void, undefined> {
    for (;;) {
      for (let item = this.waiting.shift(); item !== undefined; item = this.waiting.shift()) yield item;
      if (this.ended) return;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.wake = null;
    }
  }

  private abandon = (): void => {
    this.waiting.length = 0;
    this.end();
  };
}
