// Sealed texts of tickets and answers, as crypto/ticket_boxes.py seals and opens them: HPKE base mode (RFC 9180) with
// X25519, HKDF-SHA256 and AES-256-GCM. WebCrypto has the primitives and not the scheme; what is here is the scheme alone,
// labels and order as sections 4 and 5 of that RFC have them.

import { concat, textOf, utf8 } from "./bytes.js";
import { canonical } from "./canonical.js";
import { Trouble } from "./trouble.js";

const X25519 = { name: "X25519" };
const KEM = concat(utf8("KEM"), two(0x0020));
const SUITE = concat(utf8("HPKE"), two(0x0020), two(0x0001), two(0x0002));
const NOTHING = new Uint8Array(0);
const PUBLIC_BYTES = 32;
export const TEXT_CHARACTERS = 2000;
const PADDED_BYTES = 8192;

function two(number) {
  return Uint8Array.of(number >> 8, number & 255);
}

async function hmac(key, data) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, data));
}

// An empty salt is one of zeros (RFC 5869); WebCrypto takes no empty key.
async function extract(suite, salt, label, material) {
  return hmac(salt.length ? salt : new Uint8Array(32), concat(utf8("HPKE-v1"), suite, utf8(label), material));
}

// One block of HKDF-Expand is enough: nothing here is longer than 32 bytes.
async function expand(suite, secret, label, info, length) {
  const labelled = concat(two(length), utf8("HPKE-v1"), suite, utf8(label), info, Uint8Array.of(1));
  return (await hmac(secret, labelled)).slice(0, length);
}

async function agreed(privateKey, publicKey) {
  return new Uint8Array(await crypto.subtle.deriveBits({ ...X25519, public: publicKey }, privateKey, 256));
}

async function keyAndNonce(shared, encapsulated, recipient, info) {
  const prk = await extract(KEM, NOTHING, "eae_prk", shared);
  const secretOfKem = await expand(KEM, prk, "shared_secret", concat(encapsulated, recipient), 32);
  const context = concat(
    Uint8Array.of(0),
    await extract(SUITE, NOTHING, "psk_id_hash", NOTHING),
    await extract(SUITE, NOTHING, "info_hash", info),
  );
  const secret = await extract(SUITE, secretOfKem, "secret", NOTHING);
  const raw = await expand(SUITE, secret, "key", context, 32);
  const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"]);
  return { key, nonce: await expand(SUITE, secret, "base_nonce", context, 12) };
}

async function importBoxKey(raw) {
  return crypto.subtle.importKey("raw", raw, X25519, true, []);
}

async function pair(extractable) {
  try {
    return await crypto.subtle.generateKey(X25519, extractable, ["deriveBits"]);
  } catch (error) {
    if (error.name !== "NotSupportedError") throw error;
    throw new Trouble("no-webcrypto");
  }
}

async function rawOf(publicKey) {
  return new Uint8Array(await crypto.subtle.exportKey("raw", publicKey));
}

// The key that an answer is sealed to: → {publicKey (32 bytes), privateKey}. Keep both with the ticket.
export async function makeReplyKey() {
  const made = await pair(false);
  return { publicKey: await rawOf(made.publicKey), privateKey: made.privateKey };
}

// What a box is bound to. `kid`: the merchant's pseudonym in hexadecimal; `direction`: "question" or "answer".
export function ticketContext(ticketId, kid, partyId, direction) {
  return canonical({
    purpose: "ticket",
    ticket_id: ticketId,
    merchant: kid,
    party_id: partyId,
    direction,
    suite: "digua-1",
  });
}

// → bytes, as many for every text. `recipient`: the party's box key from the roster, 32 bytes.
export async function sealText(text, recipient, context) {
  const data = utf8(text);
  if (!text.trim() || [...text].length > TEXT_CHARACTERS) throw new RangeError("1 to 2,000 characters");
  const padded = new Uint8Array(PADDED_BYTES);
  padded.set(two(data.length));
  padded.set(data, 2);
  const once = await pair(true);
  const encapsulated = await rawOf(once.publicKey);
  const shared = await agreed(once.privateKey, await importBoxKey(recipient));
  const { key, nonce } = await keyAndNonce(shared, encapsulated, recipient, context);
  const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce }, key, padded);
  return concat(encapsulated, new Uint8Array(sealed));
}

// Throws (OperationError, TypeError, RangeError) where it does not open under this key and context, or holds no text.
export async function openText(sealed, own, context) {
  const encapsulated = sealed.slice(0, PUBLIC_BYTES);
  const shared = await agreed(own.privateKey, await importBoxKey(encapsulated));
  const { key, nonce } = await keyAndNonce(shared, encapsulated, own.publicKey, context);
  const plain = await crypto.subtle.decrypt({ name: "AES-GCM", iv: nonce }, key, sealed.slice(PUBLIC_BYTES));
  const padded = new Uint8Array(plain);
  const length = padded.length === PADDED_BYTES ? padded[0] * 256 + padded[1] : PADDED_BYTES;
  if (length === 0 || length > PADDED_BYTES - 2 || padded.slice(2 + length).some((byte) => byte !== 0)) {
    throw new RangeError("there is no text inside");
  }
  return textOf(padded.slice(2, 2 + length));
}
