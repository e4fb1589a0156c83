import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

/** One claim about a protocol that somebody may hold us to. */
export interface Requirement {
  /** `<protocol>-<what>`, or `contract-<what>` for what every protocol does; the test that verifies it has `[id]` in its title. */
  readonly id: string;
  /** Of the protocol's specification; for the contract and simple_json of our own documents. */
  readonly section: string;
  /** What holds. */
  readonly behaviour: string;
}

/** A file per protocol exports its rows as `requirements`. */
interface RequirementsModule {
  readonly requirements: readonly Requirement[];
}

const ROWS = path.join(import.meta.dirname, "requirements");
const PLACES = [import.meta.dirname, path.join(import.meta.dirname, "..", "src", "compliance")];

/** All rows, of the contract and of every protocol that has some, by the name of their file. */
export async function collectRequirements(): Promise<ReadonlyMap<string, readonly Requirement[]>> {
  const files = readdirSync(ROWS).filter((name) => name.endsWith(".ts"));
  const modules = files.map(async (file) => {
    const { requirements } = (await import(path.join(ROWS, file))) as RequirementsModule;
    return [path.basename(file, ".ts"), requirements] as const;
  });
  return new Map(await Promise.all(modules));
}

/** The ids in the titles of a test file's source; those of the compliance suite stand in its definitions as `id: "…"`. */
export function claimsIn(source: string): string[] {
  const code = source.replaceAll(/^\s*(?:\/\/|\*|\/\*).*$/gm, "");
  const titled = [...code.matchAll(/["'`]((?:\[[a-z0-9_]+-[a-z0-9-]+\] ?)+)/g)].flatMap(([, ids = ""]) =>
    [...ids.matchAll(/\[([^\]]+)\]/g)].map(([, id = ""]) => id),
  );
  const defined = [...code.matchAll(/\bid: "([a-z0-9_]+-[a-z0-9-]+)",\s*title:/g)].map(([, id = ""]) => id);
  return [...titled, ...defined];
}

/** Whether a test file has tests that are switched off or left for later. */
export const hasIdleTests = (source: string): boolean => /\b(?:test|it|describe)\.(?:skip|todo|only|fails)\b/.test(source);

/** Every test file of the package, by path. */
export function testSources(): ReadonlyMap<string, string> {
  const files = PLACES.flatMap((place) =>
    readdirSync(place, { recursive: true, encoding: "utf8" }).map((name) => path.join(place, name)),
  );
  const isTest = (file: string): boolean => /\.test\.ts$|\/compliance\/.*\.ts$/.test(file);
  // The check's own examples are no claims.
  const isCheck = (file: string): boolean => path.basename(file) === "requirements.test.ts";
  return new Map(
    files.filter((file) => isTest(file) && !isCheck(file)).map((file) => [file, readFileSync(file, "utf8")] as const),
  );
}
