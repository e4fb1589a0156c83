import { isIP } from "node:net";
import type { Address } from "@failstorm/core";
import { verifyProof } from "./dataIntegrity.ts";
import { isObject, type JsonObject } from "./json.ts";
import { e1Fingerprint, k1Fingerprint, type PublicKey, publicKeyOf } from "./keys.ts";

/**
 * did:wba (ANP-03); others may also have a native did:web (ANP-02, appendix B), which is resolved alike and binds no key. Two
 * deviations, both declared: DID documents and messages travel over plain HTTP, since the agents of a storm share a machine, and a
 * DID that names `localhost` (a DID may not hold an IP address) is dialled at 127.0.0.1.
 */
const DID_PATTERN = /^did:(wba|web):([A-Za-z0-9][A-Za-z0-9.-]*)(?:%3[Aa](\d{1,5}))?((?::[A-Za-z0-9._-]+)*)$/;
const MAX_DID_CHARS = 512;
const LOOPBACK = new Set(["127.0.0.1", "::1", "localhost", "0.0.0.0", "::"]);

export interface ParsedDid {
  readonly method: "wba" | "web";
  readonly host: string;
  readonly port: number | null;
  readonly path: readonly string[];
}

/** Takes a did:wba or did:web apart; null when it is none, names an IP address, or climbs out of its path. */
export function parseDid(did: string): ParsedDid | null {
  if (did.length > MAX_DID_CHARS) return null;
  const [matched, method, host, port, rest] = DID_PATTERN.exec(did) ?? [];
  if (matched === undefined || host === undefined || isIP(host) !== 0) return null;
  const path = (rest ?? "").split(":").slice(1);
  if (path.some((segment) => segment === "." || segment === "..")) return null;
  return {
    method: method as ParsedDid["method"],
    host: host.toLowerCase(),
    port: port === undefined ? null : Number(port),
    path,
  };
}

/** The host name by which a DID can call an address. Throws RangeError for an address that only an IP number names. */
export function didHost(host: string): string {
  if (LOOPBACK.has(host)) return "localhost";
  if (isIP(host) !== 0) throw new RangeError(`a did:wba needs a host name, and ${host} is an IP address`);
  return host.toLowerCase();
}

export const didOf = (address: Address, path: readonly string[] = []): string =>
  ["did", "wba", `${didHost(address.host)}%3A${address.port}`, ...path].join(":");

/** `isPlain` says which authorities are reached without TLS; localhost always is. */
export function documentUrl(did: string, isPlain: (host: string) => boolean): string | null {
  const parsed = parseDid(did);
  if (parsed === null) return null;
  const { host, port, path } = parsed;
  const local = host === "localhost";
  const authority = `${local ? "127.0.0.1" : host}${port === null ? "" : `:${port}`}`;
  const folder = path.length === 0 ? ".well-known" : path.join("/");
  return `${local || isPlain(host) ? "http" : "https"}://${authority}/${folder}/did.json`;
}

/** A DID document that was checked under its method. */
export interface DidDocument extends JsonObject {
  readonly id: string;
}

const methodsOf = (document: JsonObject): JsonObject[] =>
  (Array.isArray(document["verificationMethod"]) ? document["verificationMethod"] : []).filter(isObject);

const absolute = (document: JsonObject, reference: string): string =>
  reference.startsWith("#") ? `${document["id"] as string}${reference}` : reference;

type Relationship = "authentication" | "assertionMethod" | "keyAgreement";

/** The fingerprint of a key that a did:wba ends in, of the profile `e1_` or `k1_`; null where it ends in none. */
function fingerprintIn(did: string, profile: "e1_" | "k1_"): string | null {
  const parsed = parseDid(did);
  const last = parsed?.method === "wba" ? (parsed.path.at(-1) ?? "") : "";
  return last.startsWith(profile) ? last.slice(profile.length) : null;
}

/** The entries of a relationship, each with its id as a whole DID URL. */
function entriesOf(
  document: DidDocument,
  relationship: Relationship,
): ReadonlyArray<{ id: string; embedded: JsonObject | null }> {
  const entries: unknown[] = Array.isArray(document[relationship]) ? document[relationship] : [];
  return entries.flatMap((entry) => {
    const embedded = isObject(entry) ? entry : null;
    const id = embedded === null ? entry : embedded["id"];
    return typeof id === "string" ? [{ id: absolute(document, id), embedded }] : [];
  });
}

const keysOf = new WeakMap<DidDocument, Map<string, PublicKey>>();

/** The key of `keyid` if the document authorises it for the relationship; null otherwise. A document is read once for each. */
export function authorisedKey(document: DidDocument, relationship: Relationship, keyid: string): PublicKey | null {
  let keys = keysOf.get(document);
  if (keys === undefined) keysOf.set(document, (keys = new Map()));
  const name = `${relationship} ${keyid}`;
  const known = keys.get(name);
  if (known !== undefined) return known;
  const key = findKey(document, relationship, keyid);
  if (key !== null) keys.set(name, key);
  return key;
}

function findKey(document: DidDocument, relationship: Relationship, keyid: string): PublicKey | null {
  const entry = entriesOf(document, relationship).find(({ id }) => id === keyid);
  if (entry === undefined) return null;
  const method =
    entry.embedded ?? methodsOf(document).find(({ id: own }) => typeof own === "string" && absolute(document, own) === keyid);
  const key = method === undefined ? null : publicKeyOf(method);
  // Whoever has a `k1_` DID authenticates with the key that it ends in, and with no other (appendix A.6).
  const bound = relationship === "authentication" ? fingerprintIn(document.id, "k1_") : null;
  return key !== null && bound !== null && k1Fingerprint(key) !== bound ? null : key;
}

/** The binding of an `e1_` DID: its proof verifies, with the very key whose thumbprint ends the DID (ANP-03 §2.5.2). */
function bindsItsKey(document: DidDocument, fingerprint: string): boolean {
  const { proof } = document;
  if (!isObject(proof) || typeof proof["verificationMethod"] !== "string") return false;
  const key = authorisedKey(document, "assertionMethod", proof["verificationMethod"]);
  return key?.type === "ed25519" && e1Fingerprint(key.key) === fingerprint && verifyProof(document, key);
}

/** Checks what was fetched for `did`: the document; null when it is not that DID's, or says that the DID is used no more (§3.1.2). */
export function checkedDocument(did: string, fetched: unknown): DidDocument | null {
  if (!isObject(fetched) || fetched["id"] !== did || fetched["deactivated"] === true) return null;
  const document = fetched as DidDocument;
  const fingerprint = fingerprintIn(did, "e1_");
  if (fingerprint !== null && !bindsItsKey(document, fingerprint)) return null;
  // A `k1_` document needs no proof (appendix A.5.4), but the key.
  const authenticates = ({ id }: { readonly id: string }): boolean => authorisedKey(document, "authentication", id) !== null;
  if (fingerprintIn(did, "k1_") !== null && !entriesOf(document, "authentication").some(authenticates)) return null;
  return document;
}

/** The endpoint of the document's one `ANPMessageService` (ANP-P2 §7.2); of several, of one for direct messages (§9.4). */
export function messageEndpoint(document: DidDocument): string | null {
  const services: unknown[] = Array.isArray(document["service"]) ? document["service"] : [];
  const all = services.filter(isObject).filter(({ type }) => type === "ANPMessageService");
  const service = all.find(({ profiles }) => Array.isArray(profiles) && profiles.includes("anp.direct.base.v1")) ?? all[0];
  const endpoint = service?.["serviceEndpoint"];
  return typeof endpoint === "string" && /^https?:\/\//.test(endpoint) ? endpoint : null;
}
