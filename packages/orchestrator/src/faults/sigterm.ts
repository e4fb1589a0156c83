import type { Fault } from "./fault.ts";

/** The process is asked to end, and may say good-bye. */
export const sigterm: Fault = {
  kind: "sigterm",
  fake: false,
  strike: (victim) => victim.signal("SIGTERM"),
  clear: null,
};
