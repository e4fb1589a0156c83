import { type Address, type AgentDescription, type AgentId, CommError, type MeteredClient } from "@failstorm/core";
import { type DidDocument, didOf, documentUrl, messageEndpoint, parseDid } from "./did.ts";
import { fetchDocument } from "./didResolver.ts";
import { isObject, type JsonObject, parseJson } from "./json.ts";

export interface PeersOptions {
  readonly client: MeteredClient;
  /** Told of every document that was fetched and checked. */
  readonly onDocument: (document: DidDocument) => void;
  readonly form: "domain" | "e1";
}

interface Endpoint {
  readonly address: Address;
  readonly base: string;
}

/** Who a peer is and where its message service listens, as its DID document says. */
export interface ResolvedPeer {
  readonly did: string;
  readonly endpoint: string;
}

const baseOf = ({ host, port, basePath = "" }: Address): string => `http://${host}:${port}${basePath}`;

/** Registered addresses, and how one gets from an address to a DID and its document. */
export class Peers {
  private readonly options: PeersOptions;
  private readonly endpoints = new Map<AgentId, Endpoint>();
  private readonly dids = new Map<AgentId, string>();

  constructor(options: PeersOptions) {
    this.options = options;
  }

  /** Whether the address is new, and with it the peer's DID. */
  register(agentId: AgentId, address: Address): boolean {
    const base = baseOf(address);
    if (this.endpoints.get(agentId)?.base === base) return false;
    this.endpoints.set(agentId, { address, base });
    this.dids.delete(agentId);
    return true;
  }

  base(agentId: AgentId): string {
    return this.endpoint(agentId).base;
  }

  isPlain(host: string): boolean {
    return [...this.endpoints.values()].some(({ address }) => address.host.toLowerCase() === host);
  }

  /** The agent whose registered address a DID names. */
  agentIdOf(did: string): AgentId | null {
    const parsed = parseDid(did);
    if (parsed === null) return null;
    for (const [agentId, { address }] of this.endpoints)
      if (this.dids.get(agentId) === did || (parsed.path.length === 0 && didOf(address) === did)) return agentId;
    return parsed.path.at(-2) ?? null;
  }

  clear(): void {
    this.endpoints.clear();
    this.dids.clear();
  }

  /** DID resolution (ANP-P2 §9.1): one round trip where the DID is known or follows from the address, else after discovery. */
  async resolve(agentId: AgentId, signal?: AbortSignal): Promise<ResolvedPeer> {
    const { address } = this.endpoint(agentId);
    const derived = this.options.form === "domain" && (address.basePath ?? "") === "" ? didOf(address) : undefined;
    const known = this.dids.get(agentId) ?? derived;
    let document = known === undefined ? undefined : await this.document(known, signal);
    document ??= await this.document(await this.discover(agentId, signal), signal);
    const endpoint = document === undefined ? null : messageEndpoint(document);
    if (document === undefined || endpoint === null)
      throw new CommError("protocol", agentId, `${agentId}: no DID document with an ANPMessageService`);
    this.dids.set(agentId, document.id);
    this.options.onDocument(document);
    return { did: document.id, endpoint: endpoint.replace("://localhost:", "://127.0.0.1:") };
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

  /** The agent's DID by active discovery (ANP-08). */
  private async discover(agentId: AgentId, signal?: AbortSignal): Promise<string> {
    const page = await this.json(agentId, `${this.base(agentId)}/.well-known/agent-descriptions`, signal);
    const items: unknown[] = Array.isArray(page["items"]) ? page["items"] : [];
    const item = items.filter(isObject).find(({ name }) => items.length === 1 || name === agentId);
    if (typeof item?.["did"] === "string") return item["did"];
    const url = item?.["@id"];
    const description = typeof url === "string" ? await this.json(agentId, url, signal) : {};
    if (typeof description["did"] === "string") return description["did"];
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

/** What the peer says of itself in its capabilities; strangers do not. */
export function describedPeer(dst: AgentId, capabilities: JsonObject): AgentDescription {
  const { agent } = capabilities;
  if (!isObject(agent)) return { agentId: dst, incarnation: 0, capabilities: [] };
  const { agent_id, incarnation, capabilities: own } = agent;
  if (agent_id !== dst || typeof incarnation !== "number" || !Array.isArray(own))
    throw new CommError("protocol", dst, `${dst}: another agent answers there`, { detail: capabilities });
  return { agentId: dst, incarnation, capabilities: own.filter((item) => typeof item === "string") };
}
