import {
  accessSync,
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { type Clock, InputError, makeFolder } from "@failstorm/core";

const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: "make room on the disk",
  EACCES: "choose another folder, or grant write permission",
  EROFS: "choose a folder on a writable file system",
  ENOTDIR: "a part of it is a file: choose another folder",
  EEXIST: "it is a file: choose another folder",
};

const cannotWrite = (dir: string, error: unknown, option = "--results"): InputError => {
  const { code = "EIO" } = error as NodeJS.ErrnoException;
  return new InputError(`${option} ${dir}: cannot be written to (${code}); ${REMEDIES[code] ?? "choose another folder"}`, {
    cause: error,
  });
};

/** Whether `dir`, which `option` names, or what would be its parent, can be written to; nothing is left there. Throws InputError with the remedy. */
export function checkWritable(dir: string, option = "--results"): void {
  let at = dir;
  for (let up = path.dirname(at); statSync(at, { throwIfNoEntry: false }) === undefined && up !== at; up = path.dirname(at))
    at = up;
  try {
    if (!statSync(at).isDirectory()) throw Object.assign(new Error("not a folder"), { code: "ENOTDIR" });
    accessSync(at, constants.W_OK | constants.X_OK);
    // What the permissions allow the file system may refuse all the same (/proc).
    rmdirSync(mkdtempSync(path.join(at, ".failstorm-")));
  } catch (error) {
    throw cannotWrite(dir, error, option);
  }
}

/** `20261121-110533` (UTC). */
const timestamp = (clock: Clock): string => {
  const [date = "", time = ""] = new Date(clock.wall()).toISOString().split("T");
  return `${date.replaceAll("-", "")}-${time.slice(0, 8).replaceAll(":", "")}`;
};

/**
 * Makes `<results>/<scenario>/<protocol>/<time>-<seed>`, with `-2`, `-3`, … when two runs of a seed start in the same second.
 * Throws InputError when it cannot.
 */
export function createRunFolder(options: {
  readonly results: string;
  readonly scenario: string;
  readonly protocol: string;
  readonly seed: number;
  readonly clock: Clock;
}): string {
  const parent = path.join(options.results, options.scenario, options.protocol.replaceAll(/[^A-Za-z0-9_.@-]+/g, "_"));
  const name = `${timestamp(options.clock)}-${options.seed}`;
  try {
    makeFolder(parent);
    for (let copy = 1; ; copy++) {
      const dir = path.join(parent, copy === 1 ? name : `${name}-${copy}`);
      try {
        mkdirSync(dir);
        return dir;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST" || copy > 1000) throw error;
      }
    }
  } catch (error) {
    throw cannotWrite(options.results, error);
  }
}

/** Writes a file whole or not at all: temporary file, fsync, rename. Throws InputError when it cannot be written. */
export function writeAtomically(file: string, text: string): void {
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    const fd = openSync(temporary, "w");
    try {
      writeFileSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw cannotWrite(path.dirname(file), error);
  }
}

/**
 * Points `<results>/latest` at a run, by rename, so that it always leads to a whole folder. Done when a run has its metrics:
 * while the next one goes on, `latest` is still the one before. Returns false where links cannot be made.
 */
export function updateLatest(results: string, runDir: string): boolean {
  const link = path.join(results, "latest");
  const temporary = `${link}.${process.pid}.tmp`;
  try {
    rmSync(temporary, { force: true });
    symlinkSync(path.relative(results, runDir), temporary);
    renameSync(temporary, link);
    return true;
  } catch {
    rmSync(temporary, { force: true });
    return false;
  }
}
