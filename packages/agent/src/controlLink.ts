import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import type { FromAgent, ToAgent } from "@failstorm/core";

export interface ControlLink {
  send(message: FromAgent): void;
  close(): void;
}

/**
 * Dials the orchestrator. `onGone` is called once when the link ends for whatever reason, also when it never came up: an agent
 * without an orchestrator has nothing left to do.
 */
export function openControlLink(options: {
  readonly host: string;
  readonly port: number;
  readonly onMessage: (message: ToAgent) => void;
  readonly onGone: (reason: string) => void;
}): Promise<ControlLink> {
  return new Promise((resolve) => {
    let gone = false;
    const leave = (reason: string): void => {
      if (gone) return;
      gone = true;
      options.onGone(reason);
    };
    const socket: Socket = connect({ host: options.host, port: options.port, noDelay: true });
    socket.on("error", (error) => leave(error.message));
    socket.on("close", () => leave("the control link was closed"));
    socket.once("connect", () => {
      createInterface({ input: socket }).on("line", (line) => options.onMessage(JSON.parse(line) as ToAgent));
      resolve({
        send: (message) => {
          if (!gone) socket.write(`${JSON.stringify(message)}\n`);
        },
        close: () => {
          gone = true;
          socket.end();
        },
      });
    });
  });
}
