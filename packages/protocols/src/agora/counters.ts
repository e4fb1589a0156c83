/**
 * How often what happened, since this backend was made. The first four are the ways back after a crash, from the cheapest:
 * a known hash costs no round trip beyond the handshake; sources cost bytes, and a round trip where the loss was not known; a reopened
 * conversation costs the one that failed; a renegotiation costs that and the proposal.
 */
export interface AgoraCounters {
  /** A peer still knew an agreed document when it was met again. */
  knownHash: number;
  /** A peer had lost an agreed document and got its source with the message. */
  resentSources: number;
  /** A conversation had expired, or its server had lost it, and was opened again. */
  reopened: number;
  /** A document that had been agreed was to be had nowhere any more, and another one was negotiated. */
  renegotiated: number;
  /** A document was agreed for the first time, by negotiation. */
  negotiated: number;
  /** A document was agreed because the peer lists it. */
  adopted: number;
  /** A peer that does not negotiate as we do took a document from its source. */
  offered: number;
  /** A peer would have no document: its messages stay in natural language. */
  refused: number;
  /** Messages sent under a protocol document. */
  byHash: number;
  /** Messages sent in natural language. */
  naturalLanguage: number;
  /** As a server: sources fetched over the network, whether they turned out to be the document or not. */
  sourceFetches: number;
}

export const noCounts = (): AgoraCounters => ({
  knownHash: 0,
  resentSources: 0,
  reopened: 0,
  renegotiated: 0,
  negotiated: 0,
  adopted: 0,
  offered: 0,
  refused: 0,
  byHash: 0,
  naturalLanguage: 0,
  sourceFetches: 0,
});
