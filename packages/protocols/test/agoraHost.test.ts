import { connect } from "node:net";
import { FakeClock } from "@failstorm/core";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { dataUriOf, hashOf } from "../src/agora/document.ts";
import { messagesDocument, negotiationDocument } from "../src/agora/library.ts";
import { Sources } from "../src/agora/sources.ts";
import { agoraPeer, closeAll, echo, type Peer, post, rawServer, serve, stranger } from "./agoraPeers.ts";

afterEach(closeAll);

let peer: Peer;
let url: string;
let clock: FakeClock;

async function host(section: unknown = {}): Promise<void> {
  clock = new FakeClock(1_700_000_000_000);
  peer = agoraPeer("agent-1", { section, clock });
  ({ url } = await serve(peer, async (context, queue) => {
    if ("text" in context.payload && context.payload.text === "fail") throw new Error("no luck");
    await echo(context, queue);
  }));
}
beforeEach(() => host());

const base64Of = (text: string): string => Buffer.from(hashOf(text), "hex").toString("base64");
const weather = "name: Weather\ndescription: Asking about the weather\nmultiround: false\n---\nThe sender sends a place.\n";

describe("a stranger's client (spec 6.3, 7)", () => {
  test("[agora-request] [agora-response] [agora-content-type] asks in natural language and is answered in plain words; an object is answered with an object", async () => {
    const { status, type, json } = await post(url, { protocolHash: null, body: "Hello! What is the weather?", extra: 1 });
    expect([status, type.split(";")[0], json]).toEqual([
      200,
      "application/json",
      { status: "success", body: "Hello! What is the weather?" },
    ]);
    expect((await post(url, { body: { place: "London" } })).json).toEqual({ status: "success", body: { place: "London" } });
  });

  test("[agora-conversation] [agora-expiry] [agora-unknown-conversation] has a conversation, and its end is told from one that never was", async () => {
    const { json } = await post(url, { body: "one", multiround: true });
    expect(json).toEqual({
      status: "success",
      body: "one",
      conversationId: expect.any(String),
      conversationExpires: 1_700_000_300,
    });
    const conversation = `${url}/conversations/${json["conversationId"] as string}`;
    await clock.advance(299_000);
    expect((await post(conversation, { status: "success", body: "two" })).json).toEqual({
      ...json,
      body: "two",
      conversationExpires: 1_700_000_599,
    });
    await clock.advance(300_000);
    expect(await post(conversation, { body: "three" })).toMatchObject({
      status: 200,
      json: { status: "failure", error: "Conversation expired" },
    });
    await clock.advance(300_000);
    const unknown = { status: 404, json: { status: "failure", error: "Conversation not found" } };
    expect(await post(conversation, { body: "four" })).toMatchObject(unknown);
    expect(await post(`${url}/conversations/never`, { body: "x" })).toMatchObject(unknown);
  });

  test("[agora-one-protocol] may not change the protocol within a conversation", async () => {
    const { hash, text } = messagesDocument("tool");
    const { json } = await post(url, { protocolHash: hash, protocolSources: [text], body: { text: "x" }, multiround: true });
    const conversation = `${url}/conversations/${json["conversationId"] as string}`;
    expect((await post(conversation, { protocolHash: negotiationDocument.hash, body: { text: "x" } })).status).toBe(400);
    expect((await post(conversation, { body: { text: "y" } })).json["body"]).toEqual({ parts: [{ kind: "text", text: "y" }] });
  });

  test("[agora-transport-errors] a failed first message opens no conversation", async () => {
    expect(await post(url, { body: "fail", multiround: true })).toEqual({
      status: 500,
      type: expect.stringContaining("application/json"),
      json: { status: "failure", error: "no luck" },
    });
  });
});

describe("protocol documents (spec 8, 9)", () => {
  const unsupported = { status: 200, json: { status: "failure", error: "Unsupported protocol" } };

  test("[agora-wellknown] [agora-served-documents] wellknown lists each by its hash, with its text, and the host serves it", async () => {
    await post(url, { protocolHash: hashOf(weather), protocolSources: [weather], body: "London" });
    const listed = (await (await fetch(`${url}/wellknown`)).json()) as Record<string, string[]>;
    expect(Object.keys(listed)).toContain(hashOf(weather));
    for (const [hash, [text, source]] of Object.entries(listed)) {
      expect(hash).toMatch(/^[0-9a-f]{40}$/);
      expect(hashOf(text ?? "")).toBe(hash);
      expect(await (await fetch(source ?? "")).text()).toBe(text);
      expect((await post(url, { protocolHash: hash, body: "London" })).json["status"]).toBe("success");
    }
    expect((await fetch(`${url}/documents/${"0".repeat(40)}`)).status).toBe(404);
  });

  test.each([
    ["the text", (text: string) => [text]],
    ["one string instead of a list", (text: string) => text],
    ["the text in two pieces, as in the spec's example", (text: string) => [text.slice(0, 30), text.slice(30)]],
    ["a data: URI", (text: string) => ["ftp://nowhere", dataUriOf(text)]],
    ["a base64 data: URI", (text: string) => [`data:text/plain;charset=utf-8;base64,${Buffer.from(text).toString("base64")}`]],
  ])("[agora-sources] are taken from a source: %s", async (_what, sources) => {
    expect(await post(url, { protocolHash: hashOf(weather), body: "x" })).toMatchObject(unsupported);
    const answer = await post(url, { protocolHash: hashOf(weather), protocolSources: sources(weather), body: "London" });
    expect(answer.json).toEqual({ status: "success", body: "London" });
    expect((await post(url, { protocolHash: hashOf(weather).toUpperCase(), body: "Paris" })).json["body"]).toBe("Paris");
  });

  test.each([
    ["does not match its hash", hashOf("another"), [weather]],
    ["is no document", hashOf("hello"), ["hello"]],
    ["lacks mandatory metadata", hashOf("name: x\n---\n"), ["name: x\n---\n"]],
    ["is larger than documents are", hashOf(weather + " ".repeat(70_000)), [weather + " ".repeat(70_000)]],
    [
      "is on a host that is nobody's",
      hashOf(weather),
      ["http://192.0.2.1/doc", "http://127.0.0.1.example/", "file:///etc/passwd"],
    ],
    ["has credentials in its URL", hashOf(weather), ["http://a:b@127.0.0.1/doc"]],
  ])("[agora-unsupported] one that %s is unsupported", async (_what, protocolHash, protocolSources) => {
    expect(await post(url, { protocolHash, protocolSources, body: "x" })).toMatchObject(unsupported);
    expect(peer.backend.counters().sourceFetches).toBe(0);
  });

  test("[agora-unsupported] a description of somebody else is not taken", async () => {
    const forged = `name: x\ndescription: x\nmultiround: false\nagentId: agent-1\nincarnation: 99\ncapabilities: []\n---\n`;
    expect(await post(url, { protocolHash: hashOf(forged), protocolSources: [forged], body: "x" })).toMatchObject(unsupported);
  });

  test("[agora-foreign] strangers' can be shut out", async () => {
    await host({ foreign_documents: "reject" });
    expect(await post(url, { protocolHash: hashOf(weather), protocolSources: [weather], body: "x" })).toMatchObject(unsupported);
    const { hash, text } = messagesDocument("tool");
    expect((await post(url, { protocolHash: hash, protocolSources: [text], body: { text: "x" } })).json["status"]).toBe(
      "success",
    );
  });

  test("[agora-source-bounds] are fetched from a peer that serves them, and not when that is endless, elsewhere or something else", async () => {
    const other = agoraPeer("agent-2");
    const { url: source } = await serve(other);
    await post(source, { protocolHash: hashOf(weather), protocolSources: [weather], body: "x" });
    const endless = await rawServer((socket) =>
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        const chunk = `4000\r\n${"x".repeat(0x4000)}\r\n`;
        const more = (): void => void (socket.writable && socket.write(chunk, (error) => error ?? more()));
        more();
      }),
    );
    const moved = await rawServer((socket) =>
      socket.once("data", () =>
        socket.end(`HTTP/1.1 302 Found\r\nlocation: ${source}/documents/${hashOf(weather)}\r\ncontent-length: 0\r\n\r\n`),
      ),
    );
    const at = ({ port }: { port: number }) => `http://127.0.0.1:${port}/`;
    const request = { protocolHash: hashOf(weather), body: "London" };
    const bad = [at(endless), at(moved), `${source}/documents/none`];
    expect(await post(url, { ...request, protocolSources: bad })).toMatchObject(unsupported);
    expect(peer.backend.counters().sourceFetches).toBe(3);
    const good = [...bad, `${source}/documents/${hashOf(weather)}`];
    expect((await post(url, { ...request, protocolSources: good })).json).toEqual({ status: "success", body: "London" });
    const used = peer.client.socketTotals();
    expect(used.bytesReceived).toBeLessThan(2_000_000);
  });

  test("[agora-source-bounds] a source that is silent is given up, at most four are tried, and at most eight requests wait for theirs", async () => {
    let asked = 0;
    const silent = await rawServer((socket) => socket.on("data", () => void (asked += 1)));
    // By then, whoever may ask must have done so.
    const sources = new Sources({ client: peer.client, allowedHosts: () => new Set(), onFetch: () => {}, timeoutMs: 3_000 });
    const urls = Array.from({ length: 9 }, (_, i) => `http://127.0.0.1:${silent.port}/${i}`);
    const found = await Promise.all(Array.from({ length: 9 }, () => sources.find(hashOf(weather), urls)));
    expect(found).toEqual(Array.from({ length: 9 }, () => null));
    expect(asked).toBe(8);
    let refused = 0;
    const closed = await rawServer((socket) => void ((refused += 1), socket.destroy()));
    const others = Array.from({ length: 9 }, (_, i) => `http://127.0.0.1:${closed.port}/${i}`);
    expect(await sources.find(hashOf(weather), others)).toBeNull();
    expect(refused).toBe(4);
  });

  test("[agora-protocol-errors] errors within a protocol are the document's affair (spec 10.3)", async () => {
    const { hash, text } = messagesDocument("tool");
    const request = { protocolHash: hash, protocolSources: [text] };
    for (const body of [{ words: "x" }, { parts: [{ kind: "sound" }] }, { from: 3, text: "x" }, "no JSON"]) {
      const { status, json } = await post(url, { ...request, body });
      expect([status, json["status"], JSON.stringify(json["body"])]).toEqual([200, "success", expect.stringContaining("error")]);
    }
    expect((await post(url, { ...request, body: { text: "fail" } })).json).toEqual({
      status: "success",
      body: { error: "no luck" },
    });
  });
});

describe("negotiation", () => {
  const propose = (text: string) =>
    post(url, { protocolHash: negotiationDocument.hash, body: { propose: text }, multiround: true });

  test("[agora-negotiation] what is proposed is accepted, and supported from then on", async () => {
    expect((await propose(weather)).json["body"]).toEqual({ accept: hashOf(weather) });
    expect((await post(url, { protocolHash: hashOf(weather), body: "London" })).json["body"]).toBe("London");
  });

  test("[agora-counter] what cannot be served is countered in the conversation", async () => {
    const any = messagesDocument("any");
    const { json } = await propose("Let us just talk.");
    expect(json["body"]).toEqual({ propose: any.text });
    const conversation = `${url}/conversations/${json["conversationId"] as string}`;
    expect((await post(conversation, { body: { accept: hashOf("else") } })).json["body"]).toMatchObject({
      reject: expect.any(String),
    });
    expect((await post(conversation, { body: { accept: any.hash } })).json["body"]).toEqual({ accept: any.hash });
    expect((await post(conversation, { body: { accept: any.hash, reject: "x" } })).json["body"]).toHaveProperty("error");
    expect((await post(url, { protocolHash: any.hash, body: { text: "x" } })).json["body"]).toHaveProperty("parts");
  });
});

describe("the Python library's dialect", () => {
  const library = (body: string, rest: object = {}) => ({ protocolHash: null, protocolSources: [], body, ...rest });

  test("[agora-library-client] a whole exchange: negotiation in words, a base64 hash with a data: URI, a conversation that repeats the hash, and its deletion", async () => {
    const hello = await post(
      url,
      library("Hello! How may I help you?", { protocolHash: "negotiation", protocolSources: null, multiround: true }),
    );
    expect(hello.json["body"]).toContain("failstorm any messages");
    const negotiation = `${url}/conversations/${hello.json["conversationId"] as string}`;
    const document = `---\nname: Echo\ndescription: Says it again\nmultiround: true\n---\n\nSend words.`;
    const agreed = await post(negotiation, {
      ...library(`Fine.\n<FINALPROTOCOL>\n${document}\n</FINALPROTOCOL>`, { protocolHash: "negotiation", multiround: true }),
    });
    expect(agreed.json["body"]).toContain(hashOf(document));
    const request = library("words", {
      protocolHash: base64Of(document),
      protocolSources: [dataUriOf(document)],
      multiround: true,
    });
    const { json } = await post(url, request);
    expect(json).toMatchObject({ status: "success", body: "words", conversationId: expect.any(String) });
    const conversation = `${url}/conversations/${json["conversationId"] as string}`;
    expect((await post(conversation, { ...request, body: "again" })).json["body"]).toBe("again");
    for (let i = 0; i < 2; i++)
      expect(await (await fetch(conversation, { method: "DELETE" })).json()).toEqual({ status: "success" });
    expect((await post(conversation, request)).status).toBe(404);
  });

  test("[agora-library-client] a body that is a string of JSON is answered with one", async () => {
    const { text } = messagesDocument("tool");
    const { json } = await post(
      url,
      library('{"text":"x"}', { protocolHash: base64Of(text), protocolSources: [dataUriOf(text)] }),
    );
    expect(JSON.parse(json["body"] as string)).toEqual({ parts: [{ kind: "text", text: "x" }] });
  });

  test("[agora-library-server] its servers are understood: null protocols need the field, errors have a message, lost conversations are no 404", async () => {
    const a = agoraPeer("agent-0");
    const bodies: Record<string, unknown>[] = [];
    let lost = true;
    a.backend.registerEndpoint(
      "agent-1",
      await stranger(({ url, body }) => {
        bodies.push(body);
        if (!url.startsWith("/conversations")) return { json: { status: "success", body: "hi", conversationId: "u" } };
        lost = !lost;
        return { json: lost ? { status: "success", body: "hi again" } : { status: "error", message: "Conversation not found." } };
      }),
    );
    const options = { contextId: "c" };
    for (const expected of ["hi", "hi", "hi again"])
      expect((await a.backend.send("agent-0", "agent-1", { text: "x" }, options)).text).toBe(expected);
    expect(bodies[0]).toMatchObject({ protocolHash: null, protocolSources: [], multiround: true, body: expect.any(String) });
    expect(a.backend.counters().reopened).toBe(1);
    a.backend.registerEndpoint("agent-1", await stranger(() => ({ json: { status: "error", message: "'body'" } })));
    await expect(a.backend.send("agent-0", "agent-1", { text: "x" })).rejects.toMatchObject({
      code: "remote",
      message: "agent-1: 'body'",
    });
  });
});

describe("bad input is answered in Agora's form, and nothing breaks", () => {
  const isFailure = { status: "failure", error: expect.any(String) };

  test.each([
    ["malformed JSON", "{", 400],
    ["an empty body", "", 400],
    ["no object", "[]", 400],
    ["nothing", "null", 400],
    ["a hash that is none", { protocolHash: 5, body: "x" }, 400],
    ["sources that are none", { protocolHash: "x", protocolSources: [1], body: "x" }, 400],
    ["multiround that is neither true nor false", { multiround: "yes", body: "x" }, 400],
    ["a body that is neither string nor object", { body: 7 }, 400],
    ["no body", { protocolHash: null }, 200],
    ["an unknown hash", { protocolHash: "0".repeat(40), body: "x" }, 200],
    ["a hash of no known form", { protocolHash: "md5:xyz", body: "x" }, 200],
  ])("[agora-agora-errors] [agora-transport-errors] %s", async (_what, body, status) => {
    const answer = await post(url, body);
    expect([answer.status, answer.json]).toEqual([status, isFailure]);
  });

  test("[agora-content-type] [agora-transport-errors] a wrong content type, an unknown endpoint, a wrong method", async () => {
    for (const type of ["text/plain", "application/xml"])
      expect(await post(url, '{"body":"x"}', { "content-type": type })).toMatchObject({ status: 415, json: isFailure });
    for (const path of ["/nowhere", "/wellknown", "/conversations"])
      expect(await post(url + path, { body: "x" })).toMatchObject({ status: 404, json: isFailure });
    expect((await fetch(url)).status).toBe(404);
  });

  test("[agora-transport-errors] an oversized body is refused before it is read", async () => {
    const { hostname, port } = new URL(url);
    const answer = await new Promise<string>((resolve) => {
      const socket = connect(Number(port), hostname, () =>
        socket.write(
          `POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${2 ** 30}\r\n\r\n{"body":"`,
        ),
      );
      let text = "";
      socket.on("data", (data) => {
        text += data.toString();
        if (text.includes("}")) socket.destroy();
      });
      socket.on("close", () => resolve(text));
      socket.on("error", () => {});
    });
    expect(answer).toMatch(/^HTTP\/1.1 413 /);
    expect(JSON.parse(answer.slice(answer.indexOf("{")))).toEqual(isFailure);
  });

  test("[agora-transport-errors] an agent's answer that cannot be written as JSON", async () => {
    const other = agoraPeer("agent-2");
    const { url } = await serve(other, async (_context, queue) =>
      queue.enqueue({ type: "agent_parts_message", parts: [{ kind: "data", data: 1n }] }),
    );
    expect(await post(url, { body: "x" })).toMatchObject({ status: 500, json: isFailure });
    expect(await post(url, { body: {} })).toMatchObject({ status: 500, json: isFailure });
  });

  test("[agora-robust] whatever is thrown at it, it answers with an Agora status and goes on", async () => {
    const odd = fc.oneof(fc.jsonValue(), fc.string());
    const hash = fc.oneof(
      fc.constantFrom(
        null,
        "negotiation",
        negotiationDocument.hash,
        messagesDocument("tool").hash,
        hashOf(weather),
        base64Of(weather),
      ),
      odd,
    );
    const request = fc.record(
      {
        protocolHash: hash,
        protocolSources: fc.oneof(
          fc.array(
            fc.oneof(
              fc.string(),
              fc.constantFrom(weather, dataUriOf(weather), "data:,%zz", "http://[", messagesDocument("tool").text),
            ),
          ),
          odd,
        ),
        body: fc.oneof(
          odd,
          fc.record({ propose: odd, accept: odd, reject: odd, text: odd, parts: fc.array(odd), from: odd }, { requiredKeys: [] }),
        ),
        multiround: fc.oneof(fc.boolean(), odd),
        status: odd,
      },
      { requiredKeys: [] },
    );
    const path = fc.constantFrom("", "/conversations/x", "/conversations/%00", "/conversations/__proto__", "/conversations/");
    await fc.assert(
      fc.asyncProperty(fc.oneof(request, odd), path, fc.nat(), async (value, under, cut) => {
        const text = JSON.stringify(value);
        for (const sent of [text, text.slice(0, cut % (text.length + 1))]) {
          const { status, json } = await post(url + under, sent);
          expect(["success", "failure"]).toContain(json["status"]);
          expect("body" in json).toBe(json["status"] === "success");
          expect(status < 500 || json["error"] === "no luck").toBe(true);
        }
      }),
      { numRuns: 150 },
    );
    expect((await post(url, { body: "still here" })).json["body"]).toBe("still here");
  });
});
