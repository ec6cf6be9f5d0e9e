// Compact JWS (RFC 7515) over exact bytes. The protected header is exactly alg, kid and typ, as the product demands.

import { fromBase64url, toBase64url, utf8 } from "./bytes.js";
import { canonical } from "./canonical.js";
import { signBytes } from "./keys.js";

// `own`: {alg, privateKey, kid}; → token. WebCrypto's ECDSA signature is r ‖ s, which is what ES256 wants.
export async function signToken(payload, own, typ) {
  const header = toBase64url(utf8(JSON.stringify({ alg: own.alg, kid: own.kid, typ: `digua/${typ}+json` })));
  const signed = `${header}.${toBase64url(payload)}`;
  return `${signed}.${toBase64url(await signBytes(own.alg, own.privateKey, utf8(signed)))}`;
}

export async function signArtefact(artefact, own, typ) {
  return signToken(canonical(artefact), own, typ);
}

// The payload, unverified: of what this browser signed itself, or of what the hub says it stored.
export function payloadOf(token) {
  return fromBase64url(token.split(".")[1]);
}
