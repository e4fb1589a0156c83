import assert from "node:assert/strict";
import type { Part } from "@failstorm/core";
import type { Definition } from "./define.ts";
import { eventually, expectFailure, expectTraffic, PATIENCE_MS } from "./expectations.ts";
import { introduce } from "./world.ts";

const WORDS = 'Où est "Zürich"?\n\t\\ 东京 🦀 \u0000 </script> %2F';
const BIG = 8 * 1024 * 1024;
const CONCURRENT = 1_000;

const PARTS: readonly Part[] = [
  { kind: "text", text: "first" },
  { kind: "data", data: { nested: { list: [1, -2.5, 1e21, null, true, "x"], empty: {} }, "key with spaces": "é" } },
  { kind: "text", text: WORDS },
  { kind: "data", data: { second: [] } },
];

export const messages: readonly Definition[] = [
  {
    id: "contract-text",
    title: "text travels there and back as it is, with whom it is from",
    check: async (world) => {
      const { a, b } = await world.pair();
      const answer = await a.backend.send("agent-0", "agent-1", { text: WORDS });
      assert.equal(answer.text, WORDS);
      assert.deepEqual(answer.parts, [{ kind: "text", text: WORDS }]);
      assert.notEqual(answer.raw, undefined, "the answer as the protocol delivered it");
      expectTraffic("send", answer.traffic);
      const [execution] = b.executions;
      assert.deepEqual(execution?.payload, { text: WORDS });
      assert.ok(execution.messageId.length > 0);
      assert.ok([null, "agent-0"].includes(execution.from), `from ${execution.from}`);
    },
  },
  {
    id: "contract-parts",
    title: "parts travel both ways, in order, their data untouched",
    check: async (world) => {
      const { a, b } = await world.pair();
      const answer = await a.backend.send("agent-0", "agent-1", { parts: PARTS });
      assert.deepEqual(b.executions[0]?.payload, { parts: PARTS });
      assert.deepEqual(answer.parts, PARTS);
      assert.equal(answer.text, `first${WORDS}`, "the words of all parts");
    },
  },
  {
    id: "contract-several-events",
    title: "an answer of several events has the parts of all, in order",
    check: async (world) => {
      const { a } = await world.pair(async (_context, queue) => {
        queue.enqueue({ type: "status", state: "working" });
        queue.enqueue({ type: "agent_text_message", text: "one" });
        queue.enqueue({ type: "agent_parts_message", parts: PARTS });
        queue.enqueue({ type: "agent_text_message", text: "two" });
      });
      const answer = await a.backend.send("agent-0", "agent-1", { text: "x" });
      assert.deepEqual(answer.parts, [{ kind: "text", text: "one" }, ...PARTS, { kind: "text", text: "two" }]);
    },
  },
  {
    id: "contract-no-words",
    title: "an execution that says nothing is answered with nothing, and is no failure",
    check: async (world) => {
      const { a } = await world.pair(async () => {});
      const answer = await a.backend.send("agent-0", "agent-1", { text: "x" });
      assert.equal(answer.text, "");
      assert.deepEqual(answer.parts, []);
    },
  },
  {
    id: "contract-big",
    title: "8 MB travel there and back",
    timeoutMs: 120_000,
    check: async (world) => {
      const { a } = await world.pair();
      const text = "0123456789abcdéf".repeat(BIG / 16);
      const answer = await a.backend.send("agent-0", "agent-1", { parts: [{ kind: "data", data: { text } }] });
      const [part] = answer.parts;
      assert.ok(part?.kind === "data" && (part.data as { text?: unknown }).text === text, "the data is the same");
      assert.ok(answer.traffic.bytesSent > BIG && answer.traffic.bytesReceived > BIG);
    },
  },
  {
    id: "contract-concurrent",
    title: "1 000 sends at once are all under way at the same time, and each gets its own answer",
    timeoutMs: 120_000,
    check: async (world) => {
      let begun = 0;
      const all = Promise.withResolvers<void>();
      const { a, b } = await world.pair(async ({ payload }, queue) => {
        if (++begun === CONCURRENT) all.resolve();
        await all.promise;
        queue.enqueue({ type: "agent_text_message", text: `re: ${"text" in payload ? payload.text : ""}` });
      });
      const answers = await Promise.all(
        Array.from({ length: CONCURRENT }, (_, i) => a.backend.send("agent-0", "agent-1", { text: `${i}` })),
      );
      assert.deepEqual(
        answers.map(({ text }) => text),
        Array.from({ length: CONCURRENT }, (_, i) => `re: ${i}`),
      );
      assert.equal(b.executions.length, CONCURRENT);
      assert.equal(new Set(b.executions.map(({ messageId }) => messageId)).size, CONCURRENT, "message ids differ");
    },
  },
  {
    id: "contract-both-ways",
    title: "two agents may ask each other while they are being asked",
    check: async (world) => {
      const a = await world.peer("agent-0");
      const b = await world.peer("agent-1", {
        execute: async (_context, queue) => {
          const { text } = await b.backend.send("agent-1", "agent-0", { text: "and you?" });
          queue.enqueue({ type: "agent_text_message", text: `they say ${text}` });
        },
      });
      introduce(a, b);
      assert.equal((await a.backend.send("agent-0", "agent-1", { text: "hello" })).text, "they say and you?");
    },
  },
  {
    id: "contract-context",
    title: "messages of one conversation get their answers",
    check: async (world) => {
      const { a, b } = await world.pair();
      for (const text of ["one", "two", "three"])
        assert.equal((await a.backend.send("agent-0", "agent-1", { text }, { contextId: "talk-7", taskId: "t-1" })).text, text);
      assert.equal(b.executions.length, 3);
    },
  },
  {
    id: "contract-remote-error",
    title: "an execution that throws is the protocol's error answer, with its words, and the host lives on",
    check: async (world) => {
      let runs = 0;
      const { a } = await world.pair(async (_context, queue) => {
        if (++runs === 1) throw new Error("no such shard here");
        queue.enqueue({ type: "agent_text_message", text: "better" });
      });
      const failure = await expectFailure(
        "send",
        a.backend.send("agent-0", "agent-1", { text: "x" }, { idempotencyKey: "t-1/1.search" }),
        {
          peer: "agent-1",
          codes: ["remote"],
        },
      );
      assert.match(failure.message, /no such shard here/);
      assert.notEqual(failure.detail, undefined, "the protocol's own error is the detail");
      const again = await a.backend.send("agent-0", "agent-1", { text: "x" }, { idempotencyKey: "t-1/1.search" });
      assert.equal(again.text, "better", "a failed execution is not kept as the answer");
    },
  },
];

export const idempotency: readonly Definition[] = [
  {
    id: "contract-no-key",
    title: "the same words sent twice without a key are executed twice",
    check: async (world) => {
      const { a, b } = await world.pair();
      for (let i = 0; i < 2; i++) await a.backend.send("agent-0", "agent-1", { text: "again" });
      assert.equal(b.executions.length, 2);
      assert.deepEqual(b.deduplicated, []);
    },
  },
  {
    id: "contract-idempotent",
    title: "declared: a repeated key is not executed again, gets the first answer, and is reported by that key",
    when: (capabilities) => capabilities.idempotency,
    check: async (world) => {
      let runs = 0;
      const { a, b } = await world.pair(async (_context, queue) => {
        queue.enqueue({ type: "agent_text_message", text: `run ${++runs}` });
      });
      const send = (idempotencyKey: string) => a.backend.send("agent-0", "agent-1", { text: "x" }, { idempotencyKey });
      const texts = [await send("t-1/1.search"), await send("t-1/1.search"), await send("t-1/2.search")].map(({ text }) => text);
      assert.deepEqual(texts, ["run 1", "run 1", "run 2"]);
      assert.equal(b.executions.length, 2);
      assert.deepEqual(b.deduplicated, ["t-1/1.search"]);
    },
  },
  {
    id: "contract-idempotent-at-once",
    title: "declared: a key repeated while the first is executed joins it",
    when: (capabilities) => capabilities.idempotency,
    check: async (world) => {
      const gate = Promise.withResolvers<void>();
      const { a, b } = await world.pair(async (_context, queue) => {
        await gate.promise;
        queue.enqueue({ type: "agent_text_message", text: "once" });
      });
      const send = () => a.backend.send("agent-0", "agent-1", { text: "x" }, { idempotencyKey: "t-1/1.search" });
      const both = Promise.all([send(), send()]);
      // The second is answered only when it was taken for a repetition, or was executed and waits at the gate too.
      await eventually("the second message arrives", PATIENCE_MS, () => b.deduplicated.length + b.executions.length >= 2);
      gate.resolve();
      assert.deepEqual(
        (await both).map(({ text }) => text),
        ["once", "once"],
      );
      assert.equal(b.executions.length, 1);
      assert.deepEqual(b.deduplicated, ["t-1/1.search"]);
    },
  },
  {
    id: "contract-not-idempotent",
    title: "not declared: a repeated key is executed again, as another message, and nothing is reported as deduplicated",
    when: (capabilities) => !capabilities.idempotency,
    check: async (world) => {
      let runs = 0;
      const { a, b } = await world.pair(async (_context, queue) => {
        queue.enqueue({ type: "agent_text_message", text: `run ${++runs}` });
      });
      const send = () => a.backend.send("agent-0", "agent-1", { text: "x" }, { idempotencyKey: "t-1/1.search" });
      assert.deepEqual([(await send()).text, (await send()).text], ["run 1", "run 2"]);
      assert.equal(b.executions.length, 2);
      assert.deepEqual(b.deduplicated, []);
    },
  },
];
