import type { Beliefs } from "./beliefs.ts";
import { askAgainAt, hear, NEVER, type Peer, type Phase } from "./peer.ts";
import type { DetectorInput } from "./types.ts";

/*
 * What direct contact with a peer, or its failure, says, whatever kind of detector asks. Invariant, cited elsewhere as [3]: life after
 * death, or after a closed stream, takes the answer to a probe sent after it. Whatever else arrives may have been under way when the
 * peer died, so it only prompts a probe.
 */

/**
 * A dying process may still accept a connection and reset it, and so do connections to it that were open: so often a failed probe of a
 * closed peer is repeated at once, and after that every so often, until it is refused, answered, or has been silent for too long.
 */
const MAX_CONFIRMATIONS = 3;
/** Of the interval. */
const ASK_AGAIN_SHARE = 1 / 20;

export type ContactInput = Extract<DetectorInput, { kind: "answered" | "heard" | "closed" | "gone" }>;
type SignalInput = Extract<ContactInput, { kind: "closed" | "gone" }>;

/** Whether the kernel says it. */
export const isSignal = (input: ContactInput): input is SignalInput => input.kind === "closed" || input.kind === "gone";

/** An answer, a message or closed streams: all name a process of the peer, or at least its address. */
export function makeContact(beliefs: Beliefs, input: ContactInput, now: number): void {
  if (isSignal(input) && !beliefs.options.transportSignals) return;
  const peer = beliefs.peers.get(input.peer);
  if (peer === undefined) {
    if (!isSignal(input) && input.incarnation !== null) beliefs.welcome(input.peer, input.incarnation, "probe", now);
    return;
  }
  if (input.kind === "answered") beliefs.news.noteRoundTrip(now - input.sentAt);
  const incarnation = input.incarnation ?? peer.incarnation;
  if (incarnation < peer.incarnation) return; // [2]
  if (incarnation > peer.incarnation) {
    beliefs.declareNewIncarnation(peer, incarnation, "incarnation", now);
    hear(peer, now);
  }
  if (input.kind === "answered" && peer.closed !== null && input.sentAt >= peer.closed.at) peer.closed = null;
  if (input.kind === "closed") streamClosed(beliefs, peer, now);
  else if (input.kind === "gone") bothStreamsEnded(beliefs, peer, now);
  else if (peer.phase.name === "dead") lifeAfterDeath(beliefs, peer, peer.phase, input, now);
  else if (peer.phase.name === "suspect") {
    const { closedAt } = peer.phase;
    const proven = closedAt === null || (input.kind === "answered" && input.sentAt >= closedAt);
    // A suspicion's silence runs on until it is refuted.
    if (proven || peer.phase.by === null) hear(peer, now);
    else peer.lastHeard = now;
    if (proven) beliefs.declareAlive(peer, "probe", now); // [3]
  } else hear(peer, now);
}

function streamClosed(beliefs: Beliefs, peer: Peer, now: number): void {
  const { phase } = peer;
  if (phase.name === "dead") return;
  if (!peer.monitored) {
    if (peer.closed !== null) return;
    peer.closed = { at: now, asked: 0 };
    beliefs.probe(peer, now);
    return;
  }
  if (phase.name === "suspect" && phase.closedAt !== null) return;
  peer.closed = null;
  if (phase.name === "alive") beliefs.announce(peer, "suspect", "transport");
  peer.phase = { name: "suspect", closedAt: now, asked: 0, askAt: null, by: phase.name === "suspect" ? phase.by : null };
  beliefs.probe(peer, now);
}

function bothStreamsEnded(beliefs: Beliefs, peer: Peer, now: number): void {
  if (peer.phase.name !== "dead") beliefs.declareDead(peer, "transport", now);
}

function lifeAfterDeath(
  beliefs: Beliefs,
  peer: Peer,
  phase: Extract<Phase, { name: "dead" }>,
  input: Exclude<ContactInput, SignalInput>,
  now: number,
): void {
  const { declaredAt } = phase;
  if (input.kind === "answered" && input.sentAt >= declaredAt) {
    if (input.incarnation === null) {
      phase.answers = true;
      beliefs.act({ kind: "identify", peer: peer.id });
      return;
    }
    hear(peer, now);
    beliefs.declareAlive(peer, "probe", now);
    return;
  }
  if (input.kind === "heard" && phase.answers) {
    hear(peer, now); // who answered has said who it is
    beliefs.declareAlive(peer, "probe", now);
    return;
  }
  const asked = peer.probedAt >= declaredAt && now - peer.probedAt < beliefs.options.intervalMs;
  if (!asked) beliefs.probe(peer, now); // [3]
}

/**
 * A probe of a peer whose stream was closed has failed: refused, it is gone. Answers whether it was of such a peer. One that others monitor is
 * not suspected: without a refusal its life is for them to judge.
 */
export function confirmClosed(beliefs: Beliefs, peer: Peer, refused: boolean, sentAt: number, now: number): boolean {
  const { phase, closed } = peer;
  if (closed !== null && phase.name !== "dead") {
    if (sentAt < closed.at) return false;
    if (refused) beliefs.declareDead(peer, "transport", now);
    else if (closed.asked < MAX_CONFIRMATIONS) {
      closed.asked += 1;
      beliefs.probe(peer, now);
    } else peer.closed = null;
    return true;
  }
  if (phase.name !== "suspect" || phase.closedAt === null) return false;
  if (refused) beliefs.declareDead(peer, "transport", now);
  else if (sentAt >= phase.closedAt && phase.asked < MAX_CONFIRMATIONS) {
    phase.asked += 1;
    beliefs.probe(peer, now);
  } else if (sentAt >= phase.closedAt) phase.askAt = now + beliefs.options.intervalMs * ASK_AGAIN_SHARE;
  return true;
}

/** Asks a peer whose stream was closed once more, when it is time to. */
export function askClosedAgain(beliefs: Beliefs, peer: Peer, now: number): void {
  if (peer.phase.name !== "suspect" || now < askAgainAt(peer)) return;
  peer.phase.askAt = null;
  beliefs.probe(peer, now);
}

/** A failed probe that says nothing: the peer was heard since it was sent, or this agent was not listening itself. */
export const saysNothing = (peer: Peer, refused: boolean, sentAt: number, stalledAt = NEVER): boolean =>
  peer.lastHeard > sentAt || (sentAt < stalledAt && !refused);
