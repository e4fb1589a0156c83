import type { KeyObject } from "node:crypto";
import type { Address, AgentDescription, AgentId } from "@failstorm/core";
import type { AnpConfig } from "./config.ts";
import { withProof } from "./dataIntegrity.ts";
import { type DidDocument, didOf } from "./did.ts";
import { type Device, DEVICE_PROFILES } from "./e2ee/bundle.ts";
import { CIPHER_TYPE, E2EE_PROFILE, E2EE_SECURITY, INIT_TYPE } from "./e2ee/envelope.ts";
import type { SigningKey } from "./httpSignature.ts";
import type { JsonObject } from "./json.ts";
import { type AgentKeys, deviceFingerprint, e1Fingerprint, multikey } from "./keys.ts";

export const PROFILES = ["anp.core.binding.v1", "anp.identity.discovery.v1", "anp.direct.base.v1", "anp.meta.negotiation.v1"];
export const SECURITY_PROFILES = ["transport-protected"];
export const CONTENT_TYPES = ["text/plain", "application/json", "application/anp-attachment-manifest+json"];
export const MAX_BODY_BYTES = 64 * 1024 * 1024;

const CONTEXTS = [
  "https://www.w3.org/ns/did/v1",
  "https://w3id.org/security/data-integrity/v2",
  "https://w3id.org/security/multikey/v1",
  "https://w3id.org/security/suites/x25519-2019/v1",
];

export interface IdentityOptions {
  readonly agentId: AgentId;
  readonly keys: AgentKeys;
  /** Where its host is reached; asked when a document is asked for. */
  readonly address: () => Address;
  readonly form: AnpConfig["did"];
  /** Whether it has a device for end-to-end encryption (ANP-P5). */
  readonly e2ee: boolean;
  /** RFC 3339; when the DID document is signed. */
  readonly now: () => string;
}

/** What follows from an address. */
interface Built {
  readonly base: string;
  readonly did: string;
  readonly document: DidDocument;
  readonly authorities: readonly string[];
}

/** Under which names a host is known: those of its own machine, and the one it is reached by. */
function authoritiesOf(base: string): readonly string[] {
  const { hostname, port } = new URL(base);
  return [hostname, "localhost", "127.0.0.1"].map((name) => (port === "" ? name : `${name}:${port}`));
}

/** Who an agent is: its DID, the key it signs with, and the documents that say so. All follow from its keys and its address. */
export class Identity {
  readonly agentId: AgentId;
  private readonly options: IdentityOptions;
  private built: Built | null = null;

  constructor(options: IdentityOptions) {
    this.agentId = options.agentId;
    this.options = options;
  }

  get did(): string {
    return this.current().did;
  }

  get document(): DidDocument {
    return this.current().document;
  }

  /** Whether a request for this `host:port` is for this agent's host. */
  isOwnAuthority(authority: string): boolean {
    return this.current().authorities.includes(authority.toLowerCase());
  }

  get signingKey(): SigningKey {
    return { keyid: `${this.did}#key-1`, privateKey: this.options.keys.signing.privateKey };
  }

  /** Its static key for end-to-end encryption. */
  get agreementKey(): KeyObject {
    return this.options.keys.agreement.privateKey;
  }

  get device(): Device {
    return this.deviceOf(this.did);
  }

  /** Its one device for end-to-end encryption, whose id changes with its key. */
  private deviceOf(did: string): Device {
    return {
      device_id: `dev-${deviceFingerprint(this.options.keys.agreement.publicKey)}`,
      signing_key_id: `${did}#key-1`,
      e2ee_key_id: `${did}#key-x25519-1`,
      profiles: DEVICE_PROFILES,
    };
  }

  get profiles(): readonly string[] {
    return this.options.e2ee ? [...PROFILES, E2EE_PROFILE] : PROFILES;
  }

  get securityProfiles(): readonly string[] {
    return this.options.e2ee ? [...SECURITY_PROFILES, E2EE_SECURITY] : SECURITY_PROFILES;
  }

  get contentTypes(): readonly string[] {
    return this.options.e2ee ? [...CONTENT_TYPES, INIT_TYPE, CIPHER_TYPE] : CONTENT_TYPES;
  }

  /** `http://host:port/prefix`: what the host's paths begin with. */
  get baseUrl(): string {
    const { host, port, basePath = "" } = this.options.address();
    return `http://${host}:${port}${basePath}`;
  }

  /** Where its DID document is, below the prefix. */
  get documentPath(): string {
    const segments = this.path();
    return segments.length === 0 ? "/.well-known/did.json" : `/${segments.slice(this.prefix().length).join("/")}/did.json`;
  }

  private prefix(): string[] {
    return (this.options.address().basePath ?? "").split("/").filter((segment) => segment !== "");
  }

  /** Under a prefix the well-known place of the domain is not this agent's to use. */
  private path(): string[] {
    const prefix = this.prefix();
    if (this.options.form === "domain" && prefix.length === 0) return [];
    return [...prefix, this.agentId, `e1_${e1Fingerprint(this.options.keys.signing.publicKey)}`];
  }

  private current(): Built {
    const base = this.baseUrl;
    if (this.built?.base !== base) {
      const did = didOf(this.options.address(), this.path());
      this.built = { base, did, document: this.buildDocument(did, base), authorities: authoritiesOf(base) };
    }
    return this.built;
  }

  private buildDocument(did: string, base: string): DidDocument {
    const { signing, agreement } = this.options.keys;
    const [key, agreementKey] = [`${did}#key-1`, `${did}#key-x25519-1`];
    const document = {
      "@context": CONTEXTS,
      id: did,
      verificationMethod: [
        { id: key, type: "Multikey", controller: did, publicKeyMultibase: multikey(signing.publicKey) },
        {
          id: agreementKey,
          type: "X25519KeyAgreementKey2019",
          controller: did,
          publicKeyMultibase: multikey(agreement.publicKey),
        },
      ],
      authentication: [key],
      assertionMethod: [key],
      keyAgreement: [agreementKey],
      service: [
        { id: `${did}#ad`, type: "AgentDescription", serviceEndpoint: `${base}/ad.json` },
        {
          id: `${did}#anp`,
          type: "ANPMessageService",
          serviceEndpoint: `${base}/anp`,
          serviceDid: did,
          profiles: this.profiles,
          securityProfiles: this.securityProfiles,
        },
      ],
      ...(this.options.e2ee ? { deviceManifest: { type: "ANPDeviceManifest", devices: [this.deviceOf(did)] } } : {}),
    };
    // Only an e1 document needs a proof; the SDKs read the proof value's encoding differently from the specification (ANP-03 §2.5.5).
    return this.path().length === 0 ? document : withProof(document, signing.privateKey, key, this.options.now());
  }
}

/** The document of active discovery (ANP-08). */
export const discoveryDocument = ({ agentId, baseUrl, did }: Identity): JsonObject => ({
  "@context": { "@vocab": "https://schema.org/", did: "https://w3id.org/did#", ad: "https://agent-network-protocol.com/ad#" },
  "@type": "CollectionPage",
  url: `${baseUrl}/.well-known/agent-descriptions`,
  items: [{ "@type": "ad:AgentDescription", name: agentId, "@id": `${baseUrl}/ad.json`, did }],
});

/** Which interfaces an agent can be used by; what a negotiation chooses from. */
export const interfacesOf = ({
  baseUrl,
}: Identity): ReadonlyArray<JsonObject & { readonly id: string; readonly type: string }> => [
  {
    id: "interface.direct.structured.v1",
    type: "StructuredInterface",
    protocol: "openrpc",
    version: "1.0",
    profile: "anp.direct.base.v1",
    url: `${baseUrl}/interface.json`,
    description: "Tool steps and look-ups as JSON payloads of direct messages.",
  },
  {
    id: "interface.direct.text.v1",
    type: "NaturalLanguageInterface",
    protocol: "ANP",
    version: "1.0",
    profile: "anp.direct.base.v1",
    url: `${baseUrl}/anp`,
    description: "Direct messages in plain words.",
  },
];

/** The agent description (ANP-07), its tools and shards as capabilities (an extension that ANP-06 §14.1 shows). */
export const agentDescription = (identity: Identity, self: AgentDescription): JsonObject => ({
  protocolType: "ANP",
  protocolVersion: "1.0.0",
  type: "AgentDescription",
  url: `${identity.baseUrl}/ad.json`,
  name: identity.agentId,
  did: identity.did,
  description: "An agent of a failstorm run: it holds a part of a document and answers look-ups and tool steps.",
  securityDefinitions: { didwba_sc: { scheme: "didwba", in: "header", name: "Authorization" } },
  security: "didwba_sc",
  Infomations: [],
  capabilities: self.capabilities.map((id) => ({ id, name: id })),
  interfaces: [
    ...interfacesOf(identity),
    {
      id: "interface.negotiation.default",
      type: "MetaProtocolInterface",
      protocol: "ANP",
      version: "1.0",
      profile: "anp.meta.negotiation.v1",
      binding: "jsonrpc-2.0",
      url: `${identity.baseUrl}/anp`,
      methods: ["anp.get_capabilities", "anp.negotiate"],
      security: ["didwba_sc"],
      securityProfiles: identity.securityProfiles,
      negotiates: ["profiles", "interfaces", "security_profiles", "content_types", "execution_modes"],
      description: "Chooses the interface for an intent.",
    },
  ],
});

const rpcMethod = (name: string, summary: string): JsonObject => ({
  name,
  summary,
  paramStructure: "by-name",
  params: ["meta", "auth", "body"].map((param) => ({ name: param, required: param !== "auth", schema: { type: "object" } })),
  result: { name: "result", schema: { type: "object" } },
});

/** The structured interface as OpenRPC. */
export const interfaceDocument = ({ baseUrl }: Identity): JsonObject => ({
  openrpc: "1.3.2",
  info: {
    title: "ANP message service",
    version: "1.0.0",
    "x-anp-protocol-type": "ANP",
    "x-anp-protocol-version": "1.0.0",
  },
  security: [{ didwba: [] }],
  servers: [{ name: "agent", url: `${baseUrl}/anp` }],
  methods: [
    rpcMethod("anp.get_capabilities", "What this endpoint supports at run time (ANP-P1 §8.2)."),
    rpcMethod("anp.negotiate", "Chooses the interface for an intent (ANP-06 §7)."),
    rpcMethod("direct.send", "A direct message; the agent's answer comes in the result's member reply."),
  ],
  components: { securitySchemes: { didwba: { type: "http", scheme: "bearer", bearerFormat: "DID-WBA" } } },
});
