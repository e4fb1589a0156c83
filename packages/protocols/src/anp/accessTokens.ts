import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { isObject, parseJson } from "./json.ts";

export interface AccessTokens {
  /** Value of `Authentication-Info` (ANP-02 §3.2.3): the caller's token, a new one when the last is half spent. */
  issue(did: string): string;
  /** The DID a token was issued to, while it is good; else null. */
  verify(token: string): string | null;
}

interface Verified {
  readonly did: string;
  /** Ms since the Unix epoch. */
  readonly until: number;
}

/** Tokens that were made or verified once are not made or verified again soon: an HMAC costs as much as parsing the request. */
const MAX_REMEMBERED = 1_000;

const HEADER = Buffer.from('{"alg":"HS256","typ":"JWT"}').toString("base64url");

/**
 * Bearer tokens as JWTs. Their secret lives and dies with the process: a restarted agent refuses the tokens of the one before it,
 * and its peers sign again. `now` gives ms since the Unix epoch.
 */
export function createAccessTokens(lifetimeMs: number, now: () => number): AccessTokens {
  const secret = randomBytes(32);
  const mac = (text: string): string => createHmac("sha256", secret).update(text).digest("base64url");
  const lifetimeS = Math.ceil(lifetimeMs / 1000);
  const verified = new Map<string, Verified>();
  const latest = new Map<string, { readonly token: string; readonly exp: number }>();
  const sign = (did: string, iat: number): string => {
    const payload = JSON.stringify({ sub: did, iat, exp: iat + lifetimeS });
    const signed = `${HEADER}.${Buffer.from(payload).toString("base64url")}`;
    return `${signed}.${mac(signed)}`;
  };
  const check = (token: string): Verified | null => {
    const end = token.lastIndexOf(".");
    const given = Buffer.from(token.slice(end + 1));
    const right = Buffer.from(mac(token.slice(0, Math.max(0, end))));
    if (given.length !== right.length || !timingSafeEqual(given, right)) return null;
    const payload = parseJson(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
    if (!isObject(payload) || typeof payload["sub"] !== "string" || typeof payload["exp"] !== "number") return null;
    return { did: payload["sub"], until: payload["exp"] * 1000 };
  };
  return {
    issue(did) {
      const nowS = Math.floor(now() / 1000);
      let issued = latest.get(did);
      if (issued === undefined || issued.exp - nowS < lifetimeS / 2) {
        issued = { token: sign(did, nowS), exp: nowS + lifetimeS };
        if (latest.size >= MAX_REMEMBERED) latest.clear();
        latest.set(did, issued);
      }
      return `access_token="${issued.token}", token_type="Bearer", expires_in=${issued.exp - nowS}`;
    },
    verify(token) {
      const known = verified.get(token);
      if (known !== undefined) return known.until > now() ? known.did : null;
      const fresh = check(token);
      if (fresh === null || fresh.until <= now()) return null;
      if (verified.size >= MAX_REMEMBERED) verified.clear();
      verified.set(token, fresh);
      return fresh.did;
    },
  };
}
