import type { Requirement } from "../requirements.ts";

const standard = (section: string): string => `Agora Working Standard 0.2, ${section}`;
const library = "agora-protocol/python 0.2.0";
const demo = "agora-protocol/paper-demo";
const older = "agoraprotocol.org, specs.html of 2024";
const ours = (what: string): string => `packages/protocols/README.md, Agora: ${what}`;

const rows: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  [standard("5.1")]: { "content-type": "JSON in and out; any other content type is 415." },
  [standard("5.2")]: { "base-url": "A base URL that ends with a slash is as good." },
  [standard("6.1")]: {
    request: "A body that is a string or an object; without a hash it is natural language; unknown fields are ignored.",
    sources: "A document that is not known is taken from its sources: texts, data: URIs, references.",
    "sources-format": "Sources that are no texts are passed over, not refused.",
  },
  [standard("6.2")]: { response: "status is success, with a body and no error, or failure, with an error and no body." },
  [standard("7.1, 7.2")]: {
    conversation: "multiround opens a conversation: an id and a Unix time; later messages go to /conversations/{id}.",
    "one-protocol": "A message that changes the conversation's protocol is malformed: 400.",
  },
  [standard("7.3")]: {
    expiry: "Served before the second it was told, refused from it on: HTTP 200, Conversation expired; each message extends it.",
  },
  [standard("8.1")]: {
    document: "YAML with name, description and multiround, a line of dashes, the specification.",
    "document-yaml": "An author's further entries, comments, quoted keys and lists in it do no harm.",
  },
  [standard("8.2")]: { hash: "40 hexadecimal digits: the SHA-1 of the whole text." },
  [standard("8.3")]: {
    unsupported: "What is not known, does not match its hash or is no document: HTTP 200, Unsupported protocol.",
  },
  [standard("9")]: {
    wellknown: "Every supported document by its hash, with a list of sources, the text first; what is listed is supported.",
    "wellknown-optional": "A server without it is met all the same.",
  },
  [standard("10.1")]: {
    "transport-errors":
      "400 malformed, 404 unknown, 413 too large, 415 no JSON, 500 the agent's own failure; all in Agora's form.",
    "unknown-conversation": "404.",
    "transport-bodies": "As a client: an error's HTTP status counts, whatever its body is.",
  },
  [standard("10.2")]: { "agora-errors": "What cannot be processed by a rule of Agora is HTTP 200 with status failure." },
  [standard("10.3")]: {
    "protocol-errors": "What breaks the document's rules is a success whose body says so as the document prescribes.",
  },
  [library]: {
    "library-client": "Base64 hashes, negotiation in words, bodies of JSON as strings, hashes repeated in conversations, DELETE.",
    "library-server": "Its servers get the fields they need; its error fields are understood.",
  },
  [demo]: {
    "demo-client": "Its messages are answered: [null] for no sources, negotiation as JSON in a string, with an id of its own.",
    "demo-server": "Its wellknown is read.",
  },
  [older]: { "dot-wellknown": "GET /.wellknown: the hashes, each with a list of URIs." },
  [ours("natural language")]: {
    "natural-language": "What we say in words comes back exactly; what others say is taken as the words it is.",
    frequent:
      "The first frequent_after messages of a kind to a peer are words; the next negotiates a document, the others do not wait.",
  },
  [ours("negotiation")]: {
    negotiation: "What is accepted is supported from then on.",
    counter: "What cannot be served is countered with a document that can; the conversation ends with its acceptance.",
    refused: "Where a peer will have no document, messages stay words, until it is met again.",
    offer:
      "A peer that does not negotiate as we do may take the document from its source; where it fails at that, messages stay words.",
    adopt: "A document that a peer lists and we can serve is used without a negotiation.",
    foreign: "foreign_documents: reject takes only documents that a routine is written for.",
  },
  [ours("after a crash")]: {
    "known-hash": "One round trip to meet the peer, and nothing more.",
    resend:
      "A receiver that lost its documents gets the source with the message: no further round trip once it was met, else one.",
    reopen: "A conversation that was lost or has expired is opened again.",
    renegotiate: "A document that nobody has any more is negotiated again.",
    agreements: "What was agreed outlives the process.",
    store: "Documents outlive the process; a file that was cut short is dropped.",
  },
  [ours("bounds")]: {
    "source-bounds":
      "Sources are fetched from loopback, peers and configured hosts only, bounded in size, time and number, without redirects.",
    "store-bounds": "256 documents and 1 MB; strangers' go first.",
    "conversation-bounds": "10 000 conversations; the one that was silent longest goes first.",
    robust: "Whatever is thrown at the host, it answers in Agora's form and goes on.",
  },
  [ours("added")]: {
    describe: "Who an agent is, its incarnation and capabilities: a document in wellknown.",
    alive: "GET /alive: the lightest probe, with the incarnation.",
    "served-documents": "GET /documents/{hash}: the text.",
    "no-idempotency": "A repeated message is executed again.",
    prefix: "The host works under a path prefix, beside others that post to theirs.",
    config: "Unknown keys, values out of range and a negotiator that is not there are bad input.",
  },
};

export const requirements: readonly Requirement[] = Object.entries(rows).flatMap(([section, claims]) =>
  Object.entries(claims).map(([id, behaviour]) => ({ id: `agora-${id}`, section, behaviour })),
);
