import type { NewEvent } from "@failstorm/core";
import { QueueAudit } from "@failstorm/qa";
import { describe, expect, it } from "vitest";

const COST = { ms: 5, bytesSent: 10, bytesReceived: 10 };

/** A queue's events in order of time, by coordinator `c` unless said otherwise. */
class Story {
  readonly audit = new QueueAudit();
  private seq = 0;

  at(t: number, event: NewEvent, src = "c"): this {
    this.audit.add({ t, src, inc: 1, seq: this.seq++, ...event });
    return this;
  }

  opened(t: number): this {
    return this.at(t, { ev: "queue.opened", source: "file", questions: 9, recorded: 0, batch: 1, workers: [] });
  }

  sent(t: number, message: number, worker: string, ...questions: string[]): this {
    return this.at(t, { ev: "queue.dispatched", message, worker, questions, attempt: 1 });
  }

  failed(t: number, message: number, worker: string, question: string): this {
    const failure = { attempt: 1, code: "reset", detail: "", retryInMs: 10, ...COST };
    return this.at(t, { ev: "queue.failed", message, worker, questions: [question], ...failure });
  }

  answered(t: number, worker: string, question: string): this {
    const result = { attempt: 1, status: "answered" as const, answer: "x", intendedAt: 0, latencyMs: 1, ...COST };
    return this.at(t, { ev: "queue.result", question, worker, ...result });
  }

  killed(t: number, agent: string): this {
    const stamps = { before: t, after: t + 0.1, cycle: 1, agentInc: 1, pid: 1, fake: false };
    return this.at(t + 1, { ev: "fault.injected", kind: "sigkill", agent, ...stamps }, "orchestrator");
  }

  get broken(): string[] {
    return this.audit.violations().map(({ invariant }) => invariant);
  }
}

describe("the audit of a queue", () => {
  it("finds nothing in a queue with failures, a death, a retry and a late answer before the deadline of patience", () => {
    const story = new Story().opened(0).sent(1, 1, "a", "q1").sent(1, 2, "b", "q2").killed(50, "a");
    story.failed(60, 1, "a", "q1").at(60, { ev: "worker.quarantined", worker: "a", reason: "reset", failures: 3 });
    story.sent(70, 3, "b", "q1").answered(80, "b", "q2").answered(90, "b", "q1");
    story
      .at(5000, { ev: "worker.returned", worker: "a", afterMs: 10, probes: 2 })
      .sent(5001, 4, "a", "q3")
      .answered(6000, "a", "q3");
    expect(story.audit.violations()).toEqual([]);
  });

  it("a sub-coordinator may do a question again that the one above it asks again, but not twice at a time", () => {
    const by = { source: "file", questions: null, recorded: 0, batch: 1 } as const;
    const sub = { worker: "sub", endpoint: "http://h:1", protocol: "a2a", external: false };
    const sent = (story: Story, t: number, message: number): Story =>
      story.at(t, { ev: "queue.dispatched", message, worker: "w", questions: ["q1"], attempt: 1 }, "sub");
    const result = { attempt: 1, status: "answered" as const, answer: "x", intendedAt: 0, latencyMs: 1, ...COST };
    const answered = (story: Story, t: number): Story =>
      story.at(t, { ev: "queue.result", question: "q1", worker: "w", ...result }, "sub");
    const story = new Story().at(0, { ev: "queue.opened", ...by, workers: [] }, "sub");
    story.at(1, { ev: "queue.opened", ...by, workers: [sub] });
    answered(sent(answered(sent(story, 2, 1), 3), 4, 2), 5);
    expect(story.broken).toEqual([]);
    sent(sent(story, 6, 3), 7, 4);
    expect(story.broken).toEqual(["one-message-at-a-time"]);
  });

  it("a question recorded twice, also by two incarnations of the coordinator", () => {
    const story = new Story().opened(0).sent(1, 1, "a", "q1").answered(2, "a", "q1").opened(100);
    story.sent(101, 1, "b", "q1").answered(102, "b", "q1");
    expect(story.broken).toEqual(["not-asked-again", "result-once"]);
  });

  it("an answer of somebody who was not asked, or was asked by a coordinator that is no more", () => {
    expect(new Story().opened(0).sent(1, 1, "a", "q1").answered(2, "b", "q1").broken).toEqual(["asked-before-answered"]);
    expect(new Story().opened(0).sent(1, 1, "a", "q1").opened(50).answered(60, "a", "q1").broken).toEqual([
      "asked-before-answered",
    ]);
  });

  it("an answer of the dead, also when the worker is back since", () => {
    const dead = new Story().opened(0).sent(1, 1, "a", "q1").killed(50, "a");
    expect(dead.answered(400, "a", "q1").broken).toEqual([]); // was in the socket
    const late = new Story().opened(0).sent(1, 1, "a", "q1").killed(50, "a");
    expect(late.answered(900, "a", "q1").broken).toEqual(["none-from-the-dead"]);
    const [found] = late.audit.violations();
    expect(found?.events.map(({ src }) => src)).toEqual(["orchestrator", "c", "c"]);
  });

  it("an unexpected exit after a restart is a death of its own", () => {
    const exited = {
      ev: "agent.exited",
      agent: "a",
      agentInc: 1,
      pid: 1,
      code: null,
      signal: "SIGKILL",
      cause: "fault",
    } as const;
    const ready = { ev: "agent.ready", agent: "a", agentInc: 2, pid: 2, port: 1, rssBytes: 1, ms: 1 } as const;
    const story = new Story().opened(0).killed(10, "a").at(20, exited, "orchestrator").at(2000, ready, "orchestrator");
    story.sent(2100, 1, "a", "q1").at(2200, { ...exited, agentInc: 2, cause: "unexpected" }, "orchestrator");
    expect(story.answered(3000, "a", "q1").broken).toEqual(["none-from-the-dead"]);
  });

  it("a question under way twice, and a worker in quarantine that is asked", () => {
    expect(new Story().opened(0).sent(1, 1, "a", "q1").sent(2, 2, "b", "q1").broken).toEqual(["one-message-at-a-time"]);
    const quarantined = { ev: "worker.quarantined", worker: "a", reason: "timeout", failures: 3 } as const;
    expect(new Story().opened(0).at(1, quarantined).sent(2, 1, "a", "q1").broken).toEqual(["quarantine-holds"]);
  });
});
