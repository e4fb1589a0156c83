import { describe } from "vitest";
import { testStormOver } from "../../src/protocolStorm.ts";

describe("the storm over acp", () => testStormOver("acp"));
