import assert from "node:assert/strict";
import { once } from "node:events";
import { type SendOptions, systemClock } from "@failstorm/core";
import type { Definition } from "./define.ts";
import { expectFailure, PATIENCE_MS, within } from "./expectations.ts";
import { startProcess } from "./processes.ts";
import { declared, type Subject } from "./subject.ts";
import { HOST, introduce, type Peer, quietPort, type World } from "./world.ts";

const PROCESS_TIMEOUT_MS = 120_000;
const LATE_MS = 20_000;
/** Until a process ends by itself; a client keeps idle connections for four seconds. */
const END_MS = 10_000;
/** What a process takes to start, counted in tries: on a machine that stands still there are none. */
const RESTART = { tries: 40, everyMs: 50 };

/** agent-0 here, agent-1 in a process of its own; they have met. */
async function meet(
  world: World,
  subject: Subject,
): Promise<{ a: Peer; workspaceDir: string; b: Awaited<ReturnType<typeof startProcess>> }> {
  const workspaceDir = world.tempDir();
  const port = await quietPort();
  const [a, b] = await Promise.all([world.peer("agent-0"), startProcess(world, subject, { incarnation: 1, workspaceDir, port })]);
  a.backend.registerEndpoint("agent-1", { host: HOST, port: b.port });
  await a.backend.connect("agent-0", "agent-1");
  return { a, b, workspaceDir };
}

/** Kills agent-1 while it works on a message, and starts it again on its port. */
async function killAndRestart(
  world: World,
  subject: Subject,
  { keepState }: { readonly keepState: boolean },
): Promise<{ a: Peer; workId: string | null }> {
  const { a, b, workspaceDir } = await meet(world, subject);
  let workId: string | null = null;
  const executing = b.next("executing");
  const options: SendOptions = { idempotencyKey: "t-1/1.search", onEvent: () => {}, onAccepted: (id) => void (workId = id) };
  const lost = expectFailure("the send whose peer dies", a.backend.send("agent-0", "agent-1", { text: "hang" }, options), {
    peer: "agent-1",
    codes: ["reset"],
    withinMs: LATE_MS,
  });
  await executing;
  await b.kill();
  await lost;
  await startProcess(world, subject, { incarnation: 2, workspaceDir: keepState ? workspaceDir : world.tempDir(), port: b.port });
  return { a, workId };
}

/** That agent-1's new incarnation is met and asked like any other. */
async function expectService(a: Peer, subject: Subject, extraRoundTrips: number): Promise<void> {
  const { peer, traffic } = await a.backend.connect("agent-0", "agent-1", { cause: "handshake" });
  assert.equal(peer.incarnation, 2);
  const { expectedRoundTrips } = declared(subject).reconnection;
  assert.ok(
    traffic.roundTrips <= expectedRoundTrips + extraRoundTrips,
    `${traffic.roundTrips} round trips for the handshake, ${expectedRoundTrips} declared`,
  );
  assert.equal((await a.backend.send("agent-0", "agent-1", { text: "again" })).text, "incarnation 2: again");
  const retried = await a.backend.send(
    "agent-0",
    "agent-1",
    { text: "retry" },
    { idempotencyKey: "t-1/2.search", cause: "retry" },
  );
  assert.equal(retried.text, "incarnation 2: retry");
  const { incarnation } = await a.backend.healthCheck("agent-1");
  assert.ok(incarnation === 2 || incarnation === null, `the probe tells incarnation ${incarnation}`);
}

/** Tries again for as long as a process takes to start. */
async function untilServed<T>(operation: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await operation();
    } catch (error) {
      if (tries === RESTART.tries) throw error;
    }
    await systemClock.sleep(RESTART.everyMs);
  }
}

export const deaths: readonly Definition[] = [
  {
    id: "contract-dies-mid-request",
    title: "a peer that is killed while it works: reset; after that, refused",
    timeoutMs: PROCESS_TIMEOUT_MS,
    check: async (world, subject) => {
      const { a, b } = await meet(world, subject);
      const executing = b.next("executing");
      const lost = expectFailure("the send whose peer dies", a.backend.send("agent-0", "agent-1", { text: "hang" }), {
        peer: "agent-1",
        codes: ["reset"],
        withinMs: LATE_MS,
      });
      await executing;
      await b.kill();
      await lost;
      for (const [name, operation] of [
        ["connect", () => a.backend.connect("agent-0", "agent-1")],
        ["healthCheck", () => a.backend.healthCheck("agent-1")],
      ] as const)
        await expectFailure(name, operation(), { peer: "agent-1", codes: ["refused"] });
    },
  },
  {
    id: "contract-dies-mid-stream",
    title: "declared: a peer that is killed between two events of a stream: reset, and the first event was heard",
    timeoutMs: PROCESS_TIMEOUT_MS,
    when: (capabilities) => capabilities.streaming,
    check: async (world, subject) => {
      const { a, b } = await meet(world, subject);
      const heard = Promise.withResolvers<string>();
      const sent = a.backend.send(
        "agent-0",
        "agent-1",
        { text: "hang" },
        { onEvent: (event) => void (event.type === "agent_text_message" && heard.resolve(event.text)) },
      );
      const lost = expectFailure("the stream whose peer dies", sent, { peer: "agent-1", codes: ["reset"], withinMs: LATE_MS });
      assert.equal(await within("the first event", PATIENCE_MS, heard.promise), "incarnation 1: hang");
      await b.kill();
      await lost;
    },
  },
  {
    id: "contract-restart-with-state",
    title: "a peer that is killed and comes back with its workspace serves again; the work it had is decided",
    timeoutMs: PROCESS_TIMEOUT_MS,
    check: async (world, subject) => {
      const { a, workId } = await killAndRestart(world, subject, { keepState: true });
      await expectService(a, subject, workId === null ? 0 : 1);
      if (a.backend.resume === undefined || workId === null) return;
      const signal = AbortSignal.timeout(LATE_MS);
      const outcome = await a.backend.resume("agent-0", "agent-1", workId, { signal }).then(
        () => "answered",
        (error: { code?: string }) => error.code,
      );
      assert.ok(outcome === "answered" || outcome === "remote", `orphaned work is answered or failed, not left: ${outcome}`);
    },
  },
  {
    id: "contract-restart-without-state",
    title: "a peer that is killed and comes back with an empty workspace serves again; the work it had is unknown",
    timeoutMs: PROCESS_TIMEOUT_MS,
    check: async (world, subject) => {
      const { a, workId } = await killAndRestart(world, subject, { keepState: false });
      // An identity that is lost has to be learned anew.
      await expectService(a, subject, 2);
      if (a.backend.resume === undefined || workId === null) return;
      const signal = AbortSignal.timeout(LATE_MS);
      const resumed = a.backend.resume("agent-0", "agent-1", workId, { signal });
      await expectFailure("resume of forgotten work", resumed, { peer: "agent-1", codes: ["remote"] });
    },
  },
  {
    id: "contract-caller-restarts",
    title: "a caller that comes back, with its workspace or with an empty one, is served",
    check: async (world) => {
      const b = await world.peer("agent-1");
      let caller = await world.peer("agent-0");
      introduce(caller, b);
      await caller.backend.send("agent-0", "agent-1", { text: "first" }, { idempotencyKey: "t-1/1.search" });
      for (const [incarnation, workspaceDir] of [
        [2, caller.workspaceDir],
        [3, world.tempDir()],
      ] as const) {
        const { port } = caller.address;
        await caller.backend.close();
        await caller.client.close();
        await caller.local?.close();
        caller = await world.peer("agent-0", { incarnation, workspaceDir, port });
        introduce(caller, b);
        const { backend } = caller;
        // Whoever is not who it was may be doubted at first: looking up identities at every doubt would be a way to attack.
        const met = await untilServed(() => backend.connect("agent-0", "agent-1"));
        assert.equal(met.peer.agentId, "agent-1");
        const key = { idempotencyKey: `t-${incarnation}/1.search` };
        assert.equal((await caller.backend.send("agent-0", "agent-1", { text: `${incarnation}` }, key)).text, `${incarnation}`);
        assert.equal((await b.backend.connect("agent-1", "agent-0")).peer.incarnation, incarnation);
      }
    },
  },
];

export const closing: readonly Definition[] = [
  {
    id: "contract-close",
    title: "when all is closed nothing keeps the process alive, not even after a call that was given up",
    timeoutMs: PROCESS_TIMEOUT_MS,
    check: async (world, subject) => {
      const b = await startProcess(world, subject, { incarnation: 1, workspaceDir: world.tempDir(), visit: true });
      const exited = once(b.child, "exit");
      const { resources } = await b.next("visited");
      const [code] = (await within(`the process ends by itself; it holds ${resources.join(", ")}`, END_MS, exited)) as [number];
      assert.equal(code, 0);
    },
  },
];
