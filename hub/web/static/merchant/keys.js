// The merchant's signing key: made by WebCrypto, Ed25519 where the browser has it, else ES256 (ECDSA on P-256).

import { canonical } from "./canonical.js";
import { sha256, toBase64url } from "./bytes.js";
import { Trouble } from "./trouble.js";

const MEMBERS = { OKP: ["kty", "crv", "x"], EC: ["kty", "crv", "x", "y"] };
const ALGORITHMS = {
  Ed25519: { make: { name: "Ed25519" }, sign: { name: "Ed25519" } },
  ES256: { make: { name: "ECDSA", namedCurve: "P-256" }, sign: { name: "ECDSA", hash: "SHA-256" } },
};

// Throws Trouble where this browser, or this address, lets no key be made or kept.
export function checkBrowser() {
  if (!globalThis.isSecureContext) throw new Trouble("insecure-address");
  if (!globalThis.crypto?.subtle) throw new Trouble("no-webcrypto");
  if (!globalThis.indexedDB) throw new Trouble("no-storage");
}

// → {alg, jwk (public), privateKey}. `extractable` only for a key that is to be put on a key sheet.
export async function makeKey({ extractable = false, alg = null } = {}) {
  checkBrowser();
  for (const name of alg === null ? ["Ed25519", "ES256"] : [alg]) {
    try {
      const pair = await crypto.subtle.generateKey(ALGORITHMS[name].make, extractable, ["sign", "verify"]);
      const jwk = publicMembers(await crypto.subtle.exportKey("jwk", pair.publicKey));
      return { alg: name, jwk, privateKey: pair.privateKey };
    } catch (error) {
      if (error.name !== "NotSupportedError") throw error;
    }
  }
  throw new Trouble("no-webcrypto");
}

// Only the members that make the key: browsers add alg, key_ops and ext.
export function publicMembers(jwk) {
  return Object.fromEntries(MEMBERS[jwk.kty].map((name) => [name, jwk[name]]));
}

export async function importPrivate(alg, pkcs8, extractable = false) {
  return crypto.subtle.importKey("pkcs8", pkcs8, ALGORITHMS[alg].make, extractable, ["sign"]);
}

export async function importPublic(alg, jwk) {
  return crypto.subtle.importKey("jwk", { ...jwk }, ALGORITHMS[alg].make, true, ["verify"]);
}

// A party's Ed25519 key out of its 32 bytes.
export async function importEd25519(raw) {
  try {
    return await importPublic("Ed25519", { kty: "OKP", crv: "Ed25519", x: toBase64url(raw) });
  } catch (error) {
    if (error.name === "NotSupportedError") throw new Trouble("no-ed25519");
    throw error;
  }
}

export async function signBytes(alg, privateKey, bytes) {
  return new Uint8Array(await crypto.subtle.sign(ALGORITHMS[alg].sign, privateKey, bytes));
}

export async function verifyBytes(alg, publicKey, signature, bytes) {
  return crypto.subtle.verify(ALGORITHMS[alg].sign, publicKey, signature, bytes);
}

// The key's name for machines: its JWK thumbprint (RFC 7638), base64url.
export async function thumbprint(jwk) {
  return toBase64url(await sha256(canonical(publicMembers(jwk))));
}

// The same for people to compare aloud: six groups of four characters.
export async function comparison(jwk) {
  const digest = await sha256(canonical(publicMembers(jwk)));
  const hex = Array.from(digest.slice(0, 12), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.match(/.{4}/g).join(" ");
}
