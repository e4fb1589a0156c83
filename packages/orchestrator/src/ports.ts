import { randomInt } from "node:crypto";
import { createServer } from "node:net";
import { InputError, type RunConfig } from "@failstorm/core";

/** Where agents of the local launcher listen. */
export const AGENT_HOST = "127.0.0.1";
const HIGHEST_PORT = 65_535;
/** How many taken ports are put up with before the range counts as full. */
const SPARE_PORTS = 1000;

/** "Any port" is looked for here: below the range from which outgoing connections get theirs, so that a restarted agent finds its own free. */
const ANY_PORT = { from: 10_000, to: 31_000 };
const ANY_PORT_TRIES = 20;

export interface PortChoice {
  /** By agent index. */
  readonly ports: readonly number[];
  readonly skipped: readonly { readonly port: number; readonly reason: string }[];
}

/**
 * One port per agent from `network.base_port` up; ports that cannot be listened on are skipped and named. Throws InputError
 * when the range is full.
 */
export async function checkPorts(config: RunConfig): Promise<PortChoice> {
  const { agentCount } = config.scenario;
  const { basePort } = config.network;
  return basePort === 0 ? anyPorts(agentCount) : freePorts(basePort, agentCount);
}

/** A run of free ports from a random place on; what is taken there is nobody's concern. */
async function anyPorts(count: number): Promise<PortChoice> {
  for (let tries = 1; ; tries++) {
    try {
      const { ports } = await freePorts(randomInt(ANY_PORT.from, ANY_PORT.to), count);
      return { ports, skipped: [] };
    } catch (error) {
      if (tries === ANY_PORT_TRIES) throw error;
    }
  }
}

async function freePorts(basePort: number, count: number): Promise<PortChoice> {
  const ports: number[] = [];
  const skipped: { port: number; reason: string }[] = [];
  const last = Math.min(HIGHEST_PORT, basePort + count + SPARE_PORTS - 1);
  for (let port = basePort; port <= last && ports.length < count; port++) {
    const reason = await whyNotFree(port);
    if (reason === null) ports.push(port);
    else skipped.push({ port, reason });
  }
  if (ports.length === count) return { ports, skipped };
  const why = skipped[0] === undefined ? "" : `; ${skipped.length} taken, the first is ${skipped[0].port} (${skipped[0].reason})`;
  throw new InputError(
    `network.base_port (--base-port): ${basePort} leaves ${ports.length} free ports up to ${last} for ${count} agents${why}. ` +
      "Choose another base port, or 0 for any free ports",
  );
}

function whyNotFree(port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    probe.listen({ host: AGENT_HOST, port, exclusive: true }, () => probe.close(() => resolve(null)));
  });
}
