import { describe } from "vitest";
import { testMutant } from "../../../src/mutantStorm.ts";

describe("the mutant drop-orphans", () => testMutant("drop-orphans"));
