import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { makeFolder } from "../src/index.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "failstorm-folder-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

it("makes a folder and those above it, once", () => {
  const deep = path.join(dir, "a", "b", "c");
  makeFolder(deep);
  makeFolder(deep);
  expect(statSync(deep).isDirectory()).toBe(true);
});

it("says what keeps it from making one, and ends", () => {
  writeFileSync(path.join(dir, "file"), "");
  expect(() => makeFolder(path.join(dir, "file", "x"))).toThrow("ENOTDIR");
  // Root may write there, and yet nothing can be made.
  expect(() => makeFolder("/proc/failstorm/x")).toThrow("ENOENT");
});
