// A merchant's new key under an invitation, as crypto/wire/invitation.py has it. The token comes in the link's fragment and
// goes nowhere: the hub sees its hash alone, and the inviter checks the HMAC.

import { sha256, toHex, toWire, utf8 } from "./bytes.js";
import { canonical, moment } from "./canonical.js";
import { publicMembers } from "./keys.js";
import { signArtefact } from "./jws.js";

export async function tokenHash(token) {
  return sha256(utf8(token));
}

// Body of POST /v1/invitations/state.
export async function stateQuestion(token) {
  return { token_sha256: toWire(await tokenHash(token)) };
}

// JWS for POST /v1/invitations/key. `made`: {alg, jwk, privateKey} from makeKey.
export async function offerToken(token, made, now = new Date()) {
  const hash = await tokenHash(token);
  const jwk = publicMembers(made.jwk);
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const secret = await crypto.subtle.importKey("raw", utf8(token), algorithm, false, ["sign"]);
  const proof = new Uint8Array(await crypto.subtle.sign("HMAC", secret, canonical(jwk)));
  const offer = {
    suite: "digua-1",
    token_sha256: toWire(hash),
    jwk,
    proof: toWire(proof),
    time: moment(now),
  };
  return signArtefact(offer, { alg: made.alg, privateKey: made.privateKey, kid: toHex(hash) }, "merchant-key-offer");
}
