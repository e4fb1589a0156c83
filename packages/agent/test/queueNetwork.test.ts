import {
  type Address,
  type AgentId,
  CommError,
  type CommBackend,
  FakeClock,
  type HealthResult,
  type Payload,
  type SendResult,
  type Traffic,
} from "@failstorm/core";
import { describe, expect, it } from "vitest";
import { type Health, NetworkBase } from "../src/queue/network.ts";
import { questionsPayload, readAnswer, readIncoming } from "../src/queue/wire.ts";

const traffic: Traffic = { bytesSent: 0, bytesReceived: 0, roundTrips: 1, firstByteAt: 0, ms: 0 };

/** A wire in memory: who is reached where, and what each one does when it is asked. */
function wire(behaviour: Record<AgentId, () => Promise<unknown>> = {}) {
  const registered = new Map<AgentId, Address>();
  const sent: [AgentId, Payload][] = [];
  const backend = {
    registerEndpoint: (agent: AgentId, address: Address) => void registered.set(agent, address),
    async send(_src: AgentId, dst: AgentId, payload: Payload): Promise<SendResult> {
      sent.push([dst, payload]);
      await behaviour[dst]?.();
      return { raw: null, text: `from ${dst}`, parts: [], traffic };
    },
    async healthCheck(agent: AgentId): Promise<HealthResult> {
      await behaviour[agent]?.();
      return { incarnation: 1, traffic };
    },
  } as unknown as CommBackend;
  return { backend, registered, sent };
}

const agents = ["Coordinator-1", "Worker-1", "Worker-2", "Worker-3", "Worker-4"];
function network(self: AgentId, behaviour?: Record<AgentId, () => Promise<unknown>>, ids = agents) {
  const clock = new FakeClock();
  const world = wire(behaviour);
  const base = new NetworkBase({ self, backend: world.backend, clock });
  for (const [index, id] of ids.entries()) base.register(id, `http://127.0.0.1:${9000 + index}${index === 2 ? "/a2a/" : ""}`);
  return { base, clock, ...world };
}

const fails = (code: "refused" | "timeout" | "remote", peer: AgentId) => async (): Promise<never> => {
  throw new CommError(code, peer, code);
};

describe("NetworkBase", () => {
  it("star: everybody reaches the centre, others over it; what is said goes to where each was registered", async () => {
    const { base, registered, sent } = network("Worker-1");
    base.setupStarTopology("Coordinator-1");
    expect(base.neighbours("Coordinator-1")).toEqual(["Worker-1", "Worker-2", "Worker-3", "Worker-4"]);
    expect(base.neighbours()).toEqual(["Coordinator-1"]);
    expect(base.route("Worker-1", "Worker-4")).toEqual(["Worker-1", "Coordinator-1", "Worker-4"]);
    expect(base.endpointOf("Worker-2")).toBe("http://127.0.0.1:9002/a2a/");
    expect(registered.get("Worker-2")).toEqual({ host: "127.0.0.1", port: 9002, basePath: "/a2a" });
    expect(registered.has("Worker-1"), "nobody dials himself").toBe(false);
    await base.send("Coordinator-1", { text: "hello" });
    await expect(base.send("Worker-4", { text: "hello" })).rejects.toThrow(/no neighbour.*Worker-1 → Coordinator-1 → Worker-4/);
    expect(sent).toEqual([["Coordinator-1", { text: "hello" }]]);
  });

  it("mesh: everybody reaches everybody; an agent may move", () => {
    const { base, registered } = network("Worker-1");
    base.setupStarTopology("Coordinator-1");
    base.setupMeshTopology();
    for (const agent of agents) expect([...base.neighbours(agent)].toSorted()).toEqual(agents.filter((other) => other !== agent));
    base.register("Worker-3", "http://127.0.0.1:9555");
    expect(registered.get("Worker-3")?.port).toBe(9555);
    expect(base.neighbours("Worker-3")).toHaveLength(4);
  });

  it("layered: pools behind sub-coordinators; nobody in two of them, nobody unknown", () => {
    const ids = ["Coordinator-1", "Sub-1", "Sub-2", "Worker-1", "Worker-2", "Worker-3", "Alone"];
    const { base } = network("Coordinator-1", {}, ids);
    base.setupLayeredTopology(
      "Coordinator-1",
      new Map([
        ["Sub-1", ["Worker-1", "Worker-2"]],
        ["Sub-2", ["Worker-3"]],
      ]),
    );
    expect(base.neighbours()).toEqual(["Sub-1", "Sub-2"]);
    expect(base.route("Worker-3", "Worker-1")).toEqual(["Worker-3", "Sub-2", "Coordinator-1", "Sub-1", "Worker-1"]);
    expect(base.route("Coordinator-1", "Alone")).toBeNull();
    const twice = new Map([
      ["Sub-1", ["Worker-1"]],
      ["Sub-2", ["Worker-1"]],
    ]);
    expect(() => base.setupLayeredTopology("Coordinator-1", twice)).toThrow("Worker-1 is in two pools");
    expect(() => base.setupLayeredTopology("Coordinator-1", new Map([["Sub-9", []]]))).toThrow("Sub-9 is not registered");
  });

  it("broadcast tells of each neighbour what it answered, or why it did not", async () => {
    const { base } = network("Coordinator-1", { "Worker-2": fails("timeout", "Worker-2") });
    base.setupStarTopology("Coordinator-1");
    const answers = await base.broadcast({ text: "status" });
    expect([...answers.keys()]).toEqual(agents.slice(1));
    expect(answers.get("Worker-1")).toMatchObject({ text: "from Worker-1" });
    expect(answers.get("Worker-2")).toMatchObject({ code: "timeout" });
  });

  it("finds the dead: a refused probe at once, others after two in a row; an error of the protocol is a sign of life", async () => {
    let lost = 0;
    const flaky = async (): Promise<void> => {
      lost += 1;
      // Every other probe is lost.
      if (lost % 2 === 1) throw new CommError("timeout", "Worker-3", "timeout");
    };
    const { base, clock } = network("Coordinator-1", {
      "Worker-1": fails("refused", "Worker-1"),
      "Worker-2": fails("timeout", "Worker-2"),
      "Worker-3": flaky,
      "Worker-4": fails("remote", "Worker-4"),
    });
    base.setupStarTopology("Coordinator-1");
    const dead: Health[] = [];
    const stop = new AbortController();
    base.monitor({ intervalMs: 1000, signal: stop.signal, onDead: (health) => dead.push(health) });
    const peers = (): string[] => dead.splice(0).map(({ peer, reason }) => `${peer} ${reason}`);
    await clock.advance(1000);
    expect(peers()).toEqual(["Worker-1 refused"]);
    await clock.advance(1000);
    expect(peers()).toEqual(["Worker-1 refused", "Worker-2 timeout"]);
    await clock.advance(4000);
    expect(peers().some((said) => said.startsWith("Worker-3") || said.startsWith("Worker-4"))).toBe(false);
    stop.abort();
    await clock.advance(5000);
    expect(peers()).toEqual([]);
  });
});

describe("what queues say to each other", () => {
  const asked = [{ seq: 3, id: "q4", q: "Why?", attempt: 2 }];

  it("questions, commands in data or words, and strangers' words are told apart", () => {
    expect(readIncoming(questionsPayload(asked))).toEqual({ kind: "questions", questions: asked });
    expect(readIncoming({ parts: [{ kind: "data", data: { command: "dispatch" } }] })).toEqual({
      kind: "command",
      command: "dispatch",
    });
    expect(readIncoming({ text: " Status\n" })).toEqual({ kind: "command", command: "status" });
    expect(readIncoming({ text: "What is the status?" })).toEqual({ kind: "text", text: "What is the status?" });
    for (const data of [null, 7, {}, { questions: [] }, { questions: [{ seq: "x" }] }, { questions: [asked[0], null] }])
      expect(readIncoming({ parts: [{ kind: "data", data }] }), JSON.stringify(data)).toBeNull();
    expect(readIncoming({ text: "  " })).toBeNull();
  });

  it("of an answer only what was asked is taken; words answer a single question; the rest is garbage", () => {
    const part = (answers: unknown) => [{ kind: "data", data: { answers } }] as const;
    const two = [{ seq: 1 }, { seq: 2 }];
    const given = [{ seq: 2, answer: "b" }, { seq: 1, answer: null }, { seq: 9, answer: "x" }, { seq: 1 }, "?"];
    expect(readAnswer(two, part(given), "")).toEqual({ answers: given.slice(0, 2) });
    expect(readAnswer([{ seq: 1 }], [], " Bern ")).toEqual({ answers: [{ seq: 1, answer: "Bern" }] });
    expect(readAnswer(two, [], "Bern")).toHaveProperty("garbage");
    expect(readAnswer([{ seq: 1 }], part("Bern"), "")).toHaveProperty("garbage");
    expect(readAnswer([{ seq: 1 }], [], "")).toHaveProperty("garbage");
    expect(readAnswer([{ seq: 1 }], [], "x".repeat(100_001))).toHaveProperty("garbage");
    expect(readAnswer([{ seq: 1 }], part([{ seq: 1, answer: "x".repeat(100_001) }]), "")).toEqual({ answers: [] });
  });
});
