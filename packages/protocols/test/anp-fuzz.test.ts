import {
  assert,
  asyncProperty,
  boolean,
  constantFrom,
  json,
  jsonValue,
  oneof,
  option,
  property,
  string,
  stringMatching,
} from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseSignature } from "../src/anp/httpSignature.ts";
import { parseDid } from "../src/anp/did.ts";
import { type Peer, type Stranger, World } from "./anp/world.ts";

const world = new World();
let host: Peer;
let stranger: Stranger;
let executions = 0;
beforeAll(async () => {
  host = await world.peer("agent-1", {
    execute: async () => {
      executions += 1;
    },
  });
  stranger = await world.stranger();
});
afterAll(() => world.close());

const RUNS = { numRuns: 60 };
/** Long enough on a busy machine. */
const BUSY_MS = 120_000;
const headerText = stringMatching(/^[ -~]{0,80}$/);

/** Whatever came: an answer with a status of ours, JSON in the form of JSON-RPC, and no internal error. */
async function wellAnswered(headers: Record<string, string>, text: string): Promise<void> {
  const { status, json } = await stranger.post(host, { headers, text });
  expect([200, 204, 400, 401, 413, 415]).toContain(status);
  if (status === 204) return;
  expect(json["jsonrpc"]).toBe("2.0");
  expect(json.error?.code).not.toBe(-32603);
}

test(
  "[anp-fuzz] any body, signed or not, is answered and never executed",
  async () => {
    const before = executions;
    await assert(
      asyncProperty(oneof(json(), string(), string({ unit: "binary" })), boolean(), async (text, signed) => {
        const { headers } = stranger.request(host, {}, text);
        await wellAnswered(signed ? headers : { "content-type": "application/json" }, text);
      }),
      RUNS,
    );
    expect(executions).toBe(before);
  },
  BUSY_MS,
);

test(
  "[anp-fuzz] a right message with any member replaced or removed is refused or executed once, and the host lives on",
  async () => {
    const paths = [
      ["jsonrpc"],
      ["id"],
      ["method"],
      ["params"],
      ["params", "meta"],
      ["params", "auth"],
      ["params", "body"],
      ...["profile", "security_profile", "sender_did", "target", "operation_id", "message_id", "content_type"].map((key) => [
        "params",
        "meta",
        key,
      ]),
      ...["contentDigest", "signatureInput", "signature"].map((key) => ["params", "auth", "origin_proof", key]),
      ["params", "body", "text"],
    ];
    await assert(
      asyncProperty(constantFrom(...paths), option(jsonValue()), async (path, value) => {
        const message = JSON.parse(JSON.stringify(stranger.message(host))) as Record<string, unknown>;
        let parent = message;
        for (const key of path.slice(0, -1)) parent = parent[key] as Record<string, unknown>;
        const last = path.at(-1) ?? "";
        if (value === null) delete parent[last];
        else parent[last] = value;
        const before = executions;
        const text = JSON.stringify(message);
        await wellAnswered(stranger.request(host, {}, text).headers, text);
        expect(executions - before).toBeLessThanOrEqual(1);
        // Everything under params is bound by the origin proof.
        if (path[0] === "params") expect(executions).toBe(before);
      }),
      RUNS,
    );
    expect((await stranger.send(host)).json.result).toMatchObject({ accepted: true });
  },
  BUSY_MS,
);

test("[anp-fuzz] any authentication headers are answered, and prove nothing", async () => {
  const before = executions;
  const names = ["authorization", "signature", "signature-input", "content-digest"] as const;
  const { headers: right, text } = stranger.request(host);
  await assert(
    asyncProperty(constantFrom(...names), headerText, boolean(), async (name, value, onlyCut) => {
      const given = right[name] ?? "";
      const changed = onlyCut ? given.slice(0, value.length) : value;
      if (changed === given || (name === "authorization" && !changed.startsWith("Bearer "))) return;
      await wellAnswered({ ...right, [name]: changed }, text);
    }),
    RUNS,
  );
  expect(executions).toBe(before);
});

test("[anp-fuzz] any text is a signature or a DID or none, without an exception", () => {
  assert(
    property(string(), headerText, (a, b) => {
      parseSignature(a, b);
      parseSignature(`sig1=${a}`, `sig1=:${b}:`);
      parseDid(`did:wba:${b}`);
    }),
  );
});
