import { createPrng, FakeClock, type LlmConfig } from "@failstorm/core";
import { afterEach, describe, expect, it } from "vitest";
import { answerWithModel } from "../src/llm/answer.ts";
import { type LlmCallEvent, type Model, openModel } from "../src/llm/model.ts";
import { createRateLimit } from "../src/llm/rateLimit.ts";
import {
  answers,
  callsFunctions,
  failing,
  instantClock,
  json,
  llmConfig,
  raw,
  says,
  startEndpoint,
  type Turn,
} from "./llmEndpoint.ts";

const KEY = "sk-very-secret-0123456789";
const QUESTION = "What is the capital of Chile?";

/** Asks the question once for each of `times` of one model behind a server that follows the script. */
async function ask(script: readonly Turn[], options: { config?: Partial<LlmConfig>; times?: number; fetch?: typeof fetch } = {}) {
  const clock = instantClock();
  await using server = await startEndpoint(clock, ...script);
  const events: LlmCallEvent[] = [];
  const problems: string[] = [];
  const queries: string[] = [];
  const model: Model = openModel({
    config: llmConfig(server.baseUrl, options.config),
    apiKey: KEY,
    clock,
    prng: createPrng(1),
    share: { index: 0, of: 1 },
    onCall: (event) => events.push(event),
    onProblem: (message) => problems.push(message),
    ...(options.fetch === undefined ? {} : { fetch: options.fetch }),
  });
  const lookup = async (query: string): Promise<[]> => {
    queries.push(query);
    return [];
  };
  const given = [];
  for (let turn = 0; turn < (options.times ?? 1); turn++) {
    const { signal } = new AbortController();
    given.push(await answerWithModel(QUESTION, { model, purpose: { task: "t-1", step: "answer" }, signal, lookup }));
  }
  const waits = server.asked.map(({ at }, index) => at - (server.asked[index - 1]?.at ?? at));
  return { answer: given[0], given, events, problems, queries, waits, asked: server.asked };
}

describe("the key", () => {
  it("is not cut in half by the length of a complaint", async () => {
    for (let filler = 150; filler <= 210; filler += 6) {
      const { problems } = await ask([json(400, { error: { message: `${"x".repeat(filler)} ${KEY}` } })]);
      expect(problems[0]).toContain("xxx");
      expect(problems[0]).not.toContain(KEY.slice(0, 4));
    }
  });

  it("a complaint is one short line, whatever the provider sends", async () => {
    const page = `<html>\n\u001b[31m${"<p>no</p>\n".repeat(10_000)}</html>`;
    const { problems } = await ask([json(404, page, { "content-type": "text/html" })]);
    expect(problems[0]).toMatch(/^[^\p{Cc}]+$/u);
    expect(problems[0]?.length).toBeLessThan(400);
  });
});

describe("headers for another provider", () => {
  afterEach(() => void delete process.env["OPENAI_CUSTOM_HEADERS"]);

  it("do not reach this one", async () => {
    process.env["OPENAI_CUSTOM_HEADERS"] = "authorization: Bearer of-somebody-else";
    expect((await ask([answers("x")])).asked[0]?.authorization).toBe(`Bearer ${KEY}`);
  });
});

describe("how long to wait", () => {
  it.each(["0", "-5", "", "Thu, 01 Jan 1970 00:00:00 GMT", "soon"])("Retry-After %j is no time: backs off", async (said) => {
    const { waits } = await ask([failing(429, { "retry-after": said, "retry-after-ms": "" }), answers("x")]);
    expect(waits[1]).toBeGreaterThanOrEqual(375);
    expect(waits[1]).toBeLessThanOrEqual(500);
  });

  it("holds for the next request too, when this one is not made again", async () => {
    const { given, waits } = await ask([failing(429, { "retry-after": "7" }), answers("x")], {
      config: { retries: 0 },
      times: 2,
    });
    expect(given.map(({ outcome }) => outcome)).toEqual(["rate_limited", "ok"]);
    expect(waits).toEqual([0, 7_000]);
  });
});

describe("a limit shared by processes", () => {
  /** When each of `of` processes that have always something to ask sends in `minutes`. */
  async function sends(perMinute: number, of: number, minutes: number): Promise<number[]> {
    const clock = new FakeClock(123_457);
    const times: number[] = [];
    const done = new AbortController();
    const one = async (index: number): Promise<void> => {
      const limit = createRateLimit(clock, perMinute, { index, of });
      while (!done.signal.aborted) {
        await limit.wait(done.signal);
        times.push(clock.now());
      }
    };
    const all = Promise.allSettled(Array.from({ length: of }, (_, index) => one(index)));
    await clock.advance(minutes * 60_000);
    done.abort(new Error("over"));
    await all;
    return times.toSorted((a, b) => a - b);
  }

  it.each([
    [60, 8],
    [60, 7],
    [8, 8],
    [4, 8],
    [3, 8],
    [0.5, 2],
    [1.5, 1],
  ])("no minute has more than %d requests of %d processes, and they are used", async (perMinute, of) => {
    const minutes = perMinute < 1 ? 20 : 6;
    const times = await sends(perMinute, of, minutes);
    const most = Math.max(...times.map((from) => times.filter((at) => at >= from && at < from + 60_000).length));
    expect(most).toBeLessThanOrEqual(Math.max(1, Math.floor(perMinute)));
    expect(times.length).toBeGreaterThan(0.6 * perMinute * minutes);
  });

  it("one that begins late, or rests, keeps to its turn", async () => {
    const clock = new FakeClock(0);
    const { signal } = new AbortController();
    // One request in two minutes each; the second's turn comes after one minute.
    const limit = createRateLimit(clock, 1, { index: 1, of: 2 });
    for (const [restMs, at] of [
      [61_000, 180_000],
      [0, 300_000],
      [500_000, 900_000],
    ] as const) {
      await clock.advance(restMs);
      const going = limit.wait(signal);
      await clock.advance(at - clock.now());
      await going;
      expect(clock.now()).toBe(at);
    }
  });

  it("an aborted request does not wait for those before it", async () => {
    const clock = new FakeClock(0);
    const limit = createRateLimit(clock, 1);
    await limit.wait(new AbortController().signal);
    void limit.wait(new AbortController().signal);
    await expect(limit.wait(AbortSignal.abort(new Error("late")))).rejects.toThrow("late");
  });
});

const whole = (message: unknown, more: object = {}): Turn =>
  json(200, { choices: [{ index: 0, message, finish_reason: "stop" }], ...more });
const NOT_STREAMED = { stream: false, retries: 1 };

describe("failures in odd shapes", () => {
  it("half of an answer in one piece: cut, tried again, and known to have been worked on", async () => {
    const half: Turn = (response) => {
      response.writeHead(200, { "content-type": "application/json", "content-length": "1000" });
      response.write('{"choices": [', () => response.socket?.destroy());
    };
    const { answer, events } = await ask([half, answers("Santiago")], { config: NOT_STREAMED });
    expect(answer).toMatchObject({ answer: "Santiago", outcome: "ok" });
    expect(events.map(({ status, code }) => [status, code])).toEqual([
      ["cut", 200],
      ["ok", 200],
    ]);
  });

  it.each([
    ["breaks off", true, 60_000],
    // What it has said must have arrived by then.
    ["never ends", false, 3_000],
  ])("a stream that has said all and then %s is a whole reply, not asked for again", async (_what, breaks, timeoutMs) => {
    const done = { choices: [{ delta: { content: '{"answer": "Santiago"}' }, finish_reason: "stop" }] };
    const turn: Turn = (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(`data: ${JSON.stringify(done)}\n\n`, () => breaks && response.socket?.destroy());
    };
    const { answer, events } = await ask([turn], { config: { timeoutMs } });
    expect(answer).toMatchObject({ answer: "Santiago", outcome: "ok" });
    expect(events).toMatchObject([{ status: "ok", code: 200, promptTokens: null, cost: null }]);
  });

  it.each(["UND_ERR_HEADERS_TIMEOUT", "UND_ERR_BODY_TIMEOUT"])(
    "%s: the platform's patience is over, not the connection",
    async (code) => {
      const cause = Object.assign(new Error("slow"), { code });
      const impatient = (): Promise<Response> => Promise.reject(new TypeError("fetch failed", { cause }));
      const { answer, problems } = await ask([answers("x")], { fetch: impatient, config: { retries: 0 } });
      expect(answer?.outcome).toBe("timeout");
      expect(problems).toEqual([]);
    },
  );

  it.each([
    { error: { message: "overloaded", code: 502 } },
    { error: "overloaded", choices: [] },
    { choices: [{ message: { content: "" }, finish_reason: "error" }] },
  ])("an error with the code of a success (%j) is the provider's, and tried again", async (body) => {
    const { answer, events } = await ask([json(200, body), answers("x")], { config: NOT_STREAMED });
    expect(answer?.outcome).toBe("ok");
    expect(events.map(({ status }) => status)).toEqual(["server_error", "ok"]);
  });

  it.each([null, "no", [], { error: null }, { error: { message: { deep: [1] } } }, { detail: [{ msg: "no" }] }])(
    "a refusal whose body is %j is an outcome",
    async (body) => {
      const { answer, problems } = await ask([json(422, body)]);
      expect(answer).toMatchObject({ answer: null, outcome: "rejected" });
      expect(problems[0]).toContain("HTTP 422");
    },
  );

  it.each([
    { prompt_tokens: 10.5, completion_tokens: 1 },
    { prompt_tokens: "7", completion_tokens: 1 },
    { prompt_tokens: -1 },
    7,
  ])("tokens that are no counts (%j) are not known", async (usage) => {
    const { events } = await ask([whole({ content: '{"answer": "x"}' }, { usage })], { config: NOT_STREAMED });
    expect(events[0]).toMatchObject({ status: "ok", promptTokens: null, completionTokens: null, cost: null });
  });
});

/** A stream of function calls, as other servers than OpenAI's send them, then its end. */
const streamed = (...pieces: readonly object[]): Turn =>
  raw(
    [
      ...pieces.map((piece) => ({ choices: [{ delta: { tool_calls: [piece] } }] })),
      { choices: [{ delta: {}, finish_reason: "tool_calls" }] },
    ]
      .map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`)
      .join(""),
    "text/event-stream",
  );
const call = (id: string, query: string, index?: number): object => ({
  ...(index === undefined ? {} : { index }),
  id,
  function: { name: "lookup_fragment", arguments: JSON.stringify({ query }) },
});

describe("function calls in odd shapes", () => {
  it.each([
    ["all numbered 0", [call("a", "x", 0), call("b", "y", 0)]],
    ["not numbered", [call("a", "x"), call("b", "y")]],
    [
      "with id and name in every piece",
      [
        { index: 0, id: "a", function: { name: "lookup_fragment", arguments: '{"query"' } },
        { index: 0, id: "a", function: { name: "lookup_fragment", arguments: ': "x"}' } },
        call("b", "y", 1),
      ],
    ],
    [
      "with another id in every piece",
      [
        { index: 0, id: "a1", function: { name: "lookup_fragment", arguments: '{"query"' } },
        { index: 0, id: "a2", function: { name: null, arguments: ': "x"}' } },
        call("b", "y", 1),
      ],
    ],
  ])("%s: each is done", async (_what, pieces) => {
    const { answer, queries } = await ask([streamed(...pieces), answers("Santiago")]);
    expect(queries).toEqual(["x", "y"]);
    expect(answer).toMatchObject({ outcome: "ok", calls: 2, unknownCalls: 0 });
  });

  it("a name or an input that is none does not go back to the provider, which would refuse the conversation", async () => {
    const nonsense = callsFunctions({ name: "multi_tool_use.parallel", input: "{broken" }, { name: "", input: {} });
    const { answer, asked } = await ask([nonsense, answers("x")]);
    expect(answer).toMatchObject({ outcome: "ok", calls: 2, unknownCalls: 2 });
    const { messages = [] } = asked[1]?.body ?? {};
    expect(messages.find(({ role }) => role === "assistant")).toMatchObject({
      tool_calls: [
        { function: { name: "multi_tool_use_parallel", arguments: "{}" } },
        { function: { name: "unnamed", arguments: "{}" } },
      ],
    });
  });

  it("the same call for ever ends with the rounds, however many were called at a time", async () => {
    const { answer, asked } = await ask([streamed(call("a", "x"), call("b", "y"))], { config: { maxRounds: 3 } });
    expect(answer).toMatchObject({ answer: null, outcome: "endless", rounds: 3, calls: 4 });
    expect(asked).toHaveLength(3);
    expect((await ask([says("{}")], { config: { maxRounds: 1 } })).answer).toMatchObject({ outcome: "nonsense", rounds: 1 });
  });
});
