import type { Requirement } from "../requirements.ts";

const spec = (section: string): string => `A2A 1.0, ${section}`;
const ours = (what: string): string => `packages/protocols/src/a2a/README.md, ${what}`;

const rows: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  [spec("3.1, 9")]: {
    jsonrpc: "A stranger's client sends, gets, lists, streams, subscribes and cancels over JSON-RPC.",
    size: "A request of 64 MB, under a server that takes less elsewhere.",
    params: "Parameters may be left out.",
    slash: "The JSON-RPC URL is served with and without a slash at its end.",
    "jsonrpc-errors": "No JSON -32700, no request -32600, no method -32601, another content type -32005, too big 413.",
  },
  [spec("3.1, 11")]: {
    rest: "The same over HTTP+JSON, each path also under a tenant's; answers are application/a2a+json, or plain JSON to plain JSON.",
    "rest-errors": "Errors are google.rpc.Status with ErrorInfo, under the HTTP status of section 5.4.",
    tenant: "A tenant in path, body or query is the one of JSON-RPC's parameters.",
  },
  [spec("3.1.2")]: { streaming: "A stream begins with the task and ends with its last status; artifacts come as they are made." },
  [spec("3.1.4")]: { list: "By context, state and time, latest first, by pages that stay put; artifacts only when asked for." },
  [spec("3.1.5")]: {
    cancel: "A running task ends as canceled and its executor hears of it; again is the same; an ended one is -32002.",
  },
  [spec("3.1.6")]: { subscribe: "The task as it is, then what every other stream of it gets; an ended one is -32004." },
  [spec("3.1.7-3.1.10")]: {
    "push-configs": "Webhooks are kept with their task, told, listed and deleted; deleting is idempotent.",
    "push-unsupported": "Switched off, they are -32003.",
  },
  [spec("3.1.11, 13.3")]: { "extended-card": "Those who authenticated get a card with the agent's limits." },
  [spec("3.2.2")]: { "return-immediately": "A message answered at once with its task, which runs on." },
  [spec("3.3.1")]: { "no-idempotency": "A message that comes twice is executed twice, as two tasks." },
  [spec("3.3.2, 5.4, 9.5")]: {
    errors: "Each error has its code, and ErrorInfo with its reason; what is refused is not executed.",
  },
  [spec("3.4.1")]: { context: "A client's contextId is kept; without one the agent makes one." },
  [spec("3.6")]: {
    version: "1.0 and 0.3, which an empty A2A-Version means; patch numbers are ignored; any other is -32009.",
    legacy: "Clients of 0.3 are served over JSON-RPC, in the words of 0.3.",
  },
  [spec("4.1.6")]: {
    data: "Data of any JSON value comes back as it was.",
    "null-parts": "Contents of a part that are null are as if they were not there.",
  },
  [spec("4.1.7")]: { "artifact-parts": "No artifact is without parts." },
  [spec("4.3.3")]: {
    push: "Every event, to clients of 0.3 the task, is POSTed in order, with the credentials asked for; a failed delivery is tried again.",
  },
  [spec("4.4, 8")]: {
    card: "One per agent: tools and shards as skills; id and incarnation in the extension urn:failstorm:agent:v1.",
    "card-caching": "An ETag of the card's content; a card that is known is not sent again.",
    "legacy-card": "The fields of 0.3 beside them, for those who name no version or 0.3, or ask at /.well-known/agent.json.",
  },
  [spec("4.6")]: { extension: "The extension is confirmed to who asks for it, others are ignored." },
  [spec("8.3.2, 3.3.4")]: {
    "client-interface": "A stranger's tenant is said in every request, and one that does not stream is not asked to.",
  },
  [spec("13.1")]: {
    authentication: "With bearer tokens configured all but the card asks for one: 401.",
    scope: "Tasks of another user or tenant are not found.",
  },
  [ours("client")]: {
    client: "The SDK's server is met by its card and spoken to where the card says; tasks and messages are answers.",
    "client-refusals": "A task that fails, or waits for its client, and a JSON-RPC error are code remote with the detail.",
    heartbeat: "GET of the card unless it is known: added, one round trip, no new connection; the ETag tells the incarnation.",
    resume: "GetTask; while the task runs, SubscribeToTask to its end, with what was missed.",
    garbage: "What is not A2A's answer is code protocol.",
    "stream-cut": "A stream cut at any byte is code reset, unless its last event had come.",
  },
  [ours("after a crash")]: {
    persistence: "What ended is given back as it was, by a log that survives SIGKILL and is read as far as it is whole.",
    orphans: "What had not ended has failed, with a message that says so; it is never working for ever.",
    retention: "Finished tasks go after retain_ms or when they take too much memory, on disk soon after.",
    reconnect: "The card; then, only for work in flight, GetTask where its task is known and one ListTasks else.",
  },
  [ours("bad input")]: { fuzz: "Whatever comes is answered in A2A's words and status; the host serves on." },
  [ours("configuration")]: { config: "Unknown keys and values out of range are bad input." },
};

export const requirements: readonly Requirement[] = Object.entries(rows).flatMap(([section, claims]) =>
  Object.entries(claims).map(([id, behaviour]) => ({ id: `a2a-${id}`, section, behaviour })),
);
