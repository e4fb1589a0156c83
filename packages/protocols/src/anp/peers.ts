import { type Address, type AgentDescription, type AgentId, CommError, type MeteredClient } from "@failstorm/core";
import { type DidDocument, didOf, documentUrl, messageEndpoint } from "./did.ts";
import { fetchDocument } from "./didResolver.ts";
import { isObject, type JsonObject, parseJson } from "./json.ts";

export interface PeersOptions {
  readonly client: MeteredClient;
  /** Told of every document that was fetched and checked. */
  readonly onDocument: (document: DidDocument) => void;
  readonly form: "domain" | "e1";
}

interface Endpoint {
  readonly host: string;
  readonly base: string;
  /** Its DID where that follows from the address; null under a prefix, or where only an IP number names the host. */
  readonly derivedDid: string | null;
}

/** Who a peer is and where its message service listens, as its DID document says. */
export interface ResolvedPeer {
  readonly did: string;
  readonly endpoint: string;
}

/** How many pages of a discovery document are looked through for an agent. */
const MAX_PAGES = 32;

const baseOf = ({ host, port, basePath = "" }: Address): string => `http://${host}:${port}${basePath}`;

function derivedDid(address: Address): string | null {
  if ((address.basePath ?? "") !== "") return null;
  try {
    return didOf(address);
  } catch {
    return null;
  }
}

/** Registered addresses, and how one gets from an address to a DID and its document. */
export class Peers {
  private readonly options: PeersOptions;
  private readonly endpoints = new Map<AgentId, Endpoint>();
  private readonly dids = new Map<AgentId, string>();
  private readonly agents = new Map<string, AgentId>();

  constructor(options: PeersOptions) {
    this.options = options;
  }

  /** Whether the address is new, and with it the peer's DID. */
  register(agentId: AgentId, address: Address): boolean {
    const base = baseOf(address);
    if (this.endpoints.get(agentId)?.base === base) return false;
    const derived = derivedDid(address);
    for (const former of [this.endpoints.get(agentId)?.derivedDid, this.dids.get(agentId)])
      if (typeof former === "string" && this.agents.get(former) === agentId) this.agents.delete(former);
    this.endpoints.set(agentId, { host: address.host.toLowerCase(), base, derivedDid: derived });
    this.dids.delete(agentId);
    if (derived !== null) this.agents.set(derived, agentId);
    return true;
  }

  base(agentId: AgentId): string {
    return this.endpoint(agentId).base;
  }

  isPlain(host: string): boolean {
    return [...this.endpoints.values()].some((endpoint) => endpoint.host === host);
  }

  /** The agent whose registered address a DID names, or that was resolved to it. */
  agentIdOf(did: string): AgentId | null {
    return this.agents.get(did) ?? null;
  }

  clear(): void {
    this.endpoints.clear();
    this.dids.clear();
    this.agents.clear();
  }

  /** DID resolution (ANP-P2 §9.1): one round trip where the DID is known or follows from the address, else after discovery. */
  async resolve(agentId: AgentId, signal?: AbortSignal): Promise<ResolvedPeer> {
    const { derivedDid } = this.endpoint(agentId);
    const known = this.dids.get(agentId) ?? (this.options.form === "domain" ? derivedDid : null);
    let document = known === null ? undefined : await this.document(known, signal);
    // The document of a domain need not be the agent's: discovery tells.
    if (document === undefined || messageEndpoint(document) === null)
      document = await this.document(await this.discover(agentId, signal), signal);
    const endpoint = document === undefined ? null : messageEndpoint(document);
    if (document === undefined || endpoint === null)
      throw new CommError("protocol", agentId, `${agentId}: no DID document with an ANPMessageService`);
    this.dids.set(agentId, document.id);
    this.agents.set(document.id, agentId);
    this.options.onDocument(document);
    // As it is written there: a peer may know itself under that name alone, and compare what is signed with it.
    return { did: document.id, endpoint };
  }

  private endpoint(agentId: AgentId): Endpoint {
    const endpoint = this.endpoints.get(agentId);
    if (endpoint === undefined) throw new CommError("unknown_agent", agentId, `${agentId}: no endpoint registered`);
    return endpoint;
  }

  private async document(did: string, signal?: AbortSignal): Promise<DidDocument | undefined> {
    const url = documentUrl(did, (host) => this.isPlain(host));
    return url === null ? undefined : fetchDocument(this.options.client, did, url, signal);
  }

  /** The agent's DID by active discovery (ANP-08), page by page. */
  private async discover(agentId: AgentId, signal?: AbortSignal): Promise<string> {
    let url: string | undefined = `${this.base(agentId)}/.well-known/agent-descriptions`;
    for (let pages = 1; url !== undefined && pages <= MAX_PAGES; pages++) {
      const page: JsonObject = await this.json(agentId, url, signal);
      const next: string | undefined = linkIn(page, "next", url);
      const items = (Array.isArray(page["items"]) ? (page["items"] as unknown[]) : []).filter(isObject);
      const isAlone = items.length === 1 && pages === 1 && next === undefined;
      const item = items.find(({ name }) => isAlone || name === agentId);
      if (typeof item?.["did"] === "string") return item["did"];
      const described: string | undefined = item && linkIn(item, "@id", url);
      const description = described === undefined ? {} : await this.json(agentId, described, signal);
      if (typeof description["did"] === "string") return description["did"];
      url = next;
    }
    throw new CommError("protocol", agentId, `${agentId}: discovery names no DID`);
  }

  private async json(agentId: AgentId, url: string, signal?: AbortSignal): Promise<JsonObject> {
    const init = { method: "GET", headers: { accept: "application/json" }, ...(signal ? { signal } : {}) };
    const { status, body } = await this.options.client.request(url, init);
    const parsed = parseJson(body.toString("utf8"));
    if (status !== 200 || !isObject(parsed)) throw new CommError("protocol", agentId, `${agentId}: HTTP ${status} from ${url}`);
    return parsed;
  }
}

/** The URL in a member of a document that was found at `base`. */
function linkIn(document: JsonObject, member: string, base: string): string | undefined {
  const link = document[member];
  return typeof link === "string" ? URL.parse(link, base)?.href : undefined;
}

/** What the peer says of itself in its capabilities; strangers do not, or mean something else by `agent`. */
export function describedPeer(dst: AgentId, capabilities: JsonObject): AgentDescription {
  const { agent } = capabilities;
  if (!isObject(agent) || !("agent_id" in agent)) return { agentId: dst, incarnation: 0, capabilities: [] };
  const { agent_id, incarnation, capabilities: own } = agent;
  if (agent_id !== dst || typeof incarnation !== "number" || !Array.isArray(own))
    throw new CommError("protocol", dst, `${dst}: another agent answers there`, { detail: capabilities });
  return { agentId: dst, incarnation, capabilities: own.filter((item) => typeof item === "string") };
}
