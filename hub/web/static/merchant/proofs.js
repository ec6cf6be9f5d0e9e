// Checking, in this browser, that the log holds what the hub says: RFC 9162 inclusion, C2SP signed checkpoints, and the
// opening of an entry's commitments with the salt that the hub gave.

import { concat, equal, fromBase64, fromBase64url, sha256, toHex, utf8 } from "./bytes.js";
import { importEd25519, verifyBytes } from "./keys.js";
import { Trouble } from "./trouble.js";

const PLAIN = 0x01;
const COSIGNATURE = 0x04;

export async function leafHash(leaf) {
  return sha256(concat(Uint8Array.of(0), leaf));
}

async function nodeHash(left, right) {
  return sha256(concat(Uint8Array.of(1), left, right));
}

// RFC 9162, 2.1.3.2. Sizes stay below 2^53, so plain division takes the place of shifts.
export async function rootFrom(index, size, leaf, path) {
  if (!(Number.isSafeInteger(index) && Number.isSafeInteger(size) && index >= 0 && index < size)) {
    throw new Trouble("proof-wrong");
  }
  let [fn, sn, hash] = [index, size - 1, leaf];
  for (const step of path) {
    if (sn === 0) throw new Trouble("proof-wrong");
    if (fn % 2 === 1 || fn === sn) {
      hash = await nodeHash(step, hash);
      while (fn % 2 === 0 && fn !== 0) {
        fn /= 2;
        sn = Math.floor(sn / 2);
      }
    } else {
      hash = await nodeHash(hash, step);
    }
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  if (sn !== 0) throw new Trouble("proof-wrong");
  return hash;
}

// A signed note taken apart: {origin, size, root, body, lines}; nothing is verified yet.
export function parseNote(note) {
  const cut = note.indexOf("\n\n");
  const body = note.slice(0, cut + 1);
  const [origin, size, root, ...rest] = body.split("\n");
  if (cut < 0 || rest.length !== 1 || !/^(0|[1-9][0-9]{0,15})$/.test(size ?? "")) throw new Trouble("checkpoint-wrong");
  const lines = [...note.slice(cut + 2).matchAll(/^— ([^ +]+) ([A-Za-z0-9+/]+={0,2})$/gm)];
  const signatures = lines.map(([, name, signed]) => ({ name, signed: fromBase64(signed) }));
  return { origin, size: Number(size), root: fromBase64(root), body, signatures };
}

async function keyId(name, key, kind) {
  return (await sha256(concat(utf8(`${name}\n`), Uint8Array.of(kind), key))).slice(0, 4);
}

async function signedBy(note, name, key, kind) {
  const id = await keyId(name, key, kind);
  const line = note.signatures.find((each) => each.name === name && equal(each.signed.slice(0, 4), id));
  if (line === undefined) return null;
  const blob = line.signed.slice(4);
  const publicKey = await importEd25519(key);
  if (kind === PLAIN) return (await verifyBytes("Ed25519", publicKey, blob, utf8(note.body))) ? 0 : null;
  const time = Number(new DataView(blob.buffer, blob.byteOffset, 8).getBigUint64(0));
  const signed = utf8(`cosignature/v1\ntime ${time}\n${note.body}`);
  return (await verifyBytes("Ed25519", publicKey, blob.slice(8), signed)) ? time : null;
}

// The hub's key of now and those that it followed: what is older was signed with them.
export const hubKeys = (info) => [info.sign_key, ...(info.former_keys ?? [])];

// A checkpoint that the hub signed and the witness cosigned. → {size, root, cosignedAt (Unix seconds)}.
export async function verifyCheckpoint(text, info) {
  const note = parseNote(text);
  let hub = null;
  for (const each of hubKeys(info)) hub ??= await signedBy(note, info.origin, fromBase64url(each), PLAIN);
  if (hub === null || note.origin !== info.origin || info.witness === null) throw new Trouble("checkpoint-wrong");
  const { party_id: name, sign_key: key } = info.witness;
  const cosignedAt = await signedBy(note, name, fromBase64url(key), COSIGNATURE);
  if (cosignedAt === null) throw new Trouble("checkpoint-wrong");
  return { size: note.size, root: note.root, cosignedAt };
}

export async function checkInclusion(leafText, index, hashes, checkpoint) {
  const found = await rootFrom(index, checkpoint.size, await leafHash(utf8(leafText)), hashes.map(fromBase64url));
  if (!equal(found, checkpoint.root)) throw new Trouble("proof-wrong");
}

// That an entry is about this merchant, and (where given) about this consent: salted hashes, opened.
export async function checkOpening(leafText, salt, pseudonym, recordId = null) {
  const entry = JSON.parse(leafText);
  const subject = await sha256(concat(salt, pseudonym));
  if (typeof entry.subject !== "string" || !equal(fromBase64url(entry.subject), subject)) throw new Trouble("proof-wrong");
  if (recordId !== null) {
    if (entry.facts.consent !== toHex(await sha256(concat(salt, utf8(recordId))))) throw new Trouble("proof-wrong");
  }
  return entry;
}
