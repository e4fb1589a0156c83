import { createServer } from "node:net";
import { InputError, type RunConfig } from "@failstorm/core";

/** Where agents of the local launcher listen. */
export const AGENT_HOST = "127.0.0.1";
const HIGHEST_PORT = 65_535;
/** How many taken ports are put up with before the range counts as full. */
const SPARE_PORTS = 1000;

export interface PortChoice {
  /** By agent index; all 0 when the base port is 0 (each agent takes any and says which). */
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
  if (basePort === 0) return { ports: Array.from({ length: agentCount }, () => 0), skipped: [] };
  return freePorts(basePort, agentCount);
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
