// The Merkle tree of RFC 9162 and signed notes (C2SP), checked with the browser's own WebCrypto.
// Nothing here trusts the server: it is given what the page shows, and says what it found.

const encoder = new TextEncoder();

export const utf8 = (text) => encoder.encode(text);

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

export const equal = (a, b) => a.length === b.length && a.every((byte, place) => byte === b[place]);

export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export function fromHex(text) {
  if (!/^([0-9a-f]{2})*$/.test(text)) throw new Error("not hexadecimal");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

export const fromBase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

export async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

export const leafHash = (leaf) => sha256(concat(Uint8Array.of(0), leaf));

const nodeHash = (left, right) => sha256(concat(Uint8Array.of(1), left, right));

// Sizes stay below 2^53: plain division takes the place of shifts.
const half = (number) => Math.floor(number / 2);

// RFC 9162, 2.1.3.2 and 2.1.4.2: from a node up; → the head over left siblings only, over all, and each hash on the way.
async function climb(fn, sn, start, path) {
  let [oldHead, newHead] = [start, start];
  const steps = [];
  for (const sibling of path) {
    if (sn === 0) throw new Error("too long");
    const left = fn % 2 === 1 || fn === sn;
    if (left) {
      [oldHead, newHead] = await Promise.all([nodeHash(sibling, oldHead), nodeHash(sibling, newHead)]);
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [half(fn), half(sn)];
    } else {
      newHead = await nodeHash(newHead, sibling);
    }
    steps.push({ left, hash: newHead });
    [fn, sn] = [half(fn), half(sn)];
  }
  if (sn !== 0) throw new Error("too short");
  return { oldHead, newHead, steps };
}

export async function inclusion(leaf, index, size, path) {
  if (!(Number.isSafeInteger(index) && Number.isSafeInteger(size) && index >= 0 && index < size)) {
    throw new Error("no such leaf");
  }
  const { newHead, steps } = await climb(index, size - 1, leaf, path);
  return { root: newHead, steps };
}

export async function consistent(first, second, path) {
  if (first.size > second.size || first.size === 0) return false;
  if (first.size === second.size) return path.length === 0 && equal(first.root, second.root);
  let [fn, sn, rest] = [first.size - 1, second.size - 1, [...path]];
  while (fn % 2 === 1) [fn, sn] = [half(fn), half(sn)];
  if (fn === 0) rest = [first.root, ...rest];
  if (rest.length === 0) return false;
  const { oldHead, newHead } = await climb(fn, sn, rest[0], rest.slice(1));
  return equal(oldHead, first.root) && equal(newHead, second.root);
}

// → {origin, size, root, body, lines: [{name, keyId, blob}]}; nothing is verified yet.
export function parseNote(text) {
  const cut = text.indexOf("\n\n");
  const body = text.slice(0, cut + 1);
  const [origin, size, root, ...rest] = body.split("\n");
  if (cut < 0 || rest.length !== 1 || !/^(0|[1-9][0-9]{0,15})$/.test(size)) throw new Error("no checkpoint");
  const lines = [...text.slice(cut + 2).matchAll(/^\u2014 ([^ +]+) ([A-Za-z0-9+/]+={0,2})$/gm)].map(([, name, signed]) => {
    const bytes = fromBase64(signed);
    return { name, keyId: bytes.slice(0, 4), blob: bytes.slice(4) };
  });
  return { origin, size: Number(size), root: fromBase64(root), body, lines };
}

// → "valid", "wrong", or "unknown" where the browser has no Ed25519. A witness's line states its time and signs it too.
export async function signedBy(note, name, key) {
  for (const kind of [1, 4]) {
    const id = (await sha256(concat(utf8(`${name}\n`), Uint8Array.of(kind), key))).slice(0, 4);
    const line = note.lines.find((each) => each.name === name && equal(each.keyId, id));
    if (line === undefined) continue;
    let publicKey;
    try {
      publicKey = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
    } catch (error) {
      if (error.name === "NotSupportedError") return "unknown";
      throw error;
    }
    let [signature, message] = [line.blob, utf8(note.body)];
    if (kind === 4) {
      const time = new DataView(line.blob.buffer, line.blob.byteOffset, 8).getBigUint64(0);
      signature = line.blob.slice(8);
      message = utf8(`cosignature/v1\ntime ${time}\n${note.body}`);
    }
    return (await crypto.subtle.verify({ name: "Ed25519" }, publicKey, signature, message)) ? "valid" : "wrong";
  }
  return "wrong";
}
