import { type AgentId, CommError, createPrng, FakeClock } from "@failstorm/core";
import { createTaskLedger, type TaskLedger } from "@failstorm/network";
import { expect, test } from "vitest";
import { LedgerSync } from "../src/ledgerSync.ts";
import type { Messenger } from "../src/messenger.ts";

const TASKS_MS = 5;

/** Ledgers in one process; what they send each other waits in `wire` until it is let through or fails. */
function setUp(ids: readonly AgentId[]) {
  const clock = new FakeClock(0);
  const wire: Array<{ readonly to: AgentId; readonly entries: number; readonly pass: () => void; readonly fail: () => void }> =
    [];
  const ledgers = new Map<AgentId, TaskLedger>();
  const syncs = new Map<AgentId, LedgerSync>();
  const serve = (to: AgentId, from: AgentId, request: { op: string; entries?: unknown[]; digest?: unknown }): unknown => {
    const sync = syncs.get(to);
    if (request.op === "ledger.sync") return sync?.answerDigest(request.digest);
    return sync?.accept(request.entries ?? [], from);
  };
  for (const self of ids) {
    const ledger = createTaskLedger({ self, incarnation: 1, relay: false });
    const ask: Messenger["ask"] = ({ agentId, request }) =>
      new Promise((resolve, reject) => {
        const { entries } = request as { entries?: unknown[] };
        const pass = (): void => resolve(JSON.parse(JSON.stringify(serve(agentId, self, request as never))));
        wire.push({
          to: agentId,
          entries: entries?.length ?? 0,
          pass,
          fail: () => reject(new CommError("refused", agentId, "gone")),
        });
      });
    ledgers.set(self, ledger);
    syncs.set(
      self,
      new LedgerSync({
        clock,
        prng: createPrng(1),
        ledger,
        messenger: () => ({ ask }) as unknown as Messenger,
        intervalMs: 1000,
        enabled: true,
        receivers: () => ids.filter((id) => id !== self),
      }),
    );
  }
  const of = (id: AgentId): { readonly ledger: TaskLedger; readonly sync: LedgerSync } => {
    const [ledger, sync] = [ledgers.get(id), syncs.get(id)];
    if (ledger === undefined || sync === undefined) throw new Error(`no ${id}`);
    return { ledger, sync };
  };
  const flush = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  };
  return { wire, of, flush };
}

test("a push is done when what an earlier one still carries has arrived too", async () => {
  const { wire, of, flush } = setUp(["agent-0", "agent-1"]);
  const { ledger, sync } = of("agent-0");
  ledger.recordStarted({ task: "t-0", attempt: 1 }, TASKS_MS);
  const first = sync.pushAll();
  let second: boolean | null = null;
  const later = (async () => {
    second = await sync.pushAll();
  })();
  await flush();
  expect(second, "t-0 has not arrived").toBeNull();
  wire.shift()?.pass();
  expect(await first).toBe(true);
  await later;
  expect(second).toBe(true);
  expect(wire, "there was nothing else to push").toEqual([]);
  expect(of("agent-1").ledger.size).toBe(1);
});

test("what an earlier push could not deliver goes with the one that waited for it, and with what is new, once", async () => {
  const { wire, of, flush } = setUp(["agent-0", "agent-1"]);
  const { ledger, sync } = of("agent-0");
  ledger.recordStarted({ task: "t-0", attempt: 1 }, TASKS_MS);
  const first = sync.pushAll();
  ledger.recordStarted({ task: "t-1", attempt: 1 }, TASKS_MS);
  const [second, third] = [sync.pushAll(), sync.pushAll()];
  wire.shift()?.fail();
  expect(await first).toBe(false);
  await flush();
  expect(wire.map(({ entries }) => entries)).toEqual([2]);
  wire.shift()?.pass();
  expect(await Promise.all([second, third])).toEqual([true, true]);
  expect(of("agent-1").ledger.finalDigest()).toBe(ledger.finalDigest());
});

test("comparing at the end brings what somebody told only one of the others before dying, and bears peers that do not answer", async () => {
  const { wire, of } = setUp(["agent-0", "agent-1", "agent-2", "agent-3"]);
  const victim = createTaskLedger({ self: "agent-3", incarnation: 1, relay: false });
  victim.recordStarted({ task: "t-9", attempt: 1 }, TASKS_MS);
  of("agent-1").sync.accept(victim.takeDelta("agent-1").entries, "agent-3");
  const { ledger, sync } = of("agent-0");
  expect(await Promise.all([sync.pushAll(), of("agent-1").sync.pushAll()]), "nobody passes it on").toEqual([true, true]);
  const compared = sync.compareAll();
  for (const { to, pass, fail } of wire) (to === "agent-3" ? fail : pass)();
  await compared;
  expect(ledger.finalDigest()).toBe(of("agent-1").ledger.finalDigest());
});
