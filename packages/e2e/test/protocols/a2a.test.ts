import { describe } from "vitest";
import { testStormOver } from "../../src/protocolStorm.ts";

describe("the storm over a2a", () => testStormOver("a2a"));
