import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Security } from "../src/index.ts";
import {
  checkSecurity,
  createAccepting,
  createDialling,
  type HandshakeOptions,
  type HandshakeStep,
} from "../src/transport/handshake.ts";

const secret = (keyId: string, keys: Record<string, string> = { all: "a secret of the whole network" }): Security => ({
  kind: "secret",
  keyId,
  keys: Object.fromEntries(Object.entries(keys).map(([id, text]) => [id, { secret: text, role: "member" }])),
});

const shared = secret("all");

const side = (agentId: string, options: Partial<HandshakeOptions> = {}): HandshakeOptions => ({
  self: { agentId, incarnation: 1 },
  security: shared,
  codecs: ["msgpack", "json"],
  nonce: `nonce of ${agentId}`,
  certificate: null,
  ...options,
});

interface Outcome {
  readonly dialler: HandshakeStep;
  readonly acceptor: HandshakeStep;
  readonly frames: readonly Buffer[];
}

/** Lets both talk until neither has anything to say; `tamper` may change what is under way. */
function shake(a: HandshakeOptions, b: HandshakeOptions, tamper = (frame: Buffer, _index: number): Buffer => frame): Outcome {
  const [dialling, accepting] = [createDialling(a), createAccepting(b)];
  const frames: Buffer[] = [dialling.hello];
  let [dialler, acceptor]: [HandshakeStep | null, HandshakeStep | null] = [null, null];
  let frame: Buffer | null = dialling.hello;
  for (let turn = 0; frame !== null; turn++) {
    const arrived = tamper(frame, turn);
    const step: HandshakeStep = turn % 2 === 0 ? accepting.receive(arrived) : dialling.receive(arrived);
    if (turn % 2 === 0) acceptor = step;
    else dialler = step;
    frame = step.frame;
    if (frame !== null) frames.push(frame);
    const isOver = step.kind !== "send";
    const other = turn % 2 === 0 ? dialler : acceptor;
    if (isOver && other !== null && other.kind !== "send") break;
  }
  if (dialler === null || acceptor === null) throw new Error("a side was never heard");
  return { dialler, acceptor, frames };
}

describe("a handshake", () => {
  it("with a shared secret proves both names, and gives both the same keys the other way round", () => {
    const { dialler, acceptor } = shake(side("a"), side("b", { codecs: ["json"] }));
    if (dialler.kind !== "done" || acceptor.kind !== "done") throw new Error("not done");
    expect(dialler.session.peer).toEqual({ agentId: "b", incarnation: 1, nodeId: "b#1", role: "member" });
    expect(acceptor.session.peer).toEqual({ agentId: "a", incarnation: 1, nodeId: "a#1", role: "member" });
    expect([dialler.session.codec, acceptor.session.codec]).toEqual(["json", "json"]);
    expect(dialler.session.keys?.send).toEqual(acceptor.session.keys?.receive);
    expect(dialler.session.keys?.receive).toEqual(acceptor.session.keys?.send);
    expect(dialler.session.keys?.send).not.toEqual(dialler.session.keys?.receive);
  });

  it("has new keys with each connection", () => {
    const [one, two] = [shake(side("a"), side("b")), shake(side("a", { nonce: "another" }), side("b"))];
    if (one.dialler.kind !== "done" || two.dialler.kind !== "done") throw new Error("not done");
    expect(one.dialler.session.keys?.send).not.toEqual(two.dialler.session.keys?.send);
  });

  it("gives each the role of the key it holds, and only in the names the key is for", () => {
    const keys = {
      node: { secret: "the secret of all nodes", role: "member" },
      boss: { secret: "the secret of the operator", role: "operator", agents: ["boss"] },
    };
    const as = (keyId: string): Security => ({ kind: "secret", keyId, keys });
    const good = shake(side("boss", { security: as("boss") }), side("b", { security: as("node") }));
    expect(good.acceptor).toMatchObject({ kind: "done", session: { peer: { agentId: "boss", role: "operator" } } });
    expect(good.dialler).toMatchObject({ kind: "done", session: { peer: { agentId: "b", role: "member" } } });
    const bad = shake(side("a", { security: as("boss") }), side("b", { security: as("node") }));
    expect(bad.acceptor).toMatchObject({ kind: "refused", reason: "authentication failed" });
  });

  it("fails with another secret, another key, no key, no encoding in common, oneself, and nonsense", () => {
    const refused = (a: HandshakeOptions, b = side("b")) => expect(shake(a, b).acceptor.kind).toBe("refused");
    refused(side("a", { security: secret("all", { all: "another secret altogether" }) }));
    refused(side("a", { security: secret("other", { other: "a secret of the whole network" }) }));
    refused(side("a", { security: { kind: "open", role: "member" } }));
    refused(side("a", { codecs: [] }));
    refused(side("b"));
    expect(createAccepting(side("b")).receive(Buffer.from("GET / HTTP/1.1\r\n\r\n")).kind).toBe("refused");
    // The dialler does not believe an acceptor without the secret either.
    const { dialler } = shake(side("a"), side("b", { security: { kind: "open", role: "operator" } }));
    expect(dialler.kind).toBe("refused");
  });

  it("what was said in another handshake proves nothing", () => {
    const { frames } = shake(side("a"), side("b"));
    const accepting = createAccepting(side("b", { nonce: "a new nonce" }));
    expect(accepting.receive(frames[0] as Buffer).kind).toBe("send");
    expect(accepting.receive(frames[2] as Buffer)).toMatchObject({ kind: "refused", reason: "authentication failed" });
  });

  it("what the other side said cannot be sent back to it", () => {
    const dialling = createDialling(side("a"));
    // Somebody without the secret answers with the dialler's own words in another name.
    const opening = JSON.parse(dialling.hello.toString()) as Record<string, unknown>;
    const step = dialling.receive(Buffer.from(JSON.stringify({ ...opening, agentId: "b" })));
    expect(step.kind).toBe("send");
    expect(dialling.receive(step.frame as Buffer)).toMatchObject({ kind: "refused" });
  });

  it("does not succeed when anything in it was changed on the way", () => {
    fc.assert(
      fc.property(fc.nat({ max: 3 }), fc.nat(), fc.integer({ min: 1, max: 255 }), (index, place, change) => {
        const { dialler, acceptor, frames } = shake(side("a"), side("b"), (frame, turn) => {
          if (turn !== index) return frame;
          const changed = Buffer.from(frame);
          changed[place % changed.length] = (changed[place % changed.length] ?? 0) ^ change;
          return changed;
        });
        expect(frames.length).toBeGreaterThan(0);
        const isDone = dialler.kind === "done" && acceptor.kind === "done";
        // The last frame's base64 may be changed into another writing of the same proof; then nothing was changed at all.
        if (isDone) expect(index).toBeGreaterThan(1);
        if (isDone) expect(dialler.session.keys?.send).toEqual(acceptor.session.keys?.receive);
      }),
      { numRuns: 400 },
    );
  });

  it("with certificates: the name is the certificate's, or nobody's", () => {
    const security: Security = { kind: "certificates" };
    const certificate = (agentId: string) => ({ subject: { CN: agentId, OU: "member" }, fingerprint256: "" });
    const a = side("a", { security, certificate: certificate("b") });
    const good = shake(a, side("b", { security, certificate: certificate("a") }));
    expect([good.dialler.kind, good.acceptor.kind]).toEqual(["done", "done"]);
    expect(shake(a, side("b", { security, certificate: certificate("c") })).acceptor.kind).toBe("refused");
    expect(shake(a, side("b", { security })).acceptor.kind).toBe("refused");
    const mapped: Security = { kind: "certificates", identify: ({ subject }) => ({ agentId: "a", role: String(subject["CN"]) }) };
    expect(shake(a, side("b", { security: mapped, certificate: certificate("x") })).acceptor).toMatchObject({
      kind: "done",
      session: { peer: { role: "x" } },
    });
  });
});

describe("keys", () => {
  it("that cannot work are refused at once", () => {
    expect(() => checkSecurity(secret("all", { all: "short" }))).toThrow("it needs 16 at least");
    expect(() => checkSecurity(secret("missing"))).toThrow("missing");
    expect(() => checkSecurity(shared)).not.toThrow();
  });
});
