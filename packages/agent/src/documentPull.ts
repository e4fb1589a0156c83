import type { AgentId, Clock, Roster } from "@failstorm/core";
import type { DocumentStore } from "./documentStore.ts";
import { Refusal } from "./messenger.ts";
import type { Recorder } from "./recorder.ts";

/**
 * Pulls the document from the neighbours, its source first, until it is stored: whoever has it serves it, so that it spreads over
 * the links whatever the topology. While none of them has it, each is asked to say when it does: on a large ring, where it takes many hops, agents
 * that asked again and again would keep those from answering who have it. Rejects when `signal` aborts.
 */
export async function pullDocument(options: {
  readonly store: DocumentStore;
  readonly expected: Roster["document"];
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly signal: AbortSignal;
  readonly retryMs: number;
  /** How long a neighbour may take to get it; then it is asked again. */
  readonly waitMs: number;
  readonly candidates: () => readonly AgentId[];
  readonly ask: (peer: AgentId, part: { offset: number; length: number; waitMs?: number }) => Promise<unknown>;
}): Promise<void> {
  const { store, expected, clock, recorder, signal, retryMs, waitMs, ask } = options;
  const startedAt = clock.now();
  let first: AgentId = expected.source;
  for (;;) {
    const candidates = options.candidates();
    for (const peer of candidates.toSorted((a, b) => Number(b === first) - Number(a === first))) {
      try {
        await store.pull(expected, (offset, length) => ask(peer, { offset, length }));
        const { sha256, bytes } = expected;
        recorder.event({ ev: "document.stored", sha256, bytes, from: peer, ms: clock.now() - startedAt });
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof Refusal)
          recorder.event({ ev: "log", level: "warning", message: `document from ${peer}: ${error.message}` });
      }
    }
    try {
      first = await Promise.any(candidates.map((peer) => ask(peer, { offset: 0, length: 0, waitMs }).then(() => peer)));
    } catch {
      signal.throwIfAborted();
      await clock.sleep(retryMs, signal);
    }
  }
}
