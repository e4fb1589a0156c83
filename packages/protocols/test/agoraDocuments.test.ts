import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { FakeClock, type Part } from "@failstorm/core";
import * as fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { Agreements } from "../src/agora/agreements.ts";
import { Conversations } from "../src/agora/conversations.ts";
import { dataUriOf, hashOf, normalHash, parseDocument, textOfDataUri } from "../src/agora/document.ts";
import { DocumentStore } from "../src/agora/documentStore.ts";
import { describeDocument, descriptionIn, messagesDocument, routineOf } from "../src/agora/library.ts";
import { speak, understand } from "../src/agora/message.ts";
import { closeAll, workspace } from "./agoraPeers.ts";

afterEach(closeAll);

const documentOf = (name: string) => {
  const document = parseDocument(`name: ${name}\ndescription: d\nmultiround: false\n---\n`);
  if (document === null) throw new Error(`${name} makes no document`);
  return document;
};

describe("hashes", () => {
  test("[agora-hash] are the SHA-1 of the whole text in hexadecimal; the library's base64 means the same", () => {
    // FIPS 180-4's example for one block.
    expect(hashOf("abc")).toBe("a9993e364706816aba3e25717850c26c9cd0d89d");
    expect(normalHash("qZk+NkcGgWq6PiVxeFDCbJzQ2J0=")).toBe(hashOf("abc"));
    expect(normalHash("A9993E364706816ABA3E25717850C26C9CD0D89D")).toBe(hashOf("abc"));
    expect(normalHash("anything else")).toBe("anything else");
  });
});

describe("documents", () => {
  test("[agora-document] are read as YAML, a line of dashes, and the specification; the library's leading dashes too", () => {
    const head = `name: Weather\n# a comment\ndescription: >\n  About the\n  weather\nmultiround: True\nversion: "1.0"`;
    for (const text of [`${head}\n---\nSay a place.`, `---\n${head}\n---\n\nSay a place.`, `${head}\r\n---\r\n`])
      expect(parseDocument(text)?.metadata).toMatchObject({
        name: "Weather",
        description: "About the weather",
        multiround: true,
        entries: { version: "1.0" },
      });
  });

  test.each([
    ["", "empty"],
    ["name: x\ndescription: y\nmultiround: false\n", "no separator"],
    ["name: x\ndescription: y\n---\n", "no multiround"],
    ["name: x\ndescription: y\nmultiround: maybe\n---\n", "multiround neither true nor false"],
    ["name:\ndescription: y\nmultiround: false\n---\n", "no name"],
    ["just words\n---\n", "no YAML"],
    [`name: x\ndescription: y\nmultiround: false\n---\n${"é".repeat(40_000)}`, "too large"],
  ])("are refused: %#", (text) => {
    expect(parseDocument(text)).toBeNull();
  });

  test("of ours are recognised to the letter", () => {
    expect(routineOf(messagesDocument("tool"))).toEqual({ type: "messages", kind: "tool" });
    const altered = parseDocument(messagesDocument("tool").text.replace("Reply:", "Answer:"));
    expect(altered && routineOf(altered)).toEqual({ type: "foreign" });
  });

  test("tell who an agent is, whatever it is called", () => {
    const self = { agentId: 'agent "7": é', incarnation: 4, capabilities: ["tool:search", "shard:0"] };
    expect(descriptionIn(describeDocument(self))).toEqual(self);
    expect(descriptionIn(messagesDocument("tool"))).toBeNull();
  });

  test("survive a data: URI, and broken ones carry nothing", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        expect(textOfDataUri(dataUriOf(text))).toBe(text);
        expect(textOfDataUri(`data:text/plain;charset=utf-8;base64,${Buffer.from(text).toString("base64")}`)).toBe(text);
      }),
    );
    for (const broken of ["data:,%zz", "data:image/png;base64,AAAA", "data:text/plain", "text"])
      expect(textOfDataUri(broken)).toBeNull();
  });
});

describe("natural language", () => {
  const part: fc.Arbitrary<Part> = fc.oneof(
    fc.record({ kind: fc.constant("text" as const), text: fc.string({ unit: "binary" }) }),
    // JSON has no minus zero.
    fc.record({
      kind: fc.constant("data" as const),
      data: fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as unknown),
    }),
  );

  test("[agora-natural-language] brings back exactly what was sent", () => {
    fc.assert(
      fc.property(fc.array(part), fc.string(), (parts, text) => {
        expect(understand(speak("agent-0", { parts }))).toEqual({ from: "agent-0", payload: { parts } });
        expect(understand(speak("agent-0", { text }))).toEqual({ from: "agent-0", payload: { text } });
      }),
    );
  });

  test("that is somebody else's, or was tampered with, is not understood as ours", () => {
    fc.assert(
      fc.property(fc.array(part, { minLength: 1 }), fc.nat(), (parts, cut) => {
        const whole = speak("agent-0", { parts });
        expect(understand(whole.slice(0, cut % whole.length))).toBeNull();
      }),
    );
    expect(understand("Hello! What is the weather in London?")).toBeNull();
  });
});

describe("the document store", () => {
  test("[agora-store] outlives its process, and drops what was cut short or tampered with", () => {
    const folder = path.join(workspace(), "documents");
    const whole = documentOf("whole");
    new DocumentStore(folder).add(whole);
    const cut = documentOf("cut");
    writeFileSync(path.join(folder, `${cut.hash}.txt`), cut.text.slice(0, -1));
    writeFileSync(path.join(folder, `${hashOf("x")}.txt.draft`), "half");
    expect(new DocumentStore(folder).list()).toEqual([whole]);
    expect(readdirSync(folder)).toEqual([`${whole.hash}.txt`]);
  });

  test("in memory forgets, and a disk that will not have a document does not stop it", () => {
    const blocked = path.join(workspace(), "file");
    writeFileSync(blocked, "");
    for (const folder of [null, path.join(blocked, "documents")]) {
      const store = new DocumentStore(folder);
      store.add(documentOf("x"));
      expect(store.get(documentOf("x").hash)).toBeDefined();
      expect(new DocumentStore(folder).list()).toEqual([]);
    }
  });

  test("[agora-store-bounds] is bounded; strangers' documents go first", () => {
    const folder = path.join(workspace(), "documents");
    const store = new DocumentStore(folder);
    store.add(messagesDocument("tool"));
    for (let i = 0; i < 300; i++) store.add(documentOf(`n${i}`));
    expect(store.list()).toHaveLength(256);
    expect(store.get(messagesDocument("tool").hash)).toBeDefined();
    expect(store.get(documentOf("n0").hash)).toBeUndefined();
    expect(readdirSync(folder)).toHaveLength(256);
    for (let i = 0; i < 20; i++) {
      const big = parseDocument(`${documentOf(`big${i}`).text}${"x".repeat(60_000)}`);
      if (big !== null) store.add(big);
    }
    expect(store.list().reduce((sum, { text }) => sum + text.length, 0)).toBeLessThanOrEqual(1024 * 1024);
    expect(store.get(messagesDocument("tool").hash)).toBeDefined();
    expect(new DocumentStore(folder).list()).toHaveLength(store.list().length);
  });
});

describe("agreements", () => {
  test("[agora-agreements] outlive their process, counts do not, and a spoilt file is none", () => {
    const file = path.join(workspace(), "agora", "agreements.json");
    const before = new Agreements(file);
    before.set("agent-1", "tool", { state: "agreed", hash: "h", lost: true });
    before.set("agent-1", "gossip", { state: "language", sent: 3 });
    before.set("agent-2", "tool", { state: "agreed", hash: "h", lost: false });
    before.set("agent-2", "tool", { state: "refused" });
    const after = new Agreements(file);
    expect(after.get("agent-1", "tool")).toEqual({ state: "agreed", hash: "h", lost: false });
    expect(after.get("agent-1", "gossip")).toEqual({ state: "language", sent: 0 });
    expect(after.kinds("agent-2")).toEqual([]);
    for (const spoilt of ["", "[]", '{"agent-1":5,"agent-2":{"tool":{}}}']) {
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, spoilt);
      expect(new Agreements(file).kinds("agent-1")).toEqual([]);
    }
  });
});

describe("conversations", () => {
  const served = { protocolHash: null, routine: { type: "language" } } as const;

  test("[agora-expiry] expire on the second that the client was told, whatever the fraction they began at", async () => {
    const clock = new FakeClock(1_000_400);
    const conversations = new Conversations(clock, 10_000);
    const { id, expires } = conversations.open(served);
    expect(expires).toBe(1011);
    await clock.advance(10_599);
    expect(conversations.find(id).state).toBe("open");
    await clock.advance(1);
    expect(conversations.find(id).state).toBe("expired");
  });

  test("[agora-conversation-bounds] are bounded; the one that was silent longest makes room", () => {
    const conversations = new Conversations(new FakeClock(), 10_000);
    const first = conversations.open(served);
    const second = conversations.open(served);
    conversations.extend(first);
    for (let i = 0; i < 9_999; i++) conversations.open(served);
    expect(conversations.find(second.id).state).toBe("unknown");
    expect(conversations.find(first.id).state).toBe("open");
    conversations.close(first.id);
    conversations.extend(first);
    expect(conversations.find(first.id).state).toBe("unknown");
  });
});
