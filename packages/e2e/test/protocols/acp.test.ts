import { describe } from "vitest";
import { testStormOver } from "../../src/protocolStorm.ts";

// A run made in sync mode tells its id with its answer only; ACP's runs are in memory, and a restarted agent knows none of them.
describe("the storm over acp", () => testStormOver("acp", { options: ["--set", "acp.mode=async"], fate: "unknown" }));
