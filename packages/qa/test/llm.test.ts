import { createPrng, FakeClock, type LlmConfig } from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { answerWithModel } from "../src/llm/answer.ts";
import { type LlmCallEvent, openModel } from "../src/llm/model.ts";
import { createRateLimit } from "../src/llm/rateLimit.ts";
import { takeLlmKey } from "../src/llm/secret.ts";
import {
  answers,
  callsFunctions,
  cutAfter,
  endsEarly,
  failing,
  floods,
  hangs,
  instantClock,
  json,
  llmConfig,
  neverAnswers,
  raw,
  says,
  startEndpoint,
  type Turn,
} from "./llmEndpoint.ts";

const KEY = "sk-very-secret-0123456789";
/** A port that nobody is ever given by chance, unlike one that was free a moment ago. */
const NOBODY = "http://127.0.0.1:2/v1";
const PASSAGE = { id: "p7", title: "Chile", text: "Santiago is the capital of Chile.", score: 3 };

/** Asks one question of a model behind a server that follows the script. */
async function ask(
  script: readonly Turn[],
  options: { config?: Partial<LlmConfig>; lookup?: boolean; signal?: AbortSignal; key?: string | null; of?: number } = {},
) {
  const clock = instantClock();
  await using server = await startEndpoint(clock, ...script);
  const events: LlmCallEvent[] = [];
  const problems: string[] = [];
  const model = openModel({
    config: llmConfig(server.baseUrl, options.config),
    apiKey: options.key === undefined ? KEY : options.key,
    clock,
    prng: createPrng(1),
    share: { index: 0, of: options.of ?? 1 },
    onCall: (event) => events.push(event),
    onProblem: (message) => problems.push(message),
  });
  const queries: string[] = [];
  const answer = await answerWithModel("What is the capital of Chile?", {
    model,
    purpose: { task: "t-1", step: "answer" },
    signal: options.signal ?? new AbortController().signal,
    ...(options.lookup === true
      ? {
          lookup: async (query: string) => {
            queries.push(query);
            return [PASSAGE];
          },
        }
      : {}),
  });
  return { answer, events, problems, asked: server.asked, queries, statuses: events.map(({ status }) => status) };
}

describe.each([{ stream: true }, { stream: false }])("a model that works ($stream)", (config) => {
  it("answers; tokens and their price are recorded", async () => {
    const { answer, events, asked } = await ask([answers("Santiago", ["p7"])], { config });
    expect(answer).toMatchObject({ answer: "Santiago", evidence: [], outcome: "ok", rounds: 1, calls: 0 });
    expect(events).toEqual([
      {
        ev: "llm.call",
        task: "t-1",
        step: "answer",
        model: "tiny",
        attempt: 1,
        status: "ok",
        code: 200,
        promptTokens: 100,
        completionTokens: 20,
        cost: (100 * 2 + 20 * 10) / 1e6,
        ms: 0,
      },
    ]);
    expect(asked[0]).toMatchObject({ path: "/v1/chat/completions", authorization: `Bearer ${KEY}` });
    expect(asked[0]?.body).toMatchObject({ model: "tiny", max_tokens: 256, temperature: 0 });
  });

  it("calls lookup_fragment, sees what it gives, and answers from it", async () => {
    const turns = [
      callsFunctions({ name: "lookup_fragment", input: { query: "capital Chile" } }),
      answers("Santiago", ["p7", "p99"]),
    ];
    const { answer, queries, asked } = await ask(turns, { config, lookup: true });
    expect(answer).toEqual({ answer: "Santiago", evidence: ["p7"], outcome: "ok", rounds: 2, calls: 1, unknownCalls: 0 });
    expect(queries).toEqual(["capital Chile"]);
    expect(asked[0]?.body.tools?.map((tool) => tool.function.name)).toEqual(["lookup_fragment"]);
    const told = asked[1]?.body.messages.at(-1);
    expect(told?.role).toBe("tool");
    expect(JSON.parse(told?.content ?? "")).toEqual([PASSAGE]);
  });
});

it("wraps its answer in words and a fence: it is still an answer", async () => {
  const { answer } = await ask([says('Sure!\n```json\n{"answer": "Santiago"}\n```\nAnything else?')]);
  expect(answer).toMatchObject({ answer: "Santiago", evidence: [], outcome: "ok" });
});

it("without a price or without the server's count of tokens there is no cost, not 0", async () => {
  expect((await ask([answers("x")], { config: { price: null } })).events[0]?.cost).toBeNull();
  const silent = json(200, { choices: [{ message: { content: '{"answer": "x"}' }, finish_reason: "stop" }] });
  const { events } = await ask([silent], { config: { stream: false } });
  expect(events[0]).toMatchObject({ status: "ok", promptTokens: null, completionTokens: null, cost: null });
});

describe("retries", () => {
  it("429 with Retry-After: waits that long, then goes on", async () => {
    const { answer, statuses, asked } = await ask([failing(429, { "retry-after": "7" }), answers("Santiago")]);
    expect(answer.outcome).toBe("ok");
    expect(statuses).toEqual(["rate_limited", "ok"]);
    expect((asked[1]?.at ?? 0) - (asked[0]?.at ?? 0)).toBe(7_000);
  });

  it("Retry-After as a date", async () => {
    const clockStart = 1_000_000;
    const date = new Date(clockStart + 5_000).toUTCString();
    const { asked } = await ask([failing(503, { "retry-after": date }), answers("x")]);
    expect((asked[1]?.at ?? 0) - (asked[0]?.at ?? 0)).toBe(5_000);
  });

  it("a provider that wants an hour is not waited for", async () => {
    const { answer, statuses } = await ask([failing(429, { "retry-after": "3600" })]);
    expect(answer).toMatchObject({ answer: null, outcome: "rate_limited" });
    expect(statuses).toEqual(["rate_limited"]);
  });

  it("5xx: back-off that grows, and an outcome when the attempts are used up", async () => {
    const { answer, statuses, asked, events } = await ask([failing(500), failing(502), failing(503)]);
    expect(answer).toMatchObject({ answer: null, outcome: "server_error", rounds: 1 });
    expect(statuses).toEqual(["server_error", "server_error", "server_error"]);
    expect(events.map(({ attempt, code }) => [attempt, code])).toEqual([
      [1, 500],
      [2, 502],
      [3, 503],
    ]);
    const [first = 0, second = 0] = [1, 2].map((i) => (asked[i]?.at ?? 0) - (asked[i - 1]?.at ?? 0));
    expect(first).toBeGreaterThanOrEqual(375);
    expect(first).toBeLessThanOrEqual(500);
    expect(second).toBeGreaterThanOrEqual(750);
    expect(second).toBeLessThanOrEqual(1_000);
  });

  it.each([
    [400, "rejected"],
    [401, "unauthorized"],
    [403, "unauthorized"],
    [404, "rejected"],
    [422, "rejected"],
  ] as const)("%i is not tried again", async (code, outcome) => {
    const { answer, asked, problems } = await ask([failing(code)]);
    expect(answer).toMatchObject({ answer: null, outcome });
    expect(asked).toHaveLength(1);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(`HTTP ${code}`);
  });

  it("an exhausted quota is not tried again, though it is a 429", async () => {
    const { asked, answer } = await ask([failing(429, {}, "insufficient_quota")]);
    expect(answer.outcome).toBe("rate_limited");
    expect(asked).toHaveLength(1);
  });

  it("x-should-retry has the last word", async () => {
    expect((await ask([failing(500, { "x-should-retry": "false" })])).asked).toHaveLength(1);
    expect((await ask([failing(404, { "x-should-retry": "true" }), answers("x")])).asked).toHaveLength(2);
  });

  it("nobody listens: tried again, then an outcome", async () => {
    const { answer, statuses, problems } = await ask([answers("x")], { config: { baseUrl: NOBODY } });
    expect(answer.outcome).toBe("unreachable");
    expect(statuses).toEqual(["unreachable", "unreachable", "unreachable"]);
    expect(problems).toEqual([expect.stringContaining("ECONNREFUSED")]);
  });

  it("a stream cut in mid-answer: the half is not taken for an answer", async () => {
    const whole = await ask([cutAfter('{"answer": "Sant'), answers("Santiago")]);
    expect(whole.answer).toMatchObject({ answer: "Santiago", outcome: "ok" });
    expect(whole.statuses).toEqual(["cut", "ok"]);
    const never = await ask([cutAfter('{"answer": "Santiago"}')]);
    expect(never.answer).toMatchObject({ answer: null, outcome: "cut" });
    expect(never.statuses).toEqual(["cut", "cut", "cut"]);
  });

  it("a stream that ends without its end is cut, too", async () => {
    expect((await ask([endsEarly('{"answer": "Santiago"}')])).answer).toMatchObject({ answer: null, outcome: "cut" });
  });
});

describe("time", () => {
  it.each([
    ["no answer at all", neverAnswers],
    ["a stream that stops", hangs],
  ])("%s: given up after the time for one request", async (_what, turn) => {
    const { answer, statuses } = await ask([turn], { config: { timeoutMs: 60, retries: 1 } });
    expect(answer.outcome).toBe("timeout");
    expect(statuses).toEqual(["timeout", "timeout"]);
  });

  it("the task's deadline ends it at once, without another attempt", async () => {
    // It comes when the request is under way, not before.
    const deadline = new AbortController();
    const tooLong: Turn = () => deadline.abort(new Error("deadline"));
    const { answer, statuses } = await ask([tooLong], { signal: deadline.signal });
    expect(answer).toMatchObject({ answer: null, outcome: "aborted" });
    expect(statuses).toEqual(["aborted"]);
  });

  it("requests are spaced by the rate limit, shared by the processes; an aborted one uses no turn up", async () => {
    const clock = new FakeClock(0);
    const limit = createRateLimit(clock, 60 / 2);
    const never = new AbortController().signal;
    const gone = new AbortController();
    const times: number[] = [];
    const go = async (signal: AbortSignal): Promise<void> => {
      await limit.wait(signal);
      times.push(clock.now());
    };
    const [first, second, aborted, third] = [go(never), go(never), go(gone.signal), go(never)];
    await clock.advance(500);
    gone.abort(new Error("deadline"));
    await expect(aborted).rejects.toThrow("deadline");
    await clock.advance(2_000);
    limit.pause(10_000);
    await clock.advance(20_000);
    await Promise.all([first, second, third]);
    expect(times).toEqual([0, 2_000, 12_500]);
  });
});

it("a limit of requests is the whole run's: one of two processes makes half of them", async () => {
  const script = [says("hm"), says("hm"), answers("x")];
  const { asked } = await ask(script, { config: { requestsPerMinute: 60 }, of: 2 });
  expect(asked.map(({ at }) => at - (asked[0]?.at ?? 0))).toEqual([0, 2_000, 4_000]);
});

describe("nonsense", () => {
  it.each([
    ["HTML instead of JSON", raw("<html>Bad gateway</html>", "text/html"), "garbage"],
    ["broken JSON", raw('{"choices": [', "application/json"), "garbage"],
    ["JSON of something else", raw('{"hello": "world"}', "application/json"), "garbage"],
    ["nothing", raw("", "application/json"), "garbage"],
  ] as const)("%s", async (_what, turn, outcome) => {
    for (const stream of [true, false]) {
      const { answer } = await ask([turn], { config: { stream, retries: 0 } });
      expect(answer, `stream ${stream}`).toMatchObject({ answer: null, outcome });
    }
  });

  it("an event of a stream that is no JSON", async () => {
    const { answer } = await ask([raw("data: {broken\n\n", "text/event-stream")], { config: { retries: 0 } });
    expect(answer.outcome).toBe("garbage");
  });

  it("an error in mid-stream is the provider's", async () => {
    const turn = raw('data: {"error": {"message": "overloaded", "code": 500}}\n\n', "text/event-stream");
    expect((await ask([turn, answers("x")])).statuses).toEqual(["server_error", "ok"]);
  });

  it("a huge answer is broken off, and not asked for again", async () => {
    const { answer, asked } = await ask([floods]);
    expect(answer.outcome).toBe("too_large");
    expect(asked).toHaveLength(1);
  });

  it("an answer that hit the limit of tokens, or was filtered", async () => {
    expect((await ask([says('{"answer": "San', "length")])).answer.outcome).toBe("length");
    expect((await ask([says("", "content_filter")])).answer.outcome).toBe("filtered");
  });

  it("words instead of the result: told so, then nonsense when the rounds are over", async () => {
    const better = await ask([says("I think it is Santiago."), answers("Santiago")]);
    expect(better.answer).toMatchObject({ answer: "Santiago", rounds: 2 });
    expect(better.asked[1]?.body.messages.at(-1)?.content).toContain("not the result that was asked for");
    const { answer, asked } = await ask([says("I think it is Santiago.")]);
    expect(answer).toMatchObject({ answer: null, outcome: "nonsense", rounds: 4 });
    expect(asked).toHaveLength(4);
  });

  it("an answer that is a number, an object, or a book", async () => {
    expect((await ask([says('{"answer": 7}')])).answer.answer).toBe("7");
    for (const wrong of [
      '{"answer": {"city": "Santiago"}}',
      JSON.stringify({ answer: "x".repeat(2_000) }),
      '["Santiago"]',
      "null",
    ])
      expect((await ask([says(wrong)])).answer, wrong).toMatchObject({ answer: null, outcome: "nonsense" });
  });

  it("an unknown function: told which there are", async () => {
    const turns = [callsFunctions({ name: "rm_rf", input: { path: "/" } }), answers("Santiago")];
    const { answer, asked, queries } = await ask(turns, { lookup: true });
    expect(answer).toMatchObject({ answer: "Santiago", outcome: "ok", calls: 1, unknownCalls: 1 });
    expect(asked[1]?.body.messages.at(-1)?.content).toContain("lookup_fragment");
    expect(queries).toEqual([]);
  });

  it("a function with a wrong or broken input: told why", async () => {
    for (const input of [{ query: 7 }, '{"query": ']) {
      const { answer, asked, queries } = await ask([callsFunctions({ name: "lookup_fragment", input }), answers("x")], {
        lookup: true,
      });
      expect(answer).toMatchObject({ outcome: "ok", calls: 1, unknownCalls: 0 });
      expect(asked[1]?.body.messages.at(-1)?.content).toContain('{"error":');
      expect(queries).toEqual([]);
    }
  });

  it("endless function calls: no more are offered in the last round, and then it is over", async () => {
    const { answer, asked } = await ask([callsFunctions({ name: "lookup_fragment", input: { query: "x" } })], { lookup: true });
    expect(answer).toMatchObject({ answer: null, outcome: "endless", rounds: 4, calls: 3 });
    expect(asked.map(({ body }) => body.tool_choice)).toEqual(["auto", "auto", "auto", "none"]);
  });

  it("a hundred calls at a time: no more than eight are done", async () => {
    const many = Array.from({ length: 100 }, () => ({ name: "lookup_fragment", input: { query: "x" } }));
    const { queries, answer } = await ask([callsFunctions(...many), answers("x")], { lookup: true });
    expect(answer.outcome).toBe("ok");
    expect(queries).toHaveLength(8);
  });
});

describe("the key", () => {
  it("is sent, and no word that a server repeats it in goes further", async () => {
    const echo: Turn = (response, asked) => json(400, { error: { message: `you sent ${asked.authorization}` } })(response, asked);
    const { problems, events } = await ask([echo]);
    expect(problems[0]).toContain("you sent Bearer ***");
    const denied: Turn = (response, asked) =>
      json(401, { error: { message: `Incorrect API key provided: ${KEY.slice(0, 8)}***` } })(response, asked);
    const unauthorized = await ask([denied]);
    const said = JSON.stringify([problems, events, unauthorized.problems, unauthorized.events]);
    expect(said).not.toContain(KEY);
    expect(said).not.toContain(KEY.slice(0, 8));
    expect((await ask([answers(`it is ${KEY}`)])).answer.answer).toBe("it is ***");
  });

  it("an endpoint without a key gets no authorization", async () => {
    const { asked, answer } = await ask([answers("x")], { key: null });
    expect(answer.outcome).toBe("ok");
    expect(asked[0]?.authorization).toBeUndefined();
  });

  it("is taken out of the environment", () => {
    const env: Record<string, string | undefined> = {
      FAILSTORM_LLM_API_KEY: KEY,
      OPENAI_API_KEY: KEY,
      MY_KEY: `${KEY}\n`,
      PATH: "/bin",
    };
    expect(takeLlmKey(env)).toBe(KEY);
    expect(env).toEqual({ PATH: "/bin" });
    expect(takeLlmKey(env)).toBeNull();
  });
});

it("OpenAI itself is given the newer name of the token limit", async () => {
  const { asked } = await ask([answers("x")], { config: { type: "openai", temperature: null } });
  expect(asked[0]?.body.max_completion_tokens).toBe(256);
  expect(asked[0]?.body).not.toHaveProperty("max_tokens");
  expect(asked[0]?.body).not.toHaveProperty("temperature");
});
