import path from "node:path";
import type { QueueConfig, QueueNode, QueueSpec } from "@failstorm/core";
import { type FinishedQuestion, QueueEngine } from "@failstorm/qa";
import type { Role, RoleParts } from "../role.ts";
import type { AnswerEngine } from "./answerEngine.ts";
import { type Cost, Dispatcher, resultEvent } from "./dispatcher.ts";
import { engineConfig, joinNetwork, Neighbours, POOL_ATTEMPTS } from "./neighbours.ts";
import { NetworkBase } from "./network.ts";
import { Worker } from "./worker.ts";

interface Waiting {
  readonly id: string;
  readonly resolve: (answer: string | null) => void;
  readonly reject: (error: Error) => void;
}

/** Answers by a pool of workers of its own. */
class Pool {
  private readonly parts: RoleParts<QueueSpec>;
  private readonly queue: QueueConfig;
  private readonly stopping = new AbortController();
  private readonly waiting = new Map<number, Waiting>();
  /** By question, what it will come to. */
  private readonly underWay = new Map<string, { readonly q: string; readonly answer: Promise<string | null> }>();
  private dispatcher: Dispatcher | null = null;
  private asked = 0;

  constructor(parts: RoleParts<QueueSpec>, queue: QueueConfig) {
    this.parts = parts;
    this.queue = queue;
  }

  readonly answer: AnswerEngine = async ({ id, q }) => {
    const { dispatcher, underWay, waiting } = this;
    if (dispatcher === null) throw new Error("the pool is not there yet");
    // A coordinator that was killed asks again what the pool is at: once is enough.
    const known = underWay.get(id);
    if (known?.q === q) return known.answer;
    const { promise: answer, resolve, reject } = Promise.withResolvers<string | null>();
    const seq = this.asked++;
    waiting.set(seq, { id, resolve, reject });
    underWay.set(id, { q, answer });
    dispatcher.offer([{ seq, id, q, gold: null }]);
    return answer;
  };

  async open(nodes: readonly QueueNode[]): Promise<void> {
    const { parts, queue } = this;
    const { self, backend, clock, recorder, prng, spec } = parts;
    const network = new NetworkBase({ self: self.agentId, backend, clock });
    joinNetwork(network, nodes, queue.topology);
    const neighbours = new Neighbours(parts, network, nodes);
    recorder.event({
      ev: "queue.opened",
      source: queue.source,
      questions: null,
      recorded: 0,
      batch: queue.batch,
      workers: neighbours.described(),
    });
    const config = { ...engineConfig(queue), maxAttempts: POOL_ATTEMPTS, window: Number.MAX_SAFE_INTEGER };
    this.dispatcher = new Dispatcher({
      engine: new QueueEngine({
        config,
        prng: prng.fork(`queue/${self.agentId}`),
        now: clock.now(),
        takesBatches: (worker) => neighbours.takesBatches(worker),
      }),
      network,
      clock,
      recorder,
      // Its workspace is in the run's folder: runs with one seed may ask a worker that runs already different questions under one id.
      run: path.basename(path.resolve(spec.workspaceDir, "..", "..")),
      takesBatches: (worker) => neighbours.takesBatches(worker),
      onRecords: (results, cost) => {
        for (const result of results) this.settle(result, cost);
      },
      onChange: () => undefined,
      onReturned: (worker) => neighbours.greetAgain(worker, this.stopping.signal),
      // The coordinator above notices that nothing is answered here, and asks others.
      onStarved: (open) =>
        recorder.event({ ev: "log", level: "warning", message: `the pool has no worker; ${open} questions wait` }),
    });
    await neighbours.join(this.dispatcher, this.stopping.signal);
  }

  close(): void {
    this.stopping.abort(new Error("the sub-coordinator stops"));
    this.dispatcher?.stop();
  }

  private settle(result: FinishedQuestion, cost: Cost): void {
    const { seq, status, answer, code } = result;
    this.parts.recorder.event(resultEvent(result, cost));
    const asker = this.waiting.get(seq);
    this.waiting.delete(seq);
    if (asker !== undefined) this.underWay.delete(asker.id);
    if (status === "failed") asker?.reject(new Error(`nobody of the pool has answered: ${code ?? "no attempt was made"}`));
    else asker?.resolve(answer);
  }
}

/**
 * A coordinator below the coordinator: to the one above it is a worker, whose answers come from a pool of its own. It keeps no journal: what
 * it has not answered is asked again by the one above.
 */
export function subCoordinator(parts: RoleParts<QueueSpec>, queue: QueueConfig): Role {
  const pool = new Pool(parts, queue);
  const { executor, capabilities, tasksInFlight } = new Worker(parts, async () => pool.answer);
  return {
    up: { homeTool: null, shard: null, role: "sub-coordinator" },
    routes: [],
    inStorm: false,
    executor,
    capabilities,
    tasksInFlight,
    async handle(message) {
      if (message.type === "network") {
        await pool.open(message.nodes);
        return { type: "prepared" };
      }
      if (message.type === "feed") parts.recorder.setEpoch(message.t0);
      return null;
    },
    async stop() {
      pool.close();
    },
  };
}
