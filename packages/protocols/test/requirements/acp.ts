import type { Requirement } from "../requirements.ts";

const document = (operation: string): string => `ACP 0.2.0 OpenAPI document, ${operation}`;
const ours = (what: string): string => `packages/protocols/README.md, ACP: ${what}`;

const rows: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  [document("GET /ping")]: { ping: "Answered with an empty object: ACP's own liveness operation." },
  [document("GET /agents")]: {
    agents: "The list of the manifests that this server serves.",
    pages: "limit 1 to 1000, offset from 0; anything else is invalid_input.",
  },
  [document("GET /agents/{name}")]: {
    manifest: "Name, description, content types, capabilities in metadata; unknown names are not_found.",
    names: "Names are RFC 1123 labels.",
  },
  [document("POST /runs")]: {
    sync: "200 with the run completed, and its id in Run-ID.",
    async: "202 with the run created.",
    stream: "Server-sent events: run.created, run.in-progress, messages part by part, the run's end.",
    content: "Content types, base64, links and fields of the agents' own reach the agent.",
    "no-idempotency": "There is no idempotency key: a run of its own per request, and nothing of a key on the wire.",
  },
  [document("Message, MessagePart")]: {
    message: "Dates that are none and metadata of no kind are invalid_input.",
  },
  [document("GET /runs/{run_id}")]: { "run-state": "created, in-progress, awaiting, cancelling, cancelled, completed, failed." },
  [document("GET /runs/{run_id}/events")]: { events: "The log holds the very events of the stream." },
  [document("POST /runs/{run_id}")]: {
    await: "A run that awaits is resumed in any mode; one that does not is refused.",
    "resume-body": "The run's id stands in the body, too.",
    "await-refused": "What is no answer is invalid_input and leaves the run as it was.",
  },
  [document("POST /runs/{run_id}/cancel")]: {
    cancel: "202 cancelling, then cancelled, in a stream and while awaiting too; a run that has ended is refused.",
  },
  [document("GET /session/{session_id}, Session")]: {
    sessions: "History is a list of resource URLs, in order; also under /sessions, as the reference server has it.",
    "session-path": "A server that has sessions under this path only is asked there.",
    "session-forwarded": "Another server goes on with a session that it is given; its history stays where it is.",
    "session-failed": "Failed and cancelled runs add nothing.",
  },
  [document("Error")]: {
    errors: "server_error, invalid_input, not_found, in ACP's form, whatever was sent.",
    "run-errors": "What the agent throws is the failed run's error.",
    "run-end": "A run ends once; nothing is added after it.",
    fuzz: "Anything sent to anything is answered in ACP's form and never brings the host down.",
  },
  "acp-sdk for Python 1.0.3": {
    "python-client": "Its client, which names no content type and writes null, is served.",
    "python-stream": "Streams hold no character at which its reader of streams would cut a line.",
    "python-names": "Agents of its server whose names are no RFC 1123 labels are called as they are.",
  },
  [ours("host")]: {
    "lost-client": "A client that goes away does not end its run.",
    size: "64 MiB a body; more is 413.",
    prefix: "Resources have the prefix of the mount; other routes of the server keep their own errors.",
    close: "Closing gives up the runs at work and leaves nobody waiting.",
    forgets: "Runs are in memory: a new process says not_found.",
    "await-expires": "A run that nobody answers is given up after the retention time.",
    retention: "What is kept is bounded in number, age and size; unfinished runs in number.",
  },
  [ours("client")]: {
    modes: "sync, async and stream carry the same; the run's id is told when it is known.",
    "client-sync": "One round trip, with no more on the wire than the document asks for.",
    "client-stream": "Events of the answer one to one.",
    "client-await": "An awaiting run is a failure with the question, which can be answered.",
    heartbeat: "GET /ping, native; it does not tell the incarnation.",
    reconnect: "Ping and manifest, then the state of each run whose end was not seen.",
    recreate: "not_found after a restart: the work is unknown and has to be created again.",
    resume: "The event log read again, each event told once.",
    conversations: "A conversation is a session; its history goes along from server to server.",
    "history-lost": "History dies with its host: the conversation goes on without it, or its run fails.",
    "session-ids": "One UUID per conversation.",
    strangers: "Servers that know nothing of us are met and asked.",
    "bad-stream": "A stream that ends early, says error or is no ACP is a typed failure.",
    "bad-answer": "An answer that is no run is a typed failure.",
    "stream-cut": "A stream cut at any byte is a failure, or was whole.",
    config: "Unknown keys and values out of range are bad input.",
  },
};

export const requirements: readonly Requirement[] = Object.entries(rows).flatMap(([section, claims]) =>
  Object.entries(claims).map(([id, behaviour]) => ({ id: `acp-${id}`, section, behaviour })),
);
