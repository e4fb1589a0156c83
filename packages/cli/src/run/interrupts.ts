import type { Clock } from "@failstorm/core";

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
type Interrupt = keyof typeof EXIT_CODES;

/** A terminal's Ctrl-C reaches this process and pnpm, which sends it on: the same key press twice, a few ms apart. */
const SAME_KEY_PRESS_MS = 300;

export interface Interrupts {
  /** Aborts at the first signal: end in order. */
  readonly signal: AbortSignal;
  /** 128 + the signal's number; null when none came. */
  exitCode(): number | null;
  close(): void;
}

/** Watches for Ctrl-C, SIGTERM and a closed terminal; at a second one `onSecond` is called with the exit code, at once. */
export function watchInterrupts(
  clock: Clock,
  callbacks: { onFirst: () => void; onSecond: (exitCode: number) => void },
): Interrupts {
  const abort = new AbortController();
  let first: { signal: Interrupt; at: number } | null = null;
  const onSignal = (signal: Interrupt): void => {
    if (first === null) {
      first = { signal, at: clock.now() };
      callbacks.onFirst();
      abort.abort(new Error(`interrupted by ${signal}`));
    } else if (clock.now() - first.at > SAME_KEY_PRESS_MS) callbacks.onSecond(EXIT_CODES[first.signal]);
  };
  const signals = Object.keys(EXIT_CODES) as Interrupt[];
  for (const signal of signals) process.on(signal, onSignal);
  return {
    signal: abort.signal,
    exitCode: () => (first === null ? null : EXIT_CODES[first.signal]),
    close: () => {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}
