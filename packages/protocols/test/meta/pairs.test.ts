import { type Part, systemClock } from "@failstorm/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Execute, echo, introduce, type Peer, World } from "../../src/compliance/world.ts";
import type { MetaBackend } from "../../src/meta/backend.ts";
import { MEMBER_NAMES, MEMBERS, type MemberName } from "../../src/meta/members.ts";
import { protocol } from "../../src/meta/protocol.ts";

/** Every protocol twice, so that each also meets itself: agent-0 and agent-5 host the first of them, and so on. */
const NAMES = MEMBER_NAMES;
const section = { hosts: NAMES };
const world = new World({ protocol, module: "meta", section });
const agents: Peer[] = [];
/** Work that waits: it says that it has begun. */
const gates = new Map<string, { readonly begun: () => void; readonly open: Promise<void> }>();

const wordsOf = (payload: Parameters<Execute>[0]["payload"]): string => ("text" in payload ? payload.text : "");

/** Does what the message's first word says. */
const execute: Execute = async (context, queue) => {
  const [order, ...rest] = wordsOf(context.payload).split(" ");
  switch (order) {
    case "fail":
      throw new Error(`cannot ${rest.join(" ")}`);
    case "wait": {
      const gate = gates.get(rest.join(" "));
      gate?.begun();
      return gate?.open;
    }
    case "late":
      await systemClock.sleep(Number(rest[0]));
      return queue.enqueue({ type: "agent_text_message", text: rest.join(" ") });
    default:
      return echo(context, queue);
  }
};

beforeAll(async () => {
  for (let index = 0; index < 2 * NAMES.length; index++) agents.push(await world.peer(`agent-${index}`, { execute }));
  introduce(...agents);
});
afterAll(() => world.close());

interface Pair {
  readonly from: Peer;
  readonly to: Peer;
  readonly caller: MemberName;
  readonly callee: MemberName;
}

const PAIRS = NAMES.flatMap((caller) => NAMES.map((callee) => [caller, callee] as const));
const pairOf = (caller: MemberName, callee: MemberName): Pair => ({
  caller,
  callee,
  from: agents[NAMES.indexOf(caller)] as Peer,
  to: agents[NAMES.length + NAMES.indexOf(callee)] as Peer,
});

const PARTS: readonly Part[] = [
  { kind: "text", text: "Où est Zürich? 东京" },
  { kind: "data", data: { list: [1, -2.5, null, true], nested: { "a key": "é" } } },
  { kind: "text", text: "and\n\tmore" },
];

const codeOf = async (failing: Promise<unknown>): Promise<unknown> =>
  failing.then(
    () => "no failure",
    (error: { name: string; code: string; peer: string; message: string; traffic?: { protocol?: string } }) => error,
  );

describe.each(PAIRS)("an agent that hosts %s asks one that hosts %s", (caller, callee) => {
  let pair: Pair;
  let ask: (text: string, options?: Parameters<Peer["backend"]["send"]>[3]) => ReturnType<Peer["backend"]["send"]>;
  beforeAll(() => {
    pair = pairOf(caller, callee);
    const { from, to } = pair;
    ask = (text, options) => from.backend.send(from.agentId, to.agentId, { text }, options);
  });

  test("[meta-pairs] who it is, whether it lives, and says in which protocol", async () => {
    const { from, to } = pair;
    const met = await from.backend.connect(from.agentId, to.agentId);
    expect(met.peer).toEqual({ agentId: to.agentId, incarnation: 1, capabilities: ["tool:search"] });
    const { incarnation, traffic } = await from.backend.healthCheck(to.agentId);
    expect(incarnation).toBe(callee === "acp" ? null : 1);
    expect([met.traffic.protocol, traffic.protocol]).toEqual([callee, callee]);
  });

  test("[meta-pairs] text and parts, there and back", async () => {
    const { from, to } = pair;
    expect(await ask('Hello "there"\n🦀')).toMatchObject({ text: 'Hello "there"\n🦀', traffic: { protocol: callee } });
    const before = to.executions.length;
    const answer = await from.backend.send(from.agentId, to.agentId, { parts: PARTS });
    expect(answer.parts).toEqual(PARTS);
    expect(to.executions[before]?.payload).toEqual({ parts: PARTS });
  });

  test("[meta-pairs] several at once, each with its own answer", async () => {
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, i) => ask(`late ${(12 - i) * 3}`, { contextId: `talk-${i % 3}` })),
    );
    expect(answers.map(({ text }) => text)).toEqual(Array.from({ length: 12 }, (_, i) => `${(12 - i) * 3}`));
  });

  test("[meta-pairs] what fails there fails here, with its words and its protocol", async () => {
    const failure = await codeOf(ask("fail to index shard 3"));
    expect(failure).toMatchObject({ name: "CommError", code: "remote", peer: pair.to.agentId, traffic: { protocol: callee } });
    expect((failure as Error).message).toContain("cannot to index shard 3");
  });

  test("[meta-pairs] a deadline ends it here, at once, and not there", async () => {
    const name = `${caller} ${callee}`;
    const [begun, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    gates.set(name, { begun: begun.resolve, open: gate.promise });
    const { to } = pair;
    const before = to.executions.length;
    const deadline = new AbortController();
    const failure = codeOf(ask(`wait ${name}`, { signal: deadline.signal }));
    await begun.promise;
    deadline.abort(new DOMException("too late", "TimeoutError"));
    // With an answer it could only end when the gate is open.
    expect(await failure).toMatchObject({ code: "timeout", peer: to.agentId, traffic: { protocol: callee } });
    expect(to.executions[before]?.signal.aborted).toBe(false);
    gate.resolve();
  });

  test("[meta-pairs] a repeated key is executed once where the callee's protocol has that, and again where not", async () => {
    const { to } = pair;
    const before = to.executions.length;
    const idempotencyKey = `t-${caller}/1.search`;
    for (let i = 0; i < 2; i++) expect((await ask("once?", { idempotencyKey })).text).toBe("once?");
    expect(to.executions.length - before).toBe(MEMBERS[callee].capabilities.idempotency ? 1 : 2);
  });

  test("[meta-pairs] a megabyte, there and back", async () => {
    const { from, to } = pair;
    const text = "0123456789abcdéf".repeat(65_536);
    const answer = await from.backend.send(from.agentId, to.agentId, { parts: [{ kind: "data", data: { text } }] });
    expect(answer.parts.length).toBe(1);
    const [part] = answer.parts;
    expect(part?.kind === "data" && (part.data as { text?: string }).text === text).toBe(true);
    expect(answer.traffic.bytesSent).toBeGreaterThan(1_048_576);
  });

  test("[meta-peer] what the peer can is its own protocol's, work is cancelled and followed up where that has it", async () => {
    const { from, to } = pair;
    const backend = from.backend as MetaBackend;
    expect(backend.protocolsOf(to.agentId)).toEqual([callee]);
    expect(backend.capabilitiesOf(to.agentId)).toEqual(MEMBERS[callee].capabilities);
    const { cancel, resume } = backend.operationsOf(to.agentId);
    const { capabilities } = MEMBERS[callee];
    expect([cancel !== undefined, resume !== undefined]).toEqual([capabilities.cancel, capabilities.resume]);
    if (cancel === undefined || resume === undefined) return;
    const accepted = Promise.withResolvers<string>();
    const answer = ask("late 30", { onAccepted: accepted.resolve });
    const workId = await accepted.promise;
    expect(workId.startsWith(`${callee}:`)).toBe(true);
    await answer;
    const again = await resume(from.agentId, to.agentId, workId);
    expect([again.text, again.traffic.protocol]).toEqual(["30", callee]);
    expect(await codeOf(cancel(from.agentId, to.agentId, `${callee}:00000000-0000-4000-8000-000000000000`))).toMatchObject({
      code: "remote",
    });
    const elsewhere = callee === "a2a" ? "acp" : "a2a";
    expect(await codeOf(resume(from.agentId, to.agentId, `${elsewhere}:1`))).toMatchObject({ code: "protocol" });
  });
});
