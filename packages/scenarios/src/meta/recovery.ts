import type { AgentId, FaultKind } from "@failstorm/core";

/** What a fault did to the agents of one protocol, as the coordinator saw it. Times in ms since the fault; null: not seen. */
export interface ProtocolRecovery {
  readonly fault: FaultKind;
  readonly protocol: string;
  readonly victims: readonly AgentId[];
  /** The first message to one of them that failed. */
  readonly noticed_ms: number | null;
  /** The first task that one of them failed and another agent then did. */
  readonly served_ms: number | null;
  /** The first answer of one of them that was started again. */
  readonly back_ms: number | null;
}

interface Struck {
  readonly fault: FaultKind;
  readonly at: number;
  readonly victims: readonly AgentId[];
  readonly seen: Map<"noticed" | "served" | "back", Map<AgentId, number>>;
}

/** Keeps what became of each fault. Instants are CLOCK_MONOTONIC ms. */
export class RecoveryLog {
  private readonly struck: Struck[] = [];
  private readonly hostedBy: (agent: AgentId) => readonly string[];

  constructor(hostedBy: (agent: AgentId) => readonly string[]) {
    this.hostedBy = hostedBy;
  }

  fault(fault: FaultKind, victims: readonly AgentId[], at: number): void {
    this.struck.push({ fault, at, victims, seen: new Map() });
  }

  failed(agent: AgentId, at: number): void {
    this.note("noticed", agent, at);
  }

  /** A task that `lost` failed was done by another. */
  servedInsteadOf(lost: AgentId, at: number): void {
    this.note("served", lost, at);
  }

  answered(agent: AgentId, at: number): void {
    const last = this.lastOf(agent);
    // An answer that was under way when its agent died is no return.
    if (last?.seen.get("noticed")?.has(agent)) this.note("back", agent, at);
  }

  rows(): ProtocolRecovery[] {
    return this.struck.flatMap(({ fault, at, victims, seen }) => {
      const protocols = [...new Set(victims.flatMap((victim) => this.hostedBy(victim)))].toSorted();
      return protocols.map((protocol) => {
        const own = victims.filter((victim) => this.hostedBy(victim).includes(protocol));
        const first = (what: "noticed" | "served" | "back"): number | null => {
          const times = own.flatMap((victim) => seen.get(what)?.get(victim) ?? []);
          return times.length === 0 ? null : Math.round((Math.min(...times) - at) * 1000) / 1000;
        };
        return {
          fault,
          protocol,
          victims: own,
          noticed_ms: first("noticed"),
          served_ms: first("served"),
          back_ms: first("back"),
        };
      });
    });
  }

  private lastOf(agent: AgentId): Struck | undefined {
    return this.struck.findLast(({ victims }) => victims.includes(agent));
  }

  private note(what: "noticed" | "served" | "back", agent: AgentId, at: number): void {
    const last = this.lastOf(agent);
    if (last === undefined || at < last.at) return;
    const times = last.seen.get(what) ?? new Map<AgentId, number>();
    last.seen.set(what, times);
    if (!times.has(agent)) times.set(agent, at);
  }
}
