import type { Fault } from "./fault.ts";

/** The process ends at once; the kernel closes its sockets after it has freed its memory. */
export const sigkill: Fault = {
  kind: "sigkill",
  fake: false,
  strike: (victim) => victim.signal("SIGKILL"),
  clear: null,
};
