import { describe } from "vitest";
import { testMutant } from "../../../src/mutantStorm.ts";

describe("the mutant takeover-off", () => testMutant("takeover-off"));
