import assert from "node:assert/strict";
import { type AgentEvent, type SendOptions, systemClock } from "@failstorm/core";
import type { Definition } from "./define.ts";
import { eventually, expectFailure, PATIENCE_MS, within } from "./expectations.ts";
import type { Execute, Peer } from "./world.ts";

const said = (event: AgentEvent): string[] => (event.type === "agent_text_message" ? [event.text] : []);

/** Begins work at agent-1 and tells under which id it is done there. */
async function begin(a: Peer, options: SendOptions = {}): Promise<{ workId: string; answer: Promise<unknown> }> {
  const accepted = Promise.withResolvers<string>();
  const answer = a.backend.send(
    "agent-0",
    "agent-1",
    { text: "begin" },
    { onEvent: () => {}, onAccepted: accepted.resolve, ...options },
  );
  // Whoever awaits it later sees the failure; until then it is nobody's.
  answer.catch(() => {});
  return { workId: await within("the peer says under which id it does the work", PATIENCE_MS, accepted.promise), answer };
}

/** Works until it is told to end, or is cancelled. */
function gated(): { execute: Execute; release: () => void; cancelled: () => boolean } {
  const gate = Promise.withResolvers<void>();
  let isCancelled = false;
  return {
    release: gate.resolve,
    cancelled: () => isCancelled,
    execute: async ({ signal }, queue) => {
      const cancelled = Promise.withResolvers<never>();
      signal.addEventListener("abort", () => {
        isCancelled = true;
        cancelled.reject(signal.reason);
      });
      await Promise.race([gate.promise, cancelled.promise]);
      queue.enqueue({ type: "agent_text_message", text: "done" });
    },
  };
}

export const streaming: readonly Definition[] = [
  {
    id: "contract-stream",
    title: "declared: events arrive as they are made, before the answer is complete",
    when: (capabilities) => capabilities.streaming,
    check: async (world) => {
      const gate = Promise.withResolvers<void>();
      const { a } = await world.pair(async (_context, queue) => {
        queue.enqueue({ type: "agent_text_message", text: "first" });
        await within("the first event reaches the caller while the work goes on", PATIENCE_MS, gate.promise);
        queue.enqueue({ type: "agent_parts_message", parts: [{ kind: "data", data: { n: 2 } }] });
        queue.enqueue({ type: "agent_text_message", text: "last" });
      });
      const events: AgentEvent[] = [];
      const answer = await a.backend.send(
        "agent-0",
        "agent-1",
        { text: "x" },
        {
          onEvent: (event) => {
            events.push(event);
            if (said(event).includes("first")) gate.resolve();
          },
        },
      );
      assert.deepEqual(events.flatMap(said), ["first", "last"]);
      assert.deepEqual(answer.parts, [
        { kind: "text", text: "first" },
        { kind: "data", data: { n: 2 } },
        { kind: "text", text: "last" },
      ]);
    },
  },
  {
    id: "contract-stream-long",
    title: "declared: a stream of many events loses none and keeps their order",
    when: (capabilities) => capabilities.streaming,
    check: async (world) => {
      const words = Array.from({ length: 300 }, (_, i) => `word ${i} ${"é".repeat(i)}`);
      const { a } = await world.pair(async (_context, queue) => {
        for (const text of words) queue.enqueue({ type: "agent_text_message", text });
      });
      const events: AgentEvent[] = [];
      const answer = await a.backend.send("agent-0", "agent-1", { text: "x" }, { onEvent: (event) => events.push(event) });
      assert.deepEqual(events.flatMap(said), words);
      assert.equal(answer.text, words.join(""));
    },
  },
  {
    id: "contract-stream-error",
    title: "an execution that throws after its first event is still the protocol's error",
    check: async (world) => {
      const { a } = await world.pair(async (_context, queue) => {
        queue.enqueue({ type: "agent_text_message", text: "so far so good" });
        throw new Error("lost the thread");
      });
      const sent = a.backend.send("agent-0", "agent-1", { text: "x" }, { onEvent: () => {} });
      assert.match((await expectFailure("send", sent, { peer: "agent-1", codes: ["remote"] })).message, /lost the thread/);
    },
  },
  {
    id: "contract-no-stream",
    title: "not declared: a caller that listens for events gets its answer all the same",
    when: (capabilities) => !capabilities.streaming,
    check: async (world) => {
      const { a } = await world.pair();
      assert.equal((await a.backend.send("agent-0", "agent-1", { text: "x" }, { onEvent: () => {} })).text, "x");
    },
  },
];

export const cancellation: readonly Definition[] = [
  {
    id: "contract-cancel",
    title: "declared: cancelled work is told so by its signal, and whoever waits for it gets a failure",
    when: (capabilities) => capabilities.cancel,
    check: async (world) => {
      const work = gated();
      const { a } = await world.pair(work.execute);
      const { workId, answer } = await begin(a);
      await a.backend.cancel?.("agent-0", "agent-1", workId);
      await eventually("the signal of the work aborts", PATIENCE_MS, work.cancelled);
      await expectFailure("the send whose work was cancelled", answer, { peer: "agent-1", codes: ["remote"] });
    },
  },
  {
    id: "contract-cancel-unknown",
    title: "declared: cancelling what the peer does not know is the protocol's error",
    when: (capabilities) => capabilities.cancel,
    check: async (world) => {
      const { a } = await world.pair();
      const unknown = a.backend.cancel?.("agent-0", "agent-1", "00000000-0000-4000-8000-000000000000") ?? Promise.resolve();
      await expectFailure("cancel", unknown, { peer: "agent-1", codes: ["remote"] });
    },
  },
];

export const resumption: readonly Definition[] = [
  {
    id: "contract-resume",
    title: "declared: whoever lost the connection gets the answer to the work that went on",
    when: (capabilities) => capabilities.resume,
    check: async (world) => {
      const work = gated();
      const { a, b } = await world.pair(work.execute);
      const lost = new AbortController();
      const { workId, answer } = await begin(a, { signal: lost.signal });
      lost.abort(new Error("the line is dead"));
      await expectFailure("the send that was cut", answer, { peer: "agent-1", codes: ["aborted"] });
      const resumed = a.backend.resume?.("agent-0", "agent-1", workId, { onEvent: () => {} });
      // Some of the time the work ends only after the caller is back.
      await systemClock.sleep(30);
      work.release();
      const result = await within("the answer after resume", PATIENCE_MS, resumed ?? Promise.reject(new Error("no resume")));
      assert.equal(result.text, "done");
      const later = await within(
        "the answer once more",
        PATIENCE_MS,
        a.backend.resume?.("agent-0", "agent-1", workId) ?? Promise.resolve(null),
      );
      assert.equal(later?.text, "done", "also when the work was done before");
      assert.equal(b.executions.length, 1, "nothing was executed again");
    },
  },
  {
    id: "contract-resume-unknown",
    title: "declared: resuming what the peer does not know is the protocol's error",
    when: (capabilities) => capabilities.resume,
    check: async (world) => {
      const { a } = await world.pair();
      const unknown = a.backend.resume?.("agent-0", "agent-1", "00000000-0000-4000-8000-000000000000") ?? Promise.resolve();
      await expectFailure("resume", unknown, { peer: "agent-1", codes: ["remote"] });
    },
  },
];
