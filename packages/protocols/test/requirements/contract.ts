import type { Requirement } from "../requirements.ts";

const rows: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  Protocol: {
    found: "By name, by path, by package name; else bad input.",
    info: "Name, version, capabilities and heartbeat agree with each other and with the operations that are there.",
    config: "parseConfig takes an absent section and refuses unknown keys by name.",
  },
  "CommBackend.connect": {
    connect: "Tells who answers, its incarnation and its present capabilities; executes nothing.",
    "connect-again": "Takes no more round trips than getReconnectionInfo declares.",
    "somebody-else": "Another agent at the address is a failure.",
    elsewhere: "An agent that moved is reached where it is registered.",
  },
  "CommBackend.healthCheck": { probe: "One round trip, no heavier than a message, no execution; its own incarnation or null." },
  "CommBackend.hostPlugin": { mount: "Works under any prefix, several on one server." },
  "CommBackend.send": {
    text: "Words arrive unchanged, both ways.",
    parts: "Parts arrive unchanged and in order, both ways.",
    "several-events": "All events of an answer are in it, in order.",
    "no-words": "An execution that says nothing is answered with nothing.",
    big: "8 MB in either direction.",
    concurrent: "1 000 at once, all under way together, each with its own answer.",
    "both-ways": "Two agents may call each other in the middle of a call.",
    context: "Messages with a context id are answered like others.",
    "remote-error":
      "An execution that throws is CommError remote with its words and the protocol's error; it is not kept as the answer.",
  },
  "SendOptions.idempotencyKey": {
    "no-key": "Without one, equal messages are executed each.",
    idempotent: "Declared: a repeated key is executed once; onDeduplicated is told the key.",
    "idempotent-at-once": "Declared: also while the first is under way.",
    "not-idempotent": "Not declared: a repeated key is executed again; onDeduplicated is not called.",
  },
  "SendOptions.onEvent": {
    stream: "Declared streaming: events arrive before the answer is complete.",
    "stream-long": "Declared streaming: many events, none lost, in order.",
    "stream-error": "A failure after the first event is CommError remote.",
    "no-stream": "Not declared: the answer comes all the same.",
  },
  "CommBackend.cancel": {
    cancel: "Aborts the signal of the execution; the send fails with remote.",
    "cancel-unknown": "Of unknown work is CommError remote.",
  },
  "CommBackend.resume": {
    resume: "The answer to work whose first connection was lost, during it and after it; nothing is executed again.",
    "resume-unknown": "Of unknown work is CommError remote.",
  },
  CommError: {
    refused: "Nobody listens.",
    "unknown-agent": "Never registered, or forgotten by close.",
    reset: "The connection was cut before or during the answer.",
    "half-open": "timeout at the deadline when no answer comes.",
    trickle: "timeout at the deadline when the answer does not end.",
    garbage: "What is no answer of the protocol is a typed failure.",
    slow: "A slow answer counts; a deadline before it is timeout, at the deadline.",
    abort: "aborted, with the caller's reason as the cause; not sent when it was given up before.",
  },
  "ExecutionContext.signal": { "lost-client": "A caller that goes away does not cancel." },
  Traffic: {
    bytes: "Every byte on the client's sockets belongs to exactly one operation.",
    "bytes-of-failures": "A failure carries its traffic.",
    tags: "Traffic is measured under the caller's cause and kind and the peer.",
  },
  "a connection that breaks": {
    "cut-answer": "An answer cut at any byte is a failure, noticed at once.",
    "cut-request": "A request cut at any byte is not executed.",
    replay: "With authentication or idempotency: a replayed message is not executed.",
    nonsense: "Nonsense does not bring a host down.",
  },
  "an agent that dies": {
    "dies-mid-request": "SIGKILL while it works: reset, then refused.",
    "dies-mid-stream": "SIGKILL between events: reset after the first event.",
    "restart-with-state": "Back with its workspace: met in the declared round trips, served, orphaned work decided.",
    "restart-without-state": "Back with nothing: met, served, orphaned work unknown.",
    "caller-restarts":
      "A caller that comes back, with or without its workspace, is served within the time a process takes to start.",
  },
  "CommBackend.close": { close: "Nothing keeps the process alive." },
};

export const requirements: readonly Requirement[] = Object.entries(rows).flatMap(([section, claims]) =>
  Object.entries(claims).map(([id, behaviour]) => ({
    id: `contract-${id}`,
    section: `packages/core/src/comm.ts, ${section}`,
    behaviour,
  })),
);
