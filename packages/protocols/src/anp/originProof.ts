import {
  contentDigest,
  type MessageSignature,
  parseSignature,
  type SigningKey,
  signatureBase,
  signComponents,
} from "./httpSignature.ts";
import { isObject, type JsonObject } from "./json.ts";
import { type PublicKey, verifyBytes } from "./keys.ts";

export const ORIGIN_PROOF_SCHEME = "anp-rfc9421-origin-proof-v1";
const COMPONENTS = ["@method", "@target-uri", "content-digest"] as const;

/** What an origin proof binds (ANP-P1 A.3, A.4): the Signed Request Object in canonical pieces, and its logical target. */
export interface SignedRequest {
  readonly method: string;
  readonly target: { readonly kind: string; readonly did: string };
  /** RFC 8785 form of `params.meta` and `params.body`. */
  readonly meta: string;
  readonly body: string;
}

const percentEncoded = (did: string): string =>
  encodeURIComponent(did).replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

/** The last logical target: an agent proves to few peers, and verifies for itself alone. */
let target: { readonly kind: string; readonly did: string; readonly uri: string } = { kind: "", did: "", uri: "" };

function targetUri({ kind, did }: SignedRequest["target"]): string {
  if (target.kind !== kind || target.did !== did) target = { kind, did, uri: `anp://${kind}/${percentEncoded(did)}` };
  return target.uri;
}

// The members of the Signed Request Object in JCS order: body, meta, method.
const digestOf = ({ method, meta, body }: SignedRequest): string =>
  contentDigest(`{"body":${body},"meta":${meta},"method":${JSON.stringify(method)}}`);

const valuesOf = (request: SignedRequest, digest: string) => (component: string) => {
  if (component === "@method") return request.method;
  if (component === "@target-uri") return targetUri(request.target);
  return component === "content-digest" ? digest : undefined;
};

/** `params.auth` of a request. */
export function proveOrigin(key: SigningKey, request: SignedRequest, nowS: number): JsonObject {
  const digest = digestOf(request);
  const { input, signature } = signComponents(key, COMPONENTS, valuesOf(request, digest), { nowS });
  return {
    scheme: ORIGIN_PROOF_SCHEME,
    origin_proof: { contentDigest: digest, signatureInput: input, signature },
  };
}

export interface OriginProof {
  readonly contentDigest: string;
  readonly signature: MessageSignature;
}

/** Reads `params.auth`; null when it is not an origin proof of the form A.2 fixes. */
export function readOriginProof(auth: unknown): OriginProof | null {
  if (!isObject(auth) || auth["scheme"] !== ORIGIN_PROOF_SCHEME || !isObject(auth["origin_proof"])) return null;
  const { contentDigest, signatureInput, signature } = auth["origin_proof"];
  if (typeof contentDigest !== "string" || typeof signatureInput !== "string" || typeof signature !== "string") return null;
  const parsed = parseSignature(signatureInput, signature, "sig1");
  if (parsed === null || parsed.components.join() !== COMPONENTS.join()) return null;
  return { contentDigest, signature: parsed };
}

/** Whether the proof binds this request and was made with `key`. */
export function originProofHolds(proof: OriginProof, request: SignedRequest, key: PublicKey): boolean {
  if (proof.contentDigest !== digestOf(request)) return false;
  const base = signatureBase(COMPONENTS, proof.signature.params, valuesOf(request, proof.contentDigest));
  return base !== null && verifyBytes(key, base, proof.signature.signature);
}
