import type { ProtocolCapabilities } from "@failstorm/core";
import { type ComplianceCase, declared, type Subject } from "./subject.ts";
import { World } from "./world.ts";

export interface Definition {
  readonly id: string;
  readonly title: string;
  readonly timeoutMs?: number;
  /** Absent: it holds for every protocol. */
  readonly when?: (capabilities: ProtocolCapabilities) => boolean;
  readonly check: (world: World, subject: Subject) => Promise<void>;
}

const DEFAULT_TIMEOUT_MS = 60_000;

/** The cases that apply to the subject, each in a world of its own. */
export const casesFor = (subject: Subject, definitions: readonly Definition[]): ComplianceCase[] =>
  definitions
    .filter(({ when }) => when === undefined || when(declared(subject).capabilities))
    .map(({ id, title, timeoutMs = DEFAULT_TIMEOUT_MS, check }) => ({
      id,
      title: `[${id}] ${title}`,
      timeoutMs,
      run: async () => {
        const world = new World(subject);
        try {
          await check(world, subject);
        } finally {
          await world.close();
        }
      },
    }));
