import { hash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { AccessTokens } from "./accessTokens.ts";
import { authorisedKey, type DidDocument } from "./did.ts";
import { digestMatches, type MessageSignature, newNonce, parseSignature, signatureBase } from "./httpSignature.ts";
import { type PublicKey, signsBy, verifyBytes } from "./keys.ts";
import { CLOCK_SKEW_S, type NonceRecord, SIGNATURE_WINDOW_S } from "./nonceRecord.ts";

/** Why a request is not authenticated (ANP-02 §3.2.4.1). */
export type AuthFailure =
  | "invalid_request"
  | "invalid_nonce"
  | "invalid_timestamp"
  | "invalid_did"
  | "invalid_signature"
  | "invalid_verification_method"
  | "invalid_content_digest"
  | "invalid_access_token";

export type Authentication =
  | { readonly kind: "anonymous" }
  | { readonly kind: "bearer"; readonly did: string }
  /** `info`: the value of Authentication-Info for the answer. */
  | { readonly kind: "signature"; readonly did: string; readonly info: string }
  | { readonly kind: "refused"; readonly error: AuthFailure; readonly description: string };

export interface IncomingRequest {
  readonly method: string;
  /** Path and query as they came. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer | null;
}

export interface DidLookup {
  resolve(did: string): DidDocument | Promise<DidDocument | null>;
  refresh(did: string): Promise<DidDocument | null>;
}

export interface AuthenticatorOptions {
  readonly tokens: AccessTokens;
  readonly nonces: NonceRecord;
  readonly dids: DidLookup;
  /** Under which `host:port` this host is known: a request signed for another is not for it. */
  readonly isOwnAuthority: (authority: string) => boolean;
  /** Whether a signature must use a nonce issued here. */
  readonly challenge: boolean;
  /** Ms since the Unix epoch. */
  readonly wall: () => number;
}

const CHALLENGE_MS = 60_000;
const MAX_CHALLENGES = 10_000;
/** The name of a scheme is written in any case (RFC 9110 §11.1). */
const BEARER = /^bearer(?: +(.*))?$/i;

const refused = (error: AuthFailure, description: string): Authentication => ({ kind: "refused", error, description });
const field = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value.join(", ") : value);

/** What is wrong with a signature's times; null when nothing is. `nowS` are seconds since the Unix epoch. */
export function timeFailure({ created, expires }: MessageSignature, nowS: number): string | null {
  if (created > nowS + CLOCK_SKEW_S) return "created lies in the future";
  if (created < nowS - SIGNATURE_WINDOW_S) return "created lies too far back";
  return expires !== null && expires < nowS ? "the signature has expired" : null;
}

/**
 * Signatures may be told apart by their nonces, or where there is none (it is optional) by what was signed: the bytes of a signature won't
 * do, since of an ECDSA signature everybody can make another.
 */
export const nonceOf = ({ nonce }: MessageSignature, signed: string): string =>
  nonce ?? `signed:${hash("sha256", signed, "base64")}`;

/** Whether the signature was made with the key that its `keyid` names, whose document may have changed meanwhile. */
export async function signerFailure(
  { keyid, alg }: MessageSignature,
  dids: DidLookup,
  holds: (key: PublicKey) => boolean,
): Promise<AuthFailure | null> {
  const did = keyid.split("#", 1)[0] ?? "";
  if (!keyid.includes("#")) return "invalid_did";
  // What is no DID resolves to nothing.
  const found = dids.resolve(did);
  const known = found instanceof Promise ? await found : found;
  if (known === null) return "invalid_did";
  const failureBy = (document: DidDocument): AuthFailure | null => {
    const key = authorisedKey(document, "authentication", keyid);
    if (key === null || !signsBy(key, alg)) return "invalid_verification_method";
    return holds(key) ? null : "invalid_signature";
  };
  const failure = failureBy(known);
  if (failure === null) return null;
  const current = await dids.refresh(did);
  return current === null || current === known ? failure : failureBy(current);
}

/** The server's side of ANP-02: who sent a request, by bearer token or by HTTP message signature. */
export class Authenticator {
  private readonly options: AuthenticatorOptions;
  private readonly challenges = new Map<string, number>();

  constructor(options: AuthenticatorOptions) {
    this.options = options;
  }

  async authenticate(request: IncomingRequest): Promise<Authentication> {
    const { headers, body } = request;
    const digest = field(headers["content-digest"]);
    if (digest !== undefined && !digestMatches(digest, body ?? ""))
      return refused("invalid_content_digest", "Content-Digest does not match the body");
    const authorization = headers.authorization;
    const bearer = authorization === undefined ? null : BEARER.exec(authorization);
    if (bearer !== null) {
      const did = this.options.tokens.verify(bearer[1] ?? "");
      return did === null ? refused("invalid_access_token", "The token is unknown or has expired") : { kind: "bearer", did };
    }
    const [input, signature] = [field(headers["signature-input"]), field(headers["signature"])];
    if (input === undefined && signature === undefined)
      return authorization === undefined ? { kind: "anonymous" } : refused("invalid_request", "Unknown authorization scheme");
    const parsed = parseSignature(input ?? "", signature ?? "");
    if (parsed === null) return refused("invalid_request", "Signature-Input and Signature are malformed or incomplete");
    return this.verifySignature(request, parsed);
  }

  /** A nonce that a signature can use once. */
  issueNonce(): string {
    const now = this.options.wall();
    for (const [nonce, until] of this.challenges) {
      if (until > now && this.challenges.size < MAX_CHALLENGES) break;
      this.challenges.delete(nonce);
    }
    const nonce = newNonce();
    this.challenges.set(nonce, now + CHALLENGE_MS);
    return nonce;
  }

  private async verifySignature(request: IncomingRequest, signature: MessageSignature): Promise<Authentication> {
    const { components, params, keyid } = signature;
    const required = [
      "@method",
      "@target-uri",
      ...(request.body === null || request.body.length === 0 ? [] : ["content-digest"]),
    ];
    if (!required.every((component) => components.includes(component)))
      return refused("invalid_request", `The signature must cover ${required.join(", ")}`);
    const authority = request.headers.host ?? "";
    if (!this.options.isOwnAuthority(authority)) return refused("invalid_request", "The request is signed for another host");
    const base = signatureBase(components, params, (component) => componentValue(request, authority, component));
    if (base === null) return refused("invalid_request", "The signature covers a component that the request does not have");
    const late = timeFailure(signature, this.nowS());
    if (late !== null) return refused("invalid_timestamp", late);
    const failure = await signerFailure(signature, this.options.dids, (key) => verifyBytes(key, base, signature.signature));
    if (failure !== null) return refused(failure, `The signature of ${keyid.replaceAll(/["\\\s]/g, "")} is not verified`);
    if (!this.useNonce(signature, base)) return refused("invalid_nonce", "The nonce was used before, or is not one issued here");
    const did = keyid.split("#", 1)[0] ?? "";
    return { kind: "signature", did, info: this.options.tokens.issue(did) };
  }

  private useNonce(signature: MessageSignature, base: string): boolean {
    const { nonce, keyid } = signature;
    const issuedUntil = nonce === null ? undefined : this.challenges.get(nonce);
    if (nonce !== null && issuedUntil !== undefined) this.challenges.delete(nonce);
    const isIssued = issuedUntil !== undefined && issuedUntil > this.options.wall();
    if (this.options.challenge && !isIssued) return false;
    return this.options.nonces.use(keyid, nonceOf(signature, base));
  }

  private nowS(): number {
    return Math.floor(this.options.wall() / 1000);
  }
}

/** RFC 9421 §2.2 and §2.1, for a request over plain HTTP. */
function componentValue({ method, target, headers }: IncomingRequest, authority: string, component: string): string | undefined {
  if (component === "@method") return method;
  if (component === "@target-uri") return `http://${authority}${target}`;
  if (component === "@authority") return authority.toLowerCase();
  const [path = "", ...query] = target.split("?");
  if (component === "@scheme") return "http";
  if (component === "@request-target") return target;
  if (component === "@path") return path;
  if (component === "@query") return `?${query.join("?")}`;
  return component.startsWith("@") ? undefined : field(headers[component])?.trim();
}
