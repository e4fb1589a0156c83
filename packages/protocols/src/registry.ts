import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { InputError, type Protocol } from "@failstorm/core";

const HERE = import.meta.dirname;
const entryOf = (name: string): string => path.join(HERE, name, "protocol.ts");

/** Protocols that come with failstorm: the folders beside this file that hold a `protocol.ts`. One is loaded only when it is used. */
export const protocolNames = (): string[] =>
  readdirSync(HERE)
    .filter((name) => existsSync(entryOf(name)))
    .sort();

const isProtocol = (value: unknown): value is Protocol => {
  const candidate = value as Partial<Record<keyof Protocol, unknown>> | null | undefined;
  return (["getProtocolInfo", "getReconnectionInfo", "parseConfig", "createBackend"] as const).every(
    (key) => typeof candidate?.[key] === "function",
  );
};

function resolveModule(nameOrPath: string): string {
  const asFile = path.resolve(nameOrPath);
  if (/^[./]/.test(nameOrPath) || /\.[cm]?[jt]s$/.test(nameOrPath)) {
    if (!existsSync(asFile)) throw new InputError(`--protocol ${nameOrPath}: there is no such file (${asFile})`);
    return pathToFileURL(asFile).href;
  }
  try {
    return pathToFileURL(createRequire(path.resolve("package.json")).resolve(nameOrPath)).href;
  } catch (cause) {
    const known = protocolNames().join(", ");
    throw new InputError(
      `--protocol ${nameOrPath}: no such protocol; choose one of ${known}, the path of a module (./my-protocol.ts), or an installed package`,
      { cause },
    );
  }
}

/**
 * A protocol by its name, by the path of a module, or by package name; the module exports it as `protocol` or as its default.
 * Throws InputError when there is none.
 */
export async function loadProtocol(nameOrPath: string): Promise<Protocol> {
  const url = protocolNames().includes(nameOrPath) ? pathToFileURL(entryOf(nameOrPath)).href : resolveModule(nameOrPath);
  const module = (await import(url)) as { protocol?: unknown; default?: unknown };
  const candidate = module.protocol ?? module.default;
  if (isProtocol(candidate)) return candidate;
  throw new InputError(
    `--protocol ${nameOrPath}: the module exports no protocol; export const protocol = {getProtocolInfo, getReconnectionInfo, parseConfig, createBackend}`,
  );
}
