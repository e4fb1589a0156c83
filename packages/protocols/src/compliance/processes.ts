import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { within } from "./expectations.ts";
import type { PeerSpec, PeerWord } from "./peerProcess.ts";
import type { Subject } from "./subject.ts";
import type { World } from "./world.ts";

const ENTRY = fileURLToPath(new URL("./peerProcess.ts", import.meta.url));
const START_MS = 60_000;

/** An agent as a process of its own. */
export interface PeerProcess {
  readonly port: number;
  readonly child: ChildProcess;
  /** Resolves with the first word of this kind that has not been taken yet, now or when it comes. */
  next<Type extends PeerWord["type"]>(type: Type): Promise<Extract<PeerWord, { type: Type }>>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
}

export async function startProcess(
  world: World,
  { module, section }: Subject,
  spec: Pick<PeerSpec, "incarnation" | "workspaceDir"> & Partial<PeerSpec>,
): Promise<PeerProcess> {
  const whole: PeerSpec = { module, section, agentId: "agent-1", port: 0, visit: false, ...spec };
  const child = fork(ENTRY, [JSON.stringify(whole)], { execArgv: [], stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const exited = once(child, "exit");
  const waiting: Array<{ type: PeerWord["type"]; resolve: (word: never) => void }> = [];
  // Where this process stood still several come at once, before anybody can ask for the second.
  const unheard: PeerWord[] = [];
  child.on("message", (word: PeerWord) => {
    const index = waiting.findIndex(({ type }) => type === word.type);
    if (index === -1) unheard.push(word);
    else waiting.splice(index, 1)[0]?.resolve(word as never);
  });
  const kill = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await exited;
  };
  world.onClose(kill);
  const next: PeerProcess["next"] = (type) => {
    const index = unheard.findIndex((word) => word.type === type);
    if (index !== -1) return Promise.resolve(unheard.splice(index, 1)[0] as never);
    const died = exited.then(() => Promise.reject(new Error(`the peer's process ended before it said ${type}`)));
    const said = new Promise<never>((resolve) => waiting.push({ type, resolve }));
    return within(`the peer's process says ${type}`, START_MS, Promise.race([said, died]));
  };
  const { port } = await next("listening");
  return { port, child, next, kill };
}
