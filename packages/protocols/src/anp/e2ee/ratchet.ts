import type { KeyObject } from "node:crypto";
import { isObject } from "../json.ts";
import { RpcError } from "../rpc.ts";
import {
  type AgreementPair,
  agreementKey,
  type InitialSecrets,
  type MessageKey,
  newAgreementPair,
  nextMessageKey,
  nextRoot,
  seal,
  unseal,
} from "./keySchedule.ts";

/** How many messages of a chain may be missing (ANP-P5 §11.3, the recommended value). */
const MAX_SKIP = 1000;
/** Keys of missing messages, over all chains of a session; the oldest go first. */
const MAX_SKIPPED_KEYS = 2 * MAX_SKIP;

/** §10.2: numbers travel as decimal text. */
export interface RatchetHeader {
  readonly dh_pub_b64u: string;
  readonly pn: string;
  readonly n: string;
}

const COUNT = /^(?:0|[1-9]\d{0,9})$/;

/** Checks a header; null when it is none. */
export function readHeader(value: unknown): (RatchetHeader & { readonly peer: KeyObject }) | null {
  if (!isObject(value) || Object.keys(value).length !== 3) return null;
  const { dh_pub_b64u, pn, n } = value;
  if (typeof pn !== "string" || typeof n !== "string" || !COUNT.test(pn) || !COUNT.test(n)) return null;
  const peer = agreementKey(dh_pub_b64u);
  return peer === null ? null : { dh_pub_b64u: dh_pub_b64u as string, pn, n, peer };
}

type ReadHeader = RatchetHeader & { readonly peer: KeyObject };

/** What changes from message to message; replaced as a whole, so that a message that fails has changed nothing. */
interface State {
  readonly root: Buffer;
  readonly own: AgreementPair;
  /** The peer's ratchet key; null until its first message. */
  readonly peer: string | null;
  readonly sendChain: Buffer | null;
  readonly receiveChain: Buffer | null;
  readonly sent: number;
  readonly received: number;
  readonly sentBefore: number;
}

const failed = (): RpcError => new RpcError("anp.direct.e2ee.decrypt_failed", "the message cannot be decrypted");

/** The Double-Ratchet-like state of one session (ANP-P5 §9.4, §10). */
export class Ratchet {
  private state: State;
  private readonly skipped = new Map<string, MessageKey>();

  private constructor(state: State) {
    this.state = state;
  }

  /** After the initial message was sealed with the chain's message 0 (§9.4.5); nothing can be sealed until the peer has answered. */
  static ofInitiator({ root, chain }: InitialSecrets, ephemeral: AgreementPair): Ratchet {
    const none = { peer: null, receiveChain: null, received: 0, sentBefore: 0 };
    return new Ratchet({ ...none, root, own: ephemeral, sendChain: nextMessageKey(chain).chain, sent: 1 });
  }

  /** After the initial message was opened (§9.4.7). */
  static ofRecipient({ root, chain }: InitialSecrets, ephemeral: KeyObject, ephemeralText: string): Ratchet {
    const own = newAgreementPair();
    const next = nextRoot(root, own.privateKey, ephemeral);
    if (next === null) throw failed();
    const receiveChain = nextMessageKey(chain).chain;
    const state = { peer: ephemeralText, receiveChain, received: 1, sent: 0, sentBefore: 0 };
    return new Ratchet({ ...state, root: next.root, own, sendChain: next.chain });
  }

  /** Whether the peer's first message is still awaited. */
  get isPending(): boolean {
    return this.state.peer === null;
  }

  /** `RatchetEncrypt` (§10.2.3.1). */
  seal(plaintext: string, associated: (header: RatchetHeader) => string): { header: RatchetHeader; ciphertext: string } {
    const { state } = this;
    if (this.isPending || state.sendChain === null) throw new RangeError("a session whose peer has not answered seals nothing");
    const { chain, message } = nextMessageKey(state.sendChain);
    const header = { dh_pub_b64u: state.own.publicText, n: `${state.sent}`, pn: `${state.sentBefore}` };
    const ciphertext = seal(message, plaintext, associated(header));
    this.state = { ...state, sendChain: chain, sent: state.sent + 1 };
    return { header, ciphertext };
  }

  /** `RatchetDecrypt` (§10.2.3.4, for the first reply §9.4.9). Throws RpcError, and is then what it was before. */
  open(header: ReadHeader, ciphertext: unknown, associated: string): string {
    const name = `${header.dh_pub_b64u} ${Number(header.n)}`;
    const kept = this.skipped.get(name);
    if (kept !== undefined) {
      // Whether it opens the message or not (§10.2.3.2).
      this.skipped.delete(name);
      const plaintext = unseal(kept, ciphertext, associated);
      if (plaintext === null) throw failed();
      return plaintext;
    }
    const found: Array<readonly [string, MessageKey]> = [];
    let { state } = this;
    if (header.dh_pub_b64u !== state.peer) {
      if (state.peer === null && (header.pn !== "0" || header.n !== "0"))
        throw new RpcError("anp.direct.e2ee.bad_init_message", "the first message of the peer is number 0");
      if (state.peer !== null) state = skip(state, Number(header.pn), found);
      state = turn(state, header);
    }
    const n = Number(header.n);
    if (n < state.received || state.receiveChain === null) throw failed();
    state = skip(state, n, found);
    const { chain, message } = nextMessageKey(state.receiveChain as Buffer);
    const plaintext = unseal(message, ciphertext, associated);
    if (plaintext === null) throw failed();
    this.state = { ...state, receiveChain: chain, received: n + 1 };
    for (const [key, value] of found) this.skipped.set(key, value);
    for (const oldest of this.skipped.keys()) {
      if (this.skipped.size <= MAX_SKIPPED_KEYS) break;
      this.skipped.delete(oldest);
    }
    return plaintext;
  }
}

/** `SkipMessageKeys` (§10.2.3.3): the keys of the messages before `until` are put into `found`. */
function skip(state: State, until: number, found: Array<readonly [string, MessageKey]>): State {
  if (until - state.received > MAX_SKIP)
    throw new RpcError("anp.direct.e2ee.max_skip_exceeded", `more than ${MAX_SKIP} messages are missing`);
  let { receiveChain, received } = state;
  while (receiveChain !== null && received < until) {
    const { chain, message } = nextMessageKey(receiveChain);
    found.push([`${state.peer} ${received}`, message]);
    receiveChain = chain;
    received += 1;
  }
  return { ...state, receiveChain, received };
}

/** The Diffie-Hellman ratchet (§10.2.2). */
function turn(state: State, { dh_pub_b64u, peer }: ReadHeader): State {
  const receiving = nextRoot(state.root, state.own.privateKey, peer);
  const own = newAgreementPair();
  const sending = receiving === null ? null : nextRoot(receiving.root, own.privateKey, peer);
  if (receiving === null || sending === null) throw failed();
  return {
    root: sending.root,
    own,
    peer: dh_pub_b64u,
    sendChain: sending.chain,
    receiveChain: receiving.chain,
    sent: 0,
    received: 0,
    sentBefore: state.sent,
  };
}
