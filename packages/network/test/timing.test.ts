import { InputError } from "@failstorm/core";
import { expect, test } from "vitest";
import { completeTiming } from "../src/manager/options.ts";

test("the timeout is three seconds, of swim three intervals, unless it is given", () => {
  expect(completeTiming()).toMatchObject({ heartbeatIntervalMs: 1000, heartbeatTimeoutMs: 3000 });
  expect(completeTiming({ heartbeatIntervalMs: 500 })).toMatchObject({ heartbeatTimeoutMs: 3000 });
  expect(completeTiming({ heartbeatIntervalMs: 500 }, "swim")).toMatchObject({ heartbeatTimeoutMs: 1500 });
  expect(completeTiming({ heartbeatIntervalMs: 500, heartbeatTimeoutMs: 2000 }, "swim")).toMatchObject({
    heartbeatTimeoutMs: 2000,
  });
  expect(() => completeTiming({ heartbeatIntervalMs: 0 }, "swim")).toThrow(InputError);
});
