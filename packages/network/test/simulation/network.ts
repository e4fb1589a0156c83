import { type AgentId, byAgentIndex, createPrng, type Prng } from "@failstorm/core";
import {
  buildLinks,
  createFailureDetector,
  type DetectorEffect,
  type DetectorInput,
  type FailureDetector,
  type GossipItem,
  type Link,
  monitoredBy,
} from "../../src/index.ts";
import { createQueue } from "./queue.ts";
import { INTERVAL_MS, type ProcessPlan, type Schedule, TIMEOUT_MS } from "./schedule.ts";

/** What a process declared. */
export interface Declared {
  readonly at: number;
  readonly by: AgentId;
  readonly byIncarnation: number;
  readonly effect: Extract<DetectorEffect, { how: unknown }>;
}

/** What a process foretold. */
export interface Foretold {
  readonly at: number;
  readonly by: AgentId;
  readonly effect: Extract<DetectorEffect, { kind: "standby" }>;
}

export interface Outcome {
  readonly declared: readonly Declared[];
  readonly foretold: readonly Foretold[];
  /** What each process that lives at the end believes of each other: `agent-1#2 dead`. */
  readonly beliefs: ReadonlyMap<AgentId, ReadonlyMap<AgentId, string>>;
  readonly probes: number;
  readonly gossip: number;
}

interface Process {
  readonly plan: ProcessPlan;
  readonly incarnation: number;
  readonly detector: FailureDetector;
  /** Counts up whenever its timer is set anew. */
  timer: number;
  /** Until then it has something to do. */
  freeAt: number;
}

interface Happening {
  /** Whose loop has to run it; null = nobody's. A process that is gone runs `otherwise`. */
  readonly process: Process | null;
  readonly isTimer: boolean;
  readonly run: () => void;
  readonly otherwise?: () => void;
}

/** So many happenings would mean that somebody spins. */
const MOST_HAPPENINGS = 2_000_000;

/**
 * Processes with one detector each, and the messages between them, over simulated time: requests with answers, as over TCP. A request
 * to a process that is gone is refused; one that is lost, or not answered in time, has failed for its sender, though it may be read yet.
 */
export class SimulatedNetwork {
  private readonly schedule: Schedule;
  private readonly prng: Prng;
  private readonly queue = createQueue<Happening>();
  private readonly running = new Map<AgentId, Process>();
  private readonly declared: Declared[] = [];
  private readonly foretold: Foretold[] = [];
  private readonly ids: readonly AgentId[];
  private readonly links: readonly Link[];
  private readonly coresFreeAt: number[];
  private now = 0;
  private probes = 0;
  private gossip = 0;

  constructor(schedule: Schedule) {
    this.schedule = schedule;
    this.prng = createPrng(schedule.seed, "network");
    this.ids = schedule.processes.map(({ id }) => id);
    this.links = buildLinks("mesh", this.ids);
    this.coresFreeAt = Array.from({ length: schedule.cores?.count ?? 1 }, () => 0);
  }

  run(): Outcome {
    const { endAt, processes, chatter } = this.schedule;
    for (const plan of processes) {
      this.start(plan, 1);
      if (plan.crashesAt !== null) this.plan(plan.crashesAt, () => this.crash(plan.id));
      if (plan.restartsAt !== null) this.plan(plan.restartsAt, () => this.restart(plan));
      if (chatter > 0) this.chat(plan.id);
    }
    for (let count = 0; ; count++) {
      const next = this.queue.pop();
      if (next === undefined || next.at > endAt) break;
      if (count > MOST_HAPPENINGS) throw new Error(`seed ${this.schedule.seed}: no end of happenings at ${this.now}`);
      this.now = next.at;
      this.happen(next.event);
    }
    const beliefs = new Map(
      [...this.running].map(([id, { detector }]) => [
        id,
        new Map(detector.status().map(({ peer, incarnation, state }) => [peer, `${peer}#${incarnation} ${state}`])),
      ]),
    );
    return { declared: this.declared, foretold: this.foretold, beliefs, probes: this.probes, gossip: this.gossip };
  }

  private happen(happening: Happening): void {
    const { process, run, otherwise } = happening;
    if (process === null) return run();
    if (this.running.get(process.plan.id) !== process) return otherwise?.();
    const pause = process.plan.pauses.find(([from, until]) => from <= this.now && this.now < until);
    if (pause !== undefined) {
      const later = happening.isTimer === this.schedule.timersFirst ? 0 : 0.5;
      this.queue.push(pause[1] + later, happening);
      return;
    }
    const freeAt = happening.isTimer ? this.now : this.coreFreeAt(process);
    if (freeAt > this.now) this.queue.push(freeAt, happening);
    else run();
  }

  /** When a core has time for this process; taken, if that is now. Cores are few only where the schedule says so. */
  private coreFreeAt(process: Process): number {
    const { cores } = this.schedule;
    if (cores === undefined) return this.now;
    const core = this.coresFreeAt.indexOf(Math.min(...this.coresFreeAt));
    const freeAt = Math.max(this.coresFreeAt[core] ?? 0, process.freeAt);
    if (freeAt > this.now) return freeAt;
    process.freeAt = this.now + cores.messageMs / 2;
    this.coresFreeAt[core] = process.freeAt;
    return this.now;
  }

  private plan(at: number, run: () => void): void {
    this.queue.push(at, { process: null, isTimer: false, run });
  }

  private start(plan: ProcessPlan, incarnation: number): Process {
    const { id } = plan;
    const prng = this.prng.fork(`process/${id}/${incarnation}`);
    const phases = new Map(this.ids.map((peer) => [peer, prng.int(INTERVAL_MS)]));
    const { kind, successors, transportSignals, predictive = false } = this.schedule;
    let process: Process | null = null;
    const detector = createFailureDetector(kind, {
      self: id,
      incarnation,
      peers: this.ids.filter((peer) => peer !== id).map((agentId) => ({ agentId, incarnation: 1 })),
      monitored: this.monitored(id, new Set(this.ids)),
      intervalMs: INTERVAL_MS,
      timeoutMs: TIMEOUT_MS,
      transportSignals,
      predictive,
      gossip: kind === "swim" || successors !== null,
      ...(this.schedule.ring === true
        ? { linked: () => this.ringNeighbours(process) }
        : {
            fullyLinked: true,
            fixedMembers: this.schedule.fixedMembers ?? false,
            allSignalled: this.schedule.allSignalled ?? false,
          }),
      phase: (peer) => phases.get(peer) ?? 0,
      startAt: this.now,
    });
    process = { plan, incarnation, detector, timer: 0, freeAt: 0 };
    this.running.set(id, process);
    this.arm(process);
    return process;
  }

  /** Between the live ones, as this process believes. */
  private ringNeighbours(process: Process | null): AgentId[] {
    const live = process?.detector.status().filter(({ state }) => state !== "dead") ?? [];
    if (process === null || live.length === 0) return [];
    const ids = [process.plan.id, ...live.map(({ peer }) => peer)].toSorted(byAgentIndex);
    const at = ids.indexOf(process.plan.id);
    return [ids.at(at - 1), ids[(at + 1) % ids.length]].filter((id) => id !== undefined);
  }

  private monitored(self: AgentId, live: ReadonlySet<AgentId>): AgentId[] {
    const monitors = this.schedule.successors ?? "all";
    return monitoredBy({ self, monitors, ids: this.ids, live, initialLinks: this.links, links: () => this.links });
  }

  private crash(id: AgentId): void {
    this.running.delete(id);
    for (const observer of this.running.values()) {
      const status = observer.detector.status().find(({ peer }) => peer === id);
      const isHeld = status?.monitored === true || this.schedule.allSignalled === true;
      if (status === undefined || !isHeld || this.isCut(id, observer.plan.id)) continue;
      const { incarnation } = status;
      const delay = this.delay();
      // A stream the other way is ended as well: before this one is told of, after that, or there is none.
      const other = this.prng.pick(["before", "after", "none"]);
      if (other !== "before") this.deliver(observer, delay, () => this.feed(observer, { kind: "closed", peer: id, incarnation }));
      if (other === "none") continue;
      this.deliver(observer, delay + this.delay(), () => this.feed(observer, { kind: "gone", peer: id, incarnation }));
    }
  }

  /** The next incarnation greets everybody until they answer, and learns from the answers who lives. */
  private restart(plan: ProcessPlan): void {
    const process = this.start(plan, 2);
    for (const peer of this.ids) if (peer !== plan.id) this.greet(process, peer);
  }

  private greet(process: Process, peer: AgentId): void {
    const { id } = process.plan;
    const serve = (receiver: Process) => {
      this.feed(receiver, { kind: "heard", peer: id, incarnation: process.incarnation });
      const entries = receiver.detector
        .status()
        .filter((status) => status.peer !== id)
        .map((status): GossipItem => {
          const { peer, incarnation, refutation } = status;
          return { peer, incarnation, refutation, state: status.state === "dead" ? "dead" : "alive" };
        });
      return () => {
        this.feed(process, { kind: "heard", peer, incarnation: receiver.incarnation });
        this.feed(process, { kind: "gossip", from: peer, entries });
      };
    };
    this.request(process, peer, serve, () => this.deliver(process, INTERVAL_MS, () => this.greet(process, peer)));
  }

  /** Requests of other sorts, to anybody. */
  private chat(id: AgentId): void {
    this.plan(this.now + this.prng.exponential(1000 / this.schedule.chatter), () => {
      const process = this.running.get(id);
      const peer = this.prng.pick(this.ids);
      if (process !== undefined && peer !== id) {
        this.deliver(process, 0, () =>
          this.request(process, peer, (receiver) => {
            this.feed(receiver, { kind: "heard", peer: id, incarnation: process.incarnation });
            return () => this.feed(process, { kind: "heard", peer, incarnation: receiver.incarnation });
          }),
        );
      }
      this.chat(id);
    });
  }

  private arm(process: Process): void {
    process.timer += 1;
    const { timer } = process;
    const wakeAt = process.detector.nextWakeAt();
    if (wakeAt === null) return;
    // A timer fires up to a millisecond late, never early.
    const at = Math.max(this.now, this.now + Math.ceil(wakeAt - this.now));
    const run = (): void => {
      if (process.timer !== timer) return;
      this.carryOut(process, process.detector.tick(this.now));
      this.arm(process);
    };
    this.queue.push(at, { process, isTimer: true, run });
  }

  private feed(process: Process, input: DetectorInput): void {
    this.carryOut(process, process.detector.receive(input, this.now));
    this.arm(process);
  }

  private carryOut(process: Process, effects: readonly DetectorEffect[]): void {
    for (const effect of effects) {
      switch (effect.kind) {
        case "probe":
          this.probe(process, effect.peer);
          break;
        case "identify":
          this.request(process, effect.peer, (receiver) => () => {
            this.feed(process, { kind: "heard", peer: effect.peer, incarnation: receiver.incarnation });
          });
          break;
        case "gossip":
          for (const to of effect.to) this.sendGossip(process, to, effect.entries);
          break;
        case "standby":
          this.foretold.push({ at: this.now, by: process.plan.id, effect });
          break;
        default:
          this.declared.push({ at: this.now, by: process.plan.id, byIncarnation: process.incarnation, effect });
          this.followView(process);
      }
    }
  }

  private followView(process: Process): void {
    if (this.schedule.successors === null) return;
    const status = process.detector.status();
    const live = new Map(status.filter(({ state }) => state === "alive").map(({ peer, incarnation }) => [peer, incarnation]));
    const monitored = this.monitored(process.plan.id, new Set(live.keys()));
    process.detector.monitor(monitored, this.now);
    this.arm(process);
    // The stream that is opened to who comes to be monitored is refused by one who is gone.
    for (const { peer, monitored: wasMonitored } of status) {
      const incarnation = live.get(peer);
      if (wasMonitored || incarnation === undefined || !monitored.includes(peer) || this.running.has(peer)) continue;
      if (this.isCut(peer, process.plan.id)) continue;
      this.deliver(process, this.delay(), () => this.feed(process, { kind: "closed", peer, incarnation }));
    }
  }

  private probe(process: Process, peer: AgentId): void {
    this.probes += 1;
    const sentAt = this.now;
    this.request(
      process,
      peer,
      (receiver) => () => {
        const incarnation = this.schedule.answersName ? receiver.incarnation : null;
        this.feed(process, { kind: "answered", peer, incarnation, sentAt });
      },
      (refused) => this.feed(process, { kind: "unanswered", peer, refused, sentAt }),
    );
  }

  private sendGossip(process: Process, to: AgentId, entries: readonly GossipItem[]): void {
    this.gossip += 1;
    this.request(
      process,
      to,
      (receiver) => {
        this.feed(receiver, { kind: "heard", peer: process.plan.id, incarnation: process.incarnation });
        this.feed(receiver, { kind: "gossip", from: process.plan.id, entries });
        return () => {};
      },
      () => this.feed(process, { kind: "undelivered", to, entries }),
    );
  }

  /** `serve` runs at the receiver and gives what the answer does at the sender. */
  private request(
    sender: Process,
    to: AgentId,
    serve: (receiver: Process) => () => void,
    failed: (refused: boolean) => void = () => {},
  ): void {
    let open = true;
    const settle = (what: () => void) => (): void => {
      if (!open) return;
      open = false;
      what();
    };
    this.deliver(
      sender,
      TIMEOUT_MS,
      settle(() => failed(false)),
      true,
    );
    const refuse = (): void =>
      this.deliver(
        sender,
        this.delay(),
        settle(() => failed(true)),
      );
    const copies = this.prng.next() < this.schedule.duplication ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (this.isLost(sender.plan.id, to)) continue;
      const delayMs = this.delay();
      this.plan(this.now + delayMs, () => {
        const receiver = this.running.get(to);
        if (receiver === undefined) return refuse();
        this.deliver(receiver, this.slowness(receiver), () => {
          const answer = serve(receiver);
          if (!this.isLost(to, sender.plan.id)) this.deliver(sender, this.delay(), settle(answer));
        });
      });
    }
  }

  private deliver(process: Process, afterMs: number, run: () => void, isTimer = false): void {
    this.queue.push(this.now + afterMs, { process, isTimer, run });
  }

  private delay(): number {
    return this.schedule.delayMs + this.prng.exponential(this.schedule.jitterMs);
  }

  private slowness({ plan: { fades } }: Process): number {
    return fades === undefined || this.now < fades.from ? 0 : 10 * 2 ** ((this.now - fades.from) / fades.doublingMs);
  }

  private isCut(a: AgentId, b: AgentId): boolean {
    return this.schedule.partitions.some(
      ({ span: [from, until], side }) => from <= this.now && this.now < until && side.has(a) !== side.has(b),
    );
  }

  private isLost(from: AgentId, to: AgentId): boolean {
    return this.isCut(from, to) || (this.now < this.schedule.calmFrom && this.prng.next() < this.schedule.loss);
  }
}
