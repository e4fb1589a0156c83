import type { Fault } from "./fault.ts";

/** The process hangs: its sockets stay open and new connections succeed, but nothing answers, until SIGCONT. */
export const sigstop: Fault = {
  kind: "sigstop",
  fake: false,
  strike: (victim) => victim.signal("SIGSTOP"),
  clear: (victim) => victim.signal("SIGCONT"),
};
