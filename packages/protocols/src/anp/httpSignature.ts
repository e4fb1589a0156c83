import { hash, type KeyObject, randomBytes } from "node:crypto";
import { type InnerList, parseDictionary, serializeInnerList } from "structured-headers";
import { signBytes } from "./keys.ts";

/** A signature as RFC 9421 carries it: in HTTP headers (ANP-02 §3), or in `auth.origin_proof` (ANP-P1, appendix A). */
export interface MessageSignature {
  readonly components: readonly string[];
  readonly keyid: string;
  /** Seconds since the Unix epoch. */
  readonly created: number;
  readonly expires: number | null;
  readonly nonce: string | null;
  readonly alg: string | null;
  /** Value of `@signature-params`. */
  readonly params: string;
  readonly signature: Buffer;
}

export type ComponentValues = (component: string) => string | undefined;

/** RFC 9530, sha-256 only. */
export const contentDigest = (body: string | Uint8Array): string => `sha-256=:${hash("sha256", body, "base64")}:`;

/** Whether a Content-Digest field holds the right sha-256 or, without one, the right sha-512; other algorithms are ignored. */
export function digestMatches(field: string, body: string | Uint8Array): boolean {
  const right = contentDigest(body);
  if (field === right) return true;
  const members = field.split(",").map((member) => member.trim());
  if (members.some((member) => member.startsWith("sha-256="))) return members.includes(right);
  return members.includes(`sha-512=:${hash("sha512", body, "base64")}:`);
}

/** RFC 9421 §2.5. Null when a covered component has no value. */
export function signatureBase(components: readonly string[], params: string, valueOf: ComponentValues): string | null {
  let base = "";
  for (const component of components) {
    const value = valueOf(component);
    if (value === undefined) return null;
    base += `"${component}": ${value}\n`;
  }
  return `${base}"@signature-params": ${params}`;
}

const MAX_FIELD_CHARS = 4096;

/** What ANP's own implementations write, in the one serialisation that such a list has. */
const USUAL_INPUT =
  /^sig1=(\(("[a-z@-]+"(?: "[a-z@-]+")*)\);created=(\d{1,15});expires=(\d{1,15});nonce="([\w-]{1,128})";keyid="([!#-[\]-~]{1,1024})")$/;
const USUAL_SIGNATURE = /^sig1=:([A-Za-z0-9+/]+={0,2}):$/;

/** The same as reading the structured fields, at a tenth of the cost, for signatures of the usual form; null for all others. */
function parseUsual(input: string, signature: string): MessageSignature | null {
  const [, params, components, created, expires, nonce, keyid] = USUAL_INPUT.exec(input) ?? [];
  const bytes = USUAL_SIGNATURE.exec(signature)?.[1];
  if (bytes === undefined || params === undefined || components === undefined || keyid === undefined) return null;
  return {
    components: components.slice(1, -1).split('" "'),
    keyid,
    created: Number(created),
    expires: Number(expires),
    nonce: nonce ?? null,
    alg: null,
    params,
    signature: Buffer.from(bytes, "base64"),
  };
}

/** Reads the one signature of two structured fields; null when they hold none that ANP allows. */
export function parseSignature(input: string, signature: string, label?: string): MessageSignature | null {
  if (input.length > MAX_FIELD_CHARS || signature.length > MAX_FIELD_CHARS) return null;
  return (label === undefined || label === "sig1" ? parseUsual(input, signature) : null) ?? parseFields(input, signature, label);
}

function parseFields(input: string, signature: string, label: string | undefined): MessageSignature | null {
  try {
    const [name, member] = [...parseDictionary(input)][0] ?? [];
    if (name === undefined || member === undefined || (label !== undefined && name !== label)) return null;
    const [items, params] = member;
    const [bytes] = parseDictionary(signature).get(name) ?? [];
    if (!Array.isArray(items) || !(bytes instanceof ArrayBuffer)) return null;
    // A component with parameters (;req, ;name=…) covers something else than ANP asks for.
    if (items.some(([item, parameters]) => typeof item !== "string" || parameters.size > 0)) return null;
    const [keyid, created, expires, nonce, alg] = ["keyid", "created", "expires", "nonce", "alg"].map((key) => params.get(key));
    if (typeof keyid !== "string" || !Number.isInteger(created)) return null;
    if (expires !== undefined && !Number.isInteger(expires)) return null;
    if (nonce !== undefined && (typeof nonce !== "string" || nonce === "")) return null;
    if (alg !== undefined && typeof alg !== "string") return null;
    return {
      components: items.map(([item]) => item as string),
      keyid,
      created: created as number,
      expires: (expires as number | undefined) ?? null,
      nonce: (nonce as string | undefined) ?? null,
      alg: (alg as string | undefined) ?? null,
      params: serializeInnerList(member as InnerList),
      signature: Buffer.from(bytes),
    };
  } catch {
    return null;
  }
}

export interface SigningKey {
  readonly keyid: string;
  readonly privateKey: KeyObject;
}

const NONCE_BYTES = 16;
let pool = Buffer.alloc(0);

/** 128 random bits. Asking the system for many nonces at once costs as much as for one. */
export function newNonce(): string {
  if (pool.length === 0) pool = randomBytes(NONCE_BYTES * 256);
  const nonce = pool.toString("base64url", 0, NONCE_BYTES);
  pool = pool.subarray(NONCE_BYTES);
  return nonce;
}

/** How long a signature made here is good for. */
const SIGNATURE_LIFETIME_S = 60;

/** Signs the components; `nowS` are seconds since the Unix epoch. Returns the two field values. */
export function signComponents(
  key: SigningKey,
  components: readonly string[],
  valueOf: ComponentValues,
  { nowS, nonce = newNonce() }: { readonly nowS: number; readonly nonce?: string | undefined },
): { readonly input: string; readonly signature: string } {
  const covered = components.map((component) => `"${component}"`).join(" ");
  const params = `(${covered});created=${nowS};expires=${nowS + SIGNATURE_LIFETIME_S};nonce="${nonce}";keyid="${key.keyid}"`;
  const base = signatureBase(components, params, valueOf);
  if (base === null) throw new RangeError(`a component of ${covered} has no value`);
  return { input: `sig1=${params}`, signature: `sig1=:${signBytes(key.privateKey, base).toString("base64")}:` };
}

export interface OutgoingRequest {
  readonly method: string;
  readonly url: string;
  /** JSON. */
  readonly body?: string;
}

const BODY_COMPONENTS = ["@method", "@target-uri", "@authority", "content-digest"];
const COMPONENTS = ["@method", "@target-uri", "@authority"];

/** What else a peer may ask for that a request has; undefined for anything that it has not. */
function furtherValue(component: string, { url, body }: OutgoingRequest): string | undefined {
  const { pathname, search } = new URL(url);
  if (component === "@scheme") return new URL(url).protocol.slice(0, -1);
  if (component === "@request-target") return pathname + search;
  if (component === "@path") return pathname;
  if (component === "@query") return search === "" ? "?" : search;
  if (body === undefined) return undefined;
  if (component === "content-length") return `${Buffer.byteLength(body)}`;
  return component === "content-type" ? "application/json" : undefined;
}

/** The components that a peer expects to be covered (`Accept-Signature`, ANP-02 §3.2.4.1). */
export const acceptedComponents = (field: string): readonly string[] =>
  [...(/\(([^)]*)\)/.exec(field)?.[1] ?? "").matchAll(/"([^"]+)"/g)].map(([, component = ""]) => component);

/** The headers that sign an HTTP request (ANP-02 §3.1); `wanted` are covered as well, where the request has them. */
export function signRequest(
  key: SigningKey,
  request: OutgoingRequest,
  options: { readonly nowS: number; readonly nonce?: string | undefined; readonly wanted?: readonly string[] },
): Record<string, string> {
  const { method, url, body } = request;
  const digest = body === undefined ? undefined : contentDigest(body);
  const values: Record<string, string | undefined> = {
    "@method": method,
    "@target-uri": url,
    "@authority": new URL(url).host,
    "content-digest": digest,
  };
  const usual = digest === undefined ? COMPONENTS : BODY_COMPONENTS;
  const further = new Set(options.wanted?.filter((component) => !(component in values)));
  const { input, signature } = signComponents(
    key,
    [...usual, ...[...further].filter((component) => furtherValue(component, request) !== undefined)],
    (component) => values[component] ?? furtherValue(component, request),
    options,
  );
  return { "signature-input": input, signature, ...(digest === undefined ? {} : { "content-digest": digest }) };
}
