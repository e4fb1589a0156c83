import { appendFileSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Message, type Task, TaskPushNotificationConfig, TaskState } from "@a2a-js/sdk";
import { FakeClock } from "@failstorm/core";
import { afterEach, describe, expect, test } from "vitest";
import { statusOf, textPart } from "../src/a2a/execution.ts";
import { TaskStore } from "../src/a2a/taskStore.ts";
import { a2aPeer, closeAll, closing, gate, rpc, sent, serve, workspace } from "./a2aPeers.ts";

afterEach(closeAll);

const RETAIN_MS = 60_000;

function storeAt(dir: string, clock: FakeClock) {
  const store = new TaskStore({
    dir,
    retainMs: RETAIN_MS,
    maxFinishedBytes: 640_000,
    now: () => clock.now(),
    wall: () => clock.wall(),
  });
  closing(() => store.close());
  const failed: Task[] = [];
  const orphans = store.open((task) => {
    failed.push(task);
    return statusOf(task, TaskState.TASK_STATE_FAILED, clock.wall(), "lost");
  });
  return { store, orphans: orphans.map(({ task }) => task.id) };
}

const question = (text: string) => Message.fromJSON({ messageId: "m", role: "ROLE_USER", parts: [{ text }] });

const artifact = (text: string) => ({
  artifactId: "answer",
  name: "",
  description: "",
  parts: [textPart(text)],
  metadata: undefined,
  extensions: [],
});

function begin(store: TaskStore, clock: FakeClock, id: string, text = "why?", pushes: Parameters<TaskStore["create"]>[3] = []) {
  const status = statusOf({ id, contextId: "c" }, TaskState.TASK_STATE_SUBMITTED, clock.wall());
  const task: Task = { id, contextId: "c", status, artifacts: [], history: [], metadata: undefined };
  return store.create("me", task, question(text), pushes);
}

function complete(store: TaskStore, clock: FakeClock, id: string, text = "because"): void {
  const record = begin(store, clock, id);
  store.addArtifact(record, artifact(text));
  store.end(record, statusOf(record.task, TaskState.TASK_STATE_COMPLETED, clock.wall()));
}

const sizeOf = (dir: string): number => readdirSync(dir).reduce((sum, name) => sum + statSync(path.join(dir, name)).size, 0);

describe("the task store", () => {
  test("[a2a-persistence] [a2a-orphans] gives back what had ended as it was, and fails what had not, once", () => {
    const dir = workspace();
    const clock = new FakeClock();
    const { store } = storeAt(dir, clock);
    complete(store, clock, "done");
    const config = TaskPushNotificationConfig.fromJSON({ id: "h", url: "http://127.0.0.1:1/" });
    begin(store, clock, "running", "why?", [{ config, wireVersion: "0.3" }]);
    const before = store.get("me", "done")?.task;
    const second = storeAt(dir, clock);
    expect(second.orphans).toEqual(["running"]);
    expect(second.store.get("me", "done")?.task).toEqual(before);
    expect(second.store.get("me", "running")).toMatchObject({
      task: {
        status: { state: TaskState.TASK_STATE_FAILED, message: { parts: [textPart("lost")] } },
        history: [{ messageId: "m" }],
      },
      pushes: [{ config: { id: "h" }, wireVersion: "0.3" }],
    });
    expect(storeAt(dir, clock).orphans).toEqual([]);
  });

  test("[a2a-persistence] passes over whatever a killed writer, or anybody, left in its files", () => {
    const dir = workspace();
    const clock = new FakeClock();
    const { store } = storeAt(dir, clock);
    complete(store, clock, "done");
    store.close();
    const [file = ""] = readdirSync(dir);
    const lines = ["null", "[]", '{"op":"task"}', '{"op":"end","id":"nobody"}', '{"op":"task","task":{"id":"half"'];
    appendFileSync(path.join(dir, file), lines.join("\n"));
    writeFileSync(path.join(dir, "notes.txt"), "not ours");
    const second = storeAt(dir, clock);
    expect(second.orphans).toEqual([]);
    expect(second.store.get("me", "done")).toBeDefined();
    expect(readFileSync(path.join(dir, "notes.txt"), "utf8")).toBe("not ours");
  });

  test("[a2a-persistence] a log that is cut at any byte is read as far as it goes", () => {
    const clock = new FakeClock();
    const dir = workspace();
    const { store } = storeAt(dir, clock);
    complete(store, clock, "done", "é");
    store.close();
    const [file = ""] = readdirSync(dir);
    const whole = readFileSync(path.join(dir, file));
    const ended = whole.indexOf("\n") + 1;
    for (let cut = 0; cut <= whole.length; cut += 11) {
      const other = workspace();
      writeFileSync(path.join(other, file), whole.subarray(0, cut));
      const { orphans } = storeAt(other, clock);
      expect(orphans, `cut at ${cut}`).toEqual(cut >= ended - 1 && cut < whole.length - 1 ? ["done"] : []);
    }
  });

  test("[a2a-retention] forgets finished tasks after their time, on disk too; never one that runs", async () => {
    const dir = workspace();
    const clock = new FakeClock();
    const { store } = storeAt(dir, clock);
    begin(store, clock, "long");
    let biggest = 0;
    for (let i = 0; i < 50; i++) {
      complete(store, clock, `t-${i}`, "x".repeat(10_000));
      await clock.advance(RETAIN_MS / 10);
      biggest = Math.max(biggest, sizeOf(dir));
    }
    expect(store.inScope("me").map(({ task }) => task.id)).toEqual([
      "long",
      ...Array.from({ length: 9 }, (_, i) => `t-${41 + i}`),
    ]);
    expect(biggest).toBeLessThan(2 * 12 * 11_000);
    store.close();
    const second = storeAt(dir, clock);
    expect(second.orphans).toEqual(["long"]);
    expect(second.store.inScope("me")).toHaveLength(10);
    await clock.advance(2 * RETAIN_MS);
    expect(storeAt(dir, clock).store.inScope("me")).toEqual([]);
  });

  test("[a2a-retention] forgets before that when they take too much memory, and keeps of a huge message only that there was one", () => {
    const clock = new FakeClock();
    const { store } = storeAt(workspace(), clock);
    for (let i = 0; i < 10; i++) complete(store, clock, `t-${i}`, "x".repeat(100_000));
    expect(store.get("me", "t-0")).toBeUndefined();
    expect(store.get("me", "t-9")).toBeDefined();
    expect(store.inScope("me").length).toBeLessThanOrEqual(7);
    const { task } = begin(store, clock, "huge", "x".repeat(100_000));
    expect(JSON.stringify(task).length).toBeLessThan(2_000);
  });
});

test("[a2a-orphans] [a2a-persistence] a restarted agent tells clients that its unfinished work failed, and its finished work", async () => {
  const workspaceDir = workspace();
  const begun = gate();
  const host = await serve(a2aPeer("agent-1", { workspaceDir }), async ({ payload }, queue) => {
    if ("text" in payload && payload.text === "hang") {
      begun.open();
      await new Promise(() => {});
    }
    queue.enqueue({ type: "agent_text_message", text: "an answer" });
  });
  const done = await sent(host.url, "work");
  const hanging = sent(host.url, "hang").catch(() => {});
  await begun.passed;
  const { result } = await rpc(host.url, "ListTasks", { status: "TASK_STATE_WORKING" });
  const [{ id } = { id: "" }] = (result as { tasks: { id: string }[] }).tasks;
  await host.close();
  await hanging;
  const { url } = await serve(a2aPeer("agent-1", { workspaceDir, incarnation: 2 }));
  expect((await rpc(url, "GetTask", { id: done.id })).result).toEqual(done);
  expect((await rpc(url, "GetTask", { id })).result).toMatchObject({
    id,
    status: {
      state: "TASK_STATE_FAILED",
      message: { role: "ROLE_AGENT", parts: [{ text: expect.stringContaining("restarted") as string }] },
    },
  });
  expect((await rpc(url, "SubscribeToTask", { id })).error?.code).toBe(-32004);
  expect((await rpc(url, "ListTasks", { status: "TASK_STATE_WORKING" })).result?.["totalSize"]).toBe(0);
});
