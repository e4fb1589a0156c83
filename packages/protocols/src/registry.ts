import { existsSync, readdirSync } from "node:fs";
import { createRequire, registerHooks } from "node:module";
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

/** What a plug-in may import without having it installed: the contract, the compliance suite, and the server that hosts it. */
const LENT = /^(?:@failstorm\/(?:core|protocols)(?:\/.*)?|fastify)$/;
let isLending = false;

/** A plug-in lies anywhere; where its own folders have none of these modules it gets ours. */
function lendModules(): void {
  if (isLending) return;
  isLending = true;
  registerHooks({
    resolve(specifier, context, nextResolve) {
      try {
        return nextResolve(specifier, context);
      } catch (error) {
        if (!LENT.test(specifier)) throw error;
        return nextResolve(specifier, { ...context, parentURL: import.meta.url });
      }
    },
  });
}

/** The file of a module that is not ours. Throws InputError when there is none. */
function findModule(nameOrPath: string): string {
  const asFile = path.resolve(nameOrPath);
  if (/^[./]/.test(nameOrPath) || /\.[cm]?[jt]s$/.test(nameOrPath)) {
    if (!existsSync(asFile)) throw new InputError(`--protocol ${nameOrPath}: there is no such file (${asFile})`);
    return asFile;
  }
  try {
    const found = createRequire(path.resolve("package.json")).resolve(nameOrPath);
    // A module of Node's own is found by its bare name.
    if (path.isAbsolute(found)) return found;
  } catch {
    // Said below, with what there is to choose from.
  }
  throw new InputError(
    `--protocol ${nameOrPath}: no such protocol; choose one of ${protocolNames().join(", ")}, the path of a module (./my-protocol.ts), or an installed package`,
  );
}

/**
 * The same protocol, as a process that was started elsewhere finds it: the name of one of ours, else the absolute path of its module.
 * Throws InputError when there is none.
 */
export const locateProtocol = (nameOrPath: string): string =>
  protocolNames().includes(nameOrPath) ? nameOrPath : findModule(nameOrPath);

/**
 * A protocol by its name, by the path of a module, or by package name; the module exports it as `protocol` or as its default.
 * Throws InputError when there is none.
 */
export async function loadProtocol(nameOrPath: string): Promise<Protocol> {
  const located = locateProtocol(nameOrPath);
  const isBuiltIn = !path.isAbsolute(located);
  if (!isBuiltIn) lendModules();
  const url = pathToFileURL(isBuiltIn ? entryOf(located) : located).href;
  const module = (await import(url)) as { protocol?: unknown; default?: unknown };
  const candidate = module.protocol ?? module.default;
  if (isProtocol(candidate)) return candidate;
  throw new InputError(
    `--protocol ${nameOrPath}: the module exports no protocol; export const protocol = {getProtocolInfo, getReconnectionInfo, parseConfig, createBackend}`,
  );
}
