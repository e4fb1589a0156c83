import { describe } from "vitest";
import { testStormOver } from "../../src/protocolStorm.ts";

// Its tasks are on disk: a restarted agent knows those that its death has ended, and fails them.
describe("the storm over a2a", () => testStormOver("a2a", { fate: "failed" }));
