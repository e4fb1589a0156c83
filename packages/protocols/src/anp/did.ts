import { isIP } from "node:net";
import type { Address } from "@failstorm/core";
import { verifyProof } from "./dataIntegrity.ts";
import { isObject, type JsonObject } from "./json.ts";
import { e1Fingerprint, type PublicKey, publicKeyOf } from "./keys.ts";

/**
 * did:wba (ANP-03). Two deviations, both declared: DID documents and messages travel over plain HTTP, since the agents of
 * a storm share a machine, and a DID that names `localhost` (a DID may not hold an IP address) is dialled at 127.0.0.1.
 */
const DID_PATTERN = /^did:wba:([A-Za-z0-9][A-Za-z0-9.-]*)(?:%3[Aa](\d{1,5}))?((?::[A-Za-z0-9._-]+)*)$/;
const MAX_DID_CHARS = 512;
const LOOPBACK = new Set(["127.0.0.1", "::1", "localhost", "0.0.0.0", "::"]);

export interface ParsedDid {
  readonly host: string;
  readonly port: number | null;
  readonly path: readonly string[];
}

/** Takes a did:wba apart; null when it is none, names an IP address, or climbs out of its path. */
export function parseDid(did: string): ParsedDid | null {
  if (did.length > MAX_DID_CHARS) return null;
  const [matched, host, port, rest] = DID_PATTERN.exec(did) ?? [];
  if (matched === undefined || host === undefined || isIP(host) !== 0) return null;
  const path = (rest ?? "").split(":").slice(1);
  if (path.some((segment) => segment === "." || segment === "..")) return null;
  return { host: host.toLowerCase(), port: port === undefined ? null : Number(port), path };
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
  const entries: unknown[] = Array.isArray(document[relationship]) ? document[relationship] : [];
  for (const entry of entries) {
    const embedded = isObject(entry) ? entry : null;
    const id = embedded === null ? entry : embedded["id"];
    if (typeof id !== "string" || absolute(document, id) !== keyid) continue;
    const method =
      embedded ?? methodsOf(document).find(({ id: own }) => typeof own === "string" && absolute(document, own) === keyid);
    return method === undefined ? null : publicKeyOf(method);
  }
  return null;
}

/** The binding of an `e1_` DID: its proof verifies, with the very key whose thumbprint ends the DID (ANP-03 §2.5.2). */
function bindsItsKey(document: DidDocument, fingerprint: string): boolean {
  const { proof } = document;
  if (!isObject(proof) || typeof proof["verificationMethod"] !== "string") return false;
  const key = authorisedKey(document, "assertionMethod", proof["verificationMethod"]);
  return key?.type === "ed25519" && e1Fingerprint(key.key) === fingerprint && verifyProof(document, key);
}

/** Checks what was fetched for `did`: the document, or null when it is not that DID's. */
export function checkedDocument(did: string, fetched: unknown): DidDocument | null {
  if (!isObject(fetched) || fetched["id"] !== did) return null;
  const document = fetched as DidDocument;
  const last = parseDid(did)?.path.at(-1) ?? "";
  if (last.startsWith("e1_") && !bindsItsKey(document, last.slice("e1_".length))) return null;
  return document;
}

/** The endpoint of the document's one `ANPMessageService` (ANP-P2 §7.2). */
export function messageEndpoint(document: DidDocument): string | null {
  const services: unknown[] = Array.isArray(document["service"]) ? document["service"] : [];
  const service = services.filter(isObject).find(({ type }) => type === "ANPMessageService");
  const endpoint = service?.["serviceEndpoint"];
  return typeof endpoint === "string" && /^https?:\/\//.test(endpoint) ? endpoint : null;
}
