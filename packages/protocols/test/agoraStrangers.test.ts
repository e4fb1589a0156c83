import { FakeClock } from "@failstorm/core";
import fastify from "fastify";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { dataUriOf, hashOf, parseDocument, textOfDataUri } from "../src/agora/document.ts";
import { messagesDocument, negotiationDocument } from "../src/agora/library.ts";
import { Sources } from "../src/agora/sources.ts";
import { agoraPeer, closeAll, type Peer, post, serve, stranger } from "./agoraPeers.ts";

afterEach(closeAll);

const weather = "name: Weather\ndescription: Asking about the weather\nmultiround: false\n---\nThe sender sends a place.\n";
const unsupported = { status: 200, json: { status: "failure", error: "Unsupported protocol" } };

describe("a stranger's client", () => {
  let url: string;
  beforeEach(async () => {
    ({ url } = await serve(agoraPeer("agent-1"), undefined, "/agora"));
  });

  test("[agora-base-url] may have a base URL that ends with a slash", async () => {
    const base = `${url}/`;
    const { json } = await post(base, { body: "one", multiround: true });
    const conversation = `${base}/conversations/${json["conversationId"] as string}`;
    expect((await post(conversation, { body: "two" })).json["body"]).toBe("two");
    expect(Object.keys((await (await fetch(`${base}/wellknown`)).json()) as object)).toContain(negotiationDocument.hash);
    expect(await (await fetch(conversation, { method: "DELETE" })).json()).toEqual({ status: "success" });
    expect((await post(conversation, { body: "three" })).status).toBe(404);
    const { url: root } = await serve(agoraPeer("agent-2"));
    expect((await post(`${root}//conversations/never`, { body: "x" })).json["error"]).toBe("Conversation not found");
  });

  test("[agora-library-client] closes a conversation with or without a content type, a body, or both", async () => {
    const type = { "content-type": "application/json" };
    for (const init of [
      {},
      { headers: type },
      { headers: type, body: "{}" },
      { headers: { "content-type": "a/b" }, body: "x" },
    ]) {
      const { json } = await post(url, { body: "one", multiround: true });
      const conversation = `${url}/conversations/${json["conversationId"] as string}`;
      const answer = await fetch(conversation, { method: "DELETE", ...init });
      expect([answer.status, await answer.json()]).toEqual([200, { status: "success" }]);
      expect((await post(conversation, { body: "two" })).status).toBe(404);
    }
  });

  test("[agora-sources-format] gives sources in a format of its own, and is refused only where they were needed", async () => {
    const request = { protocolHash: hashOf(weather), body: "London" };
    for (const protocolSources of [{ text: weather }, [{ uri: "x" }, null], [null], null])
      expect(await post(url, { ...request, protocolSources })).toMatchObject(unsupported);
    expect((await post(url, { ...request, protocolSources: [{ uri: "x" }, weather] })).json["body"]).toBe("London");
    expect((await post(url, { ...request, protocolSources: { text: weather } })).json["body"]).toBe("London");
  });

  test("[agora-dot-wellknown] finds the list of the older specification, with documents to be fetched", async () => {
    const { url: root } = await serve(agoraPeer("agent-2"));
    const listed = (await (await fetch(`${root}/.wellknown`)).json()) as Record<string, string[]>;
    expect(Object.keys(listed)).toEqual(Object.keys((await (await fetch(`${root}/wellknown`)).json()) as object));
    for (const [hash, sources] of Object.entries(listed)) {
      expect(sources).toHaveLength(1);
      expect(hashOf(await (await fetch(sources[0] ?? "")).text())).toBe(hash);
    }
  });

  test("[agora-demo-client] speaks as the paper's demo does, in words and in a negotiation", async () => {
    const demo = (body: string, protocolHash: string | null = null) =>
      post(url, { protocolHash, body, protocolSources: [null], queryId: "q-1" });
    expect((await demo("What is the weather?")).json).toEqual({ status: "success", body: "What is the weather?" });
    const first = (await demo('{"body":"Hello!"}', "negotiation")).json["body"] as string;
    const reply = JSON.parse(first) as Record<string, string>;
    expect(reply).toEqual({ conversationId: expect.any(String), body: expect.stringContaining("failstorm any messages") });
    const { conversationId } = reply;
    const second = (await demo(JSON.stringify({ body: "Fine.", conversationId }), "negotiation")).json["body"] as string;
    expect(JSON.parse(second)).toMatchObject({ conversationId });
    expect((await demo("{}", "negotiation")).json["body"]).toContain("failstorm any messages");
  });

  test("[agora-library-client] that writes a move as a string reads one", async () => {
    const { json } = await post(url, { protocolHash: negotiationDocument.hash, body: JSON.stringify({ propose: weather }) });
    expect(JSON.parse(json["body"] as string)).toEqual({ accept: hashOf(weather) });
  });
});

describe("a stranger's documents", () => {
  test.each([
    "name: X # short\ndescription: 'it''s # one' # two\nmultiround: false # one reply",
    'name: "X"\n"description": "say \\"#\\" # x" # y\nmultiround: False\ntags:\n- a\n- b: c\nauthor name: me\nx.y:\n  - 1\n# end',
    '{"name": "X", "description": "d",\n "multiround": false, "more": [1, {"a": null}]}',
    "name: X\ndescription: |-\n  a: b\n\n  c\nmultiround: false\n'k':",
  ])("[agora-document-yaml] may have a head like %j", (head) => {
    expect(parseDocument(`${head}\n---\nSay it.`)?.metadata).toMatchObject({ name: "X", multiround: false });
  });

  test("[agora-document-yaml] are read in time, whatever they are", () => {
    const many = (text: string) => text.repeat(60_000 / text.length);
    for (const head of [
      many(" "),
      many("a "),
      `a${many(" ")}`,
      `a:${many(" ")}b`,
      `a: "${many("\\")}`,
      `a: ${many("''")}'`,
      many("'"),
    ]) {
      // Of the processor, which others may have meanwhile; a search that looks at each pair of characters takes several seconds.
      const before = process.threadCpuUsage();
      expect(parseDocument(`${head}x\u2028\n---\n`)).toBeNull();
      const { user, system } = process.threadCpuUsage(before);
      expect((user + system) / 1000).toBeLessThan(1_000);
    }
  });

  test("[agora-sources] come in data: URIs of other types, and with their base64 escaped", () => {
    const base64 = encodeURIComponent(Buffer.from(`${weather}~~~???`).toString("base64"));
    expect(base64).toContain("%");
    expect(textOfDataUri(`DATA:application/yaml;charset=utf-8;base64,${base64}`)).toBe(`${weather}~~~???`);
    expect(textOfDataUri("data:text/plain;base64,%zz")).toBeNull();
  });

  test("[agora-source-bounds] are fetched from a peer with an IPv6 address too", async () => {
    const fetched: unknown[] = [];
    const client = {
      fetch: async (url: unknown) => {
        fetched.push(url);
        return new Response(weather);
      },
      measure: async (_tag: unknown, run: () => Promise<unknown>) => ({ value: await run() }),
    };
    const allowedHosts = () => new Set(["2001:db8::7"]);
    const sources = new Sources({ client: client as never, allowedHosts, onFetch: () => {} });
    expect(await sources.find(hashOf(weather), ["http://[2001:db8::8]/x"])).toBeNull();
    expect((await sources.find(hashOf(weather), ["http://[2001:db8::7]/x"]))?.text).toBe(weather);
    expect(fetched).toEqual(["http://[2001:db8::7]/x"]);
  });
});

describe("a stranger's server", () => {
  let a: Peer;
  beforeEach(() => {
    a = agoraPeer("agent-0", { section: { frequent_after: 0 } });
  });
  const send = (options = {}) => a.backend.send("agent-0", "agent-1", { text: "x" }, options);

  /** Answers with any body and content type. */
  async function plain(answer: (url: string, body: Record<string, unknown>) => [number, string]) {
    const server = fastify({ forceCloseConnections: true });
    server.all("/*", async (request, reply) => {
      const [status, text] = answer(request.url, (request.body ?? {}) as Record<string, unknown>);
      return reply.code(status).type("text/html").send(text);
    });
    const base = await server.listen({ host: "127.0.0.1", port: 0 });
    a.backend.registerEndpoint("agent-1", { host: "127.0.0.1", port: Number(new URL(base).port) });
    return server;
  }

  test.each(["not found, in HTML", "failure: No such conversation", "failure: This one has expired"])(
    "[agora-transport-bodies] [agora-reopen] says in its own way that a conversation is gone: %s",
    async (how) => {
      a = agoraPeer("agent-0", { clock: new FakeClock(1_700_000_000_000) });
      const [, error] = how.split("failure: ");
      const server = await plain((url) => {
        if (!url.startsWith("/conversations")) return [200, '{"status":"success","body":"hi","conversationId":"u"}'];
        return error === undefined ? [404, "<h1>Not Found</h1>"] : [200, JSON.stringify({ status: "failure", error })];
      });
      for (let i = 0; i < 2; i++) expect((await send({ contextId: "c" })).text).toBe("hi");
      expect(a.backend.counters().reopened).toBe(1);
      await server.close();
    },
  );

  test("[agora-transport-bodies] [agora-refused] that breaks over a negotiation is spoken to; when it breaks over words, that is its error", async () => {
    let broken = false;
    const server = await plain((_url, { protocolHash }) =>
      protocolHash !== null || broken ? [500, "<h1>Internal Server Error</h1>"] : [200, '{"status":"success","body":"hi"}'],
    );
    expect((await send()).text).toBe("hi");
    broken = true;
    await expect(send()).rejects.toMatchObject({ code: "remote", message: "agent-1: HTTP 500" });
    await server.close();
  });

  test("[agora-offer] that fails at the document it was offered is spoken to", async () => {
    a.backend.registerEndpoint(
      "agent-1",
      await stranger(({ body: { protocolHash: hash, protocolSources: sources } }) => {
        if (hash === null) return { json: { status: "success", body: "hi" } };
        if (sources === undefined) return { json: { status: "failure", error: "Unsupported protocol" } };
        return { status: 500, json: { status: "failure", error: "No connection adapters were found" } };
      }),
    );
    for (const trips of [3, 1]) {
      const answer = await send();
      expect([answer.text, answer.traffic.roundTrips]).toEqual(["hi", trips]);
    }
    expect(a.backend.counters()).toMatchObject({ offered: 0, refused: 1, byHash: 1, naturalLanguage: 2 });
  });

  test("[agora-adopt] [agora-demo-server] lists a document of ours by its hash alone, in a list of the demo's form", async () => {
    const { hash, text } = messagesDocument("tool");
    const known = Buffer.from(hash, "hex").toString("base64");
    for (const listed of [{ [hash]: [dataUriOf(text)] }, { status: "success", protocols: { [known]: ["http://db/1"] } }]) {
      a = agoraPeer("agent-0");
      a.backend.registerEndpoint(
        "agent-1",
        await stranger(({ method, body }) =>
          method === "GET"
            ? { json: listed }
            : { json: { status: "success", body: { parts: body["protocolHash"] === hash ? [] : 0 } } },
        ),
      );
      await a.backend.connect("agent-0", "agent-1");
      expect((await send()).parts).toEqual([]);
      expect(a.backend.counters()).toMatchObject({ adopted: 1, byHash: 1 });
    }
  });
});
