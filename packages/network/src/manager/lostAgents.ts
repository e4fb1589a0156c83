import { type Address, type AgentId, CommError, type Prng } from "@failstorm/core";

/** So many are remembered; of more, those that were lost last. */
const MAX_LOST = 256;
/** Called at once when one has answered; the others wait for the next rounds. */
const MAX_CALLS = 8;

/**
 * Agents that were dead for so long that they were taken out: most are gone for good, but they may be the other half of a network that was
 * cut, which has taken out this half. So one of them, drawn by lot, is called in each round, however many there are. Where it answers, others
 * of its half are there, too; each is called itself, because what others say of one who was taken out is not believed.
 */
export class LostAgents {
  private readonly addresses = new Map<AgentId, Address>();
  private readonly options: {
    readonly prng: Prng;
    /** Rejects with CommError: code `protocol` when somebody else is there. */
    readonly call: (address: Address, agentId: AgentId) => Promise<void>;
  };

  constructor(options: LostAgents["options"]) {
    this.options = options;
  }

  add(agentId: AgentId, address: Address): void {
    this.addresses.delete(agentId);
    this.addresses.set(agentId, address);
    if (this.addresses.size > MAX_LOST) this.addresses.delete(this.addresses.keys().next().value as AgentId);
  }

  /** It is known again. */
  delete(agentId: AgentId): void {
    this.addresses.delete(agentId);
  }

  /** Whether anybody was found. */
  async seek(): Promise<boolean> {
    const [first, ...others] = this.options.prng.shuffle([...this.addresses.keys()]).slice(0, MAX_CALLS);
    if (first === undefined || !(await this.call(first))) return false;
    await Promise.all(others.map((agentId) => this.call(agentId)));
    return true;
  }

  private async call(agentId: AgentId): Promise<boolean> {
    const address = this.addresses.get(agentId);
    if (address === undefined) return false;
    try {
      await this.options.call(address, agentId);
      return true;
    } catch (error) {
      // Where somebody else is now, it does not come back.
      if (error instanceof CommError && error.code === "protocol") this.addresses.delete(agentId);
      return false;
    }
  }
}
