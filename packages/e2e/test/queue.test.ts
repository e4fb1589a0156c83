import { type ChildProcess, type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import path from "node:path";
import type { Readable, Writable } from "node:stream";
import { type QueueResult, type RunEvent, type RunEventName, type RunEventOf, systemClock } from "@failstorm/core";
import type { QueueMetrics } from "@failstorm/report";
import fastify, { type FastifyInstance } from "fastify";
import { afterAll, describe, expect, it } from "vitest";
import { eventually } from "../src/processes.ts";
import { eventsNamed, openSandbox, projectRoot, readEvents, readLines, runFolders, words } from "../src/runCli.ts";

const sandbox = openSandbox();
const strangers: FastifyInstance[] = [];
const started: ChildProcess[] = [];
afterAll(async () => {
  for (const child of started) if (child.exitCode === null) child.kill("SIGKILL");
  await Promise.all(strangers.map((stranger) => stranger.close()));
  await sandbox.close();
});

/** From the start of a process to what it does first, on a machine that has other things to do. */
const START_MS = 120_000;

/** What the stranger that answers twice takes for it. */
const TWICE_MS = 50;

let folders = 0;
/** A results folder that shares the compiled code of this checkout. */
function newResults(): string {
  const results = path.join(sandbox.dir, `queues-${folders++}`);
  const cache = path.join(projectRoot, "results", ".cache");
  mkdirSync(cache, { recursive: true });
  mkdirSync(results);
  symlinkSync(cache, path.join(results, ".cache"));
  return results;
}

/** What a queue left behind. */
interface EndedQueue {
  readonly dir: string;
  readonly results: readonly QueueResult[];
  readonly metrics: QueueMetrics;
  readonly of: <Name extends RunEventName>(name: Name) => RunEventOf<Name>[];
}

/** The results file as it stands; null while there is none. */
const journalOf = (results: string): { readonly file: string; readonly text: string } | null => {
  const [dir] = runFolders(results, "queue");
  const file = dir === undefined ? null : path.join(dir, "queue_results.jsonl");
  return file !== null && existsSync(file) ? { file, text: readFileSync(file, "utf8") } : null;
};
function readQueue(results: string): EndedQueue {
  const all = runFolders(results, "queue");
  expect(all, "one run folder").toHaveLength(1);
  const [dir = ""] = all;
  const events: RunEvent[] = readEvents(path.join(dir, "events.ndjson"));
  return {
    dir,
    results: readLines<QueueResult>(path.join(dir, "queue_results.jsonl")),
    metrics: JSON.parse(readFileSync(path.join(dir, "queue_metrics.json"), "utf8")) as QueueMetrics,
    of: (name) => eventsNamed(events, name),
  };
}

/** Runs a queue to its end, which is to be a good one. */
async function queue(line: string, results = newResults()): Promise<EndedQueue> {
  const { code, stderr } = await sandbox.cli([...words(`queue ${line}`), "--base-port", "0", "--results", results]);
  expect(code, stderr).toBe(0);
  return readQueue(results);
}

/** Each question once, and nothing else. */
const expectEachOnce = ({ results }: EndedQueue, questions: number): void => {
  const seqs = results.map(({ seq }) => seq).sort((a, b) => a - b);
  expect(seqs).toEqual(Array.from({ length: questions }, (_, seq) => seq));
};

describe("failstorm queue", () => {
  it.each([
    ["simple_json", ["simple_json"]],
    ["anp", ["anp"]],
    ["meta", ["a2a", "acp", "agora", "anp"]],
  ])("%s: worker and coordinator killed, every question has its one result", async (protocol, spoken) => {
    const run = await queue(
      `--protocol ${protocol} --questions 160 --think-time 0.17 --kill-fraction 0.25 --kill-coordinator --fault-time 3 --restart-after 0.3`,
    );
    expectEachOnce(run, 160);
    expect(run.metrics).toMatchObject({ recorded: 160, missing: 0, failed: 0, repeated_lines: 0, restarts: 1, partial: false });
    expect(run.metrics.correctness.rate).toBe(1);
    expect(run.metrics.protocols.map((own) => own.protocol).toSorted((a, b) => a.localeCompare(b))).toEqual(spoken);
    expect(run.metrics.protocols.every(({ answered }) => answered > 0)).toBe(true);
    expect(run.of("fault.injected").map(({ agent }) => agent.replace(/\d+$/, ""))).toEqual(["coordinator-", "worker-"]);
    // The coordinator came back with results that it had not to ask for again, and went on before it was told to.
    const [first, again] = run.of("queue.opened");
    expect(first?.recorded).toBe(0);
    expect(again?.recorded).toBeGreaterThan(0);
    expect(run.results.some(({ inc }) => inc === 1) && run.results.some(({ inc }) => inc === 2)).toBe(true);
    // Latency counts from the first time a question left, also across the crash.
    const longest = Math.max(...run.of("queue.result").map(({ latencyMs }) => latencyMs));
    expect(longest).toBeGreaterThan(300);
  });

  it("goes on where Ctrl-C ended it, and brings back a results file that was deleted in mid-run", async () => {
    const results = newResults();
    // Seconds of work, so that the queue is not done before it is interrupted.
    const line = "queue --questions 150 --think-time 0.15 --seed 11";
    const first = sandbox.start(words(line), { results });
    const journal = await eventually("first results", START_MS, () => {
      const found = journalOf(results);
      return found !== null && found.text.split("\n").length > 8 && found.file;
    });
    rmSync(journal);
    await eventually("the file is back", START_MS, () => existsSync(journal));
    first.kill("SIGINT");
    expect((await first.ended).code).toBe(130);
    const before = readQueue(results);
    const said = before.of("log").map(({ message }) => message);
    expect(
      said.filter((message) => /taken away; it is back/.test(message)),
      said.join("\n"),
    ).toHaveLength(1);
    expect(before.metrics.partial).toBe(true);
    expect(before.results.length).toBeGreaterThan(7);
    // The same call again.
    const run = await queue(line.replace("queue ", ""), results);
    expectEachOnce(run, 150);
    expect(run.metrics).toMatchObject({ recorded: 150, recorded_before: before.results.length, partial: false });
    const document = JSON.parse(readFileSync(path.join(run.dir, "queue_results.json"), "utf8")) as Record<string, unknown[]>;
    expect(document["results"]).toHaveLength(150);
    expect(document["metadata"]).toMatchObject({ complete: true, sessions: 2 });
  });

  it("layered pools answer batches; a file with a byte order mark, and lines that are none, by number", async () => {
    const file = path.join(sandbox.dir, "questions.jsonl");
    const good = Array.from({ length: 40 }, (_, i) => JSON.stringify({ id: `n${i}`, q: `Question ${i}?`, a: `Question ${i}?` }));
    writeFileSync(
      file,
      `\uFEFF${[...good.slice(0, 2), "rubbish", '{"id": "n0", "q": "again"}', ...good.slice(2)].join("\r\n")}\n`,
    );
    const strict = await sandbox.cli([...words("queue --questions"), file, "--results", newResults()]);
    expect(strict.code).toBe(2);
    expect(strict.stderr).toMatch(/line 3: it is not JSON; line 4: the id "n0" is on line 1 already.*--skip-bad-lines/);
    // With time to think, one pool is not done with all of it before the other has answered its handshake.
    const run = await queue(`--questions ${file} --skip-bad-lines --topology layered --batch 4 --engine echo --think-time 0.5`);
    expectEachOnce(run, 40);
    expect(run.metrics).toMatchObject({ answered: 40, rejected_lines: 2, coordinator: "coordinator-1" });
    expect(run.metrics.correctness.rate).toBe(1);
    expect(run.of("queue.rejected").map(({ line }) => line)).toEqual([3, 4]);
    const feeders = new Set(run.of("queue.dispatched").map(({ src }) => src));
    expect([...feeders].toSorted((a, b) => a.localeCompare(b))).toEqual([
      "coordinator-1",
      "sub-coordinator-1",
      "sub-coordinator-2",
    ]);
    // Who answered, too, is told by those that feed them.
    const { workers, balance } = run.metrics;
    const answered = workers.filter(({ worker }) => worker.startsWith("worker-")).map((row) => row.answered);
    expect(answered.reduce((sum, n) => sum + n, 0)).toBe(40);
    expect(balance.by_worker).toMatchObject({ n: 4, gini: expect.any(Number) });
    const listed = await sandbox.cli(["list", path.resolve(run.dir, "../../.."), "--json"]);
    expect(JSON.parse(listed.stdout)).toMatchObject({
      runs: [],
      queues: [{ dir: run.dir, protocol: "simple_json", recorded: 40, partial: false }],
    });
    const shown = await sandbox.cli(["show", run.dir]);
    expect(shown.stdout).toMatch(/questions recorded.*40/);
  });

  it("agents that run already: ours, and strangers that are silent, talk garbage, or answer twice", async () => {
    // Those that answer take a moment for it, so that nobody is done with all questions before the others have joined.
    const agent = startBare("agent --protocol simple_json --port 0 --engine echo --think-time 0.2 --name ours");
    const ours = await eventually("the agent", START_MS, () => /listens at (http:\S+);/.exec(agent.stderr())?.[1] ?? null);
    const silent = await stranger("silent", () => new Promise(() => undefined));
    const garbage = await stranger("garbage", async () => []);
    const twice = await stranger("twice", async (seq, text) => {
      await systemClock.sleep(TWICE_MS);
      const answer = { seq, answer: text };
      return [{ kind: "data", data: { answers: [answer, answer, { seq: -1, answer: "nobody asked" }] } }];
    });
    const run = await queue(
      `--worker ${ours}#ours --worker ${silent} --worker ${garbage} --worker ${twice} --questions 40 --deadline 2 --attempts 100 --set queue.quarantine_after=1`,
    );
    expectEachOnce(run, 40);
    expect(run.metrics).toMatchObject({ answered: 40, failed: 0 });
    expect(run.metrics.timeouts).toBeGreaterThan(0);
    expect(run.metrics.errors["garbage"]).toBeGreaterThan(0);
    expect(run.metrics.duplicates).toMatchObject({ n: run.metrics.duplicates.same_answer });
    expect(run.metrics.duplicates.n).toBeGreaterThan(0);
    expect(new Set(run.results.map(({ worker }) => worker))).toEqual(new Set(["ours", "twice"]));
    agent.child.kill("SIGINT");
    expect(await once(agent.child, "exit")).toEqual([0, null]);
  });

  it("questions from the standard input, one after the other, until it ends", async () => {
    const results = newResults();
    const { child } = startBare(`queue --questions - --engine echo --think-time 0 --base-port 0 --quiet --results ${results}`);
    child.stdin.write('{"id": "a", "q": "first"}\n{"id": "b", "q": "sec');
    const journal = await eventually("the first answer", START_MS, () => {
      const found = journalOf(results);
      return found !== null && found.text.endsWith("\n") && found.file;
    });
    expect(readLines<QueueResult>(journal), "the second is not whole yet").toMatchObject([{ id: "a", answer: "first" }]);
    child.stdin.end('ond"}\nno question\n{"id": 3, "q": "third"}');
    expect(await once(child, "exit")).toEqual([0, null]);
    const run = readQueue(results);
    expect(Object.fromEntries(run.results.map(({ id, answer }) => [id, answer]))).toEqual({
      a: "first",
      b: "second",
      3: "third",
    });
    expect(run.of("queue.rejected").map(({ line }) => line)).toEqual([3]);
  });

  it("a worker of another protocol, or nobody at all: said before anything starts", async () => {
    const other = await stranger("other", async () => []);
    const results = path.join(sandbox.dir, "nothing");
    mkdirSync(results);
    for (const [line, said] of [
      [`--worker ${other} --protocol a2a`, /it is no a2a agent/],
      [`--worker ${other} --protocol meta`, /with --protocol meta nobody knows which protocol it hosts/],
      ["--worker http://127.0.0.1:9", /nobody listens there; start one with: failstorm agent/],
    ] as const) {
      const { code, stderr, stdout } = await sandbox.cli([...words(`queue ${line}`), "--results", results]);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toMatch(said);
    }
    expect(readdirSync(results), "nothing was written").toEqual([]);
  });
});

/** A failstorm with an open standard input; the test ends it. */
function startBare(line: string): {
  readonly child: ChildProcessByStdio<Writable, null, Readable>;
  readonly stderr: () => string;
} {
  const entry = path.join(projectRoot, "packages", "cli", "src", "main.ts");
  const child = spawn(process.execPath, [entry, ...words(line)], { cwd: projectRoot, stdio: ["pipe", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => void (stderr += text));
  started.push(child);
  return { child, stderr: () => stderr };
}

/** A simple_json agent that nobody here has written: what it answers is a matter of its own. */
async function stranger(name: string, answer: (seq: number, text: string) => Promise<unknown[]>): Promise<string> {
  const server = fastify({ forceCloseConnections: true });
  strangers.push(server);
  server.get("/agent", async () => ({
    agentId: name,
    incarnation: 1,
    capabilities: name === "twice" ? ["answers:questions"] : [],
  }));
  server.get("/health", async () => ({ status: "ok", agentId: name, incarnation: 1 }));
  server.post<{
    Body: { id: string; payload: { text?: string; parts?: { data: { questions: { seq: number; q: string }[] } }[] } };
  }>("/message", async ({ body: { id, payload } }) => {
    const [asked] = payload.parts?.[0]?.data.questions ?? [];
    return { inReplyTo: id, from: name, parts: await answer(asked?.seq ?? 0, asked?.q ?? payload.text ?? "") };
  });
  await server.listen({ host: "127.0.0.1", port: 0 });
  return `http://127.0.0.1:${(server.server.address() as AddressInfo).port}#${name}`;
}
