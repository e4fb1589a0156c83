import { describe } from "vitest";
import { testMutant } from "../../../src/mutantStorm.ts";

describe("the mutant ledger-off", () => testMutant("ledger-off"));
