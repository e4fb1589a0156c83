import type { AgentId, Clock, Roster } from "@failstorm/core";
import type { DocumentStore } from "./documentStore.ts";
import { Refusal } from "./messenger.ts";
import type { Recorder } from "./recorder.ts";

/**
 * Pulls the document from the neighbours, its source first, until it is stored: whoever has it serves it, so that it spreads over
 * the links whatever the topology. Rejects when `signal` aborts.
 */
export async function pullDocument(options: {
  readonly store: DocumentStore;
  readonly expected: Roster["document"];
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly signal: AbortSignal;
  readonly retryMs: number;
  readonly candidates: () => readonly AgentId[];
  readonly ask: (peer: AgentId, offset: number, length: number) => Promise<unknown>;
}): Promise<void> {
  const { store, expected, clock, recorder, signal } = options;
  const startedAt = clock.now();
  const sourceFirst = (a: AgentId, b: AgentId): number => Number(b === expected.source) - Number(a === expected.source);
  for (;;) {
    for (const peer of options.candidates().toSorted(sourceFirst)) {
      try {
        await store.pull(expected, (offset, length) => options.ask(peer, offset, length));
        const { sha256, bytes } = expected;
        recorder.event({ ev: "document.stored", sha256, bytes, from: peer, ms: clock.now() - startedAt });
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof Refusal)
          recorder.event({ ev: "log", level: "warning", message: `document from ${peer}: ${error.message}` });
      }
    }
    await clock.sleep(options.retryMs, signal);
  }
}
