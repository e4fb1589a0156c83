import { describe } from "vitest";
import { testMutant } from "../../../src/mutantStorm.ts";

describe("the mutant retry-off", () => testMutant("retry-off"));
