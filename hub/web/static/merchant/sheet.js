// Key sheets: a key that was made in a counter's browser goes home with the merchant, under a password of the
// merchant's own. PBKDF2-SHA-256 and AES-256-GCM by WebCrypto; the public part of the sheet is authenticated with it.

import { fromBase64url, random, toBase64url, utf8 } from "./bytes.js";
import { canonical } from "./canonical.js";
import { importPrivate, importPublic, signBytes, verifyBytes } from "./keys.js";
import { Trouble } from "./trouble.js";

export const ITERATIONS = 600_000;
export const MIN_PASSWORD = 10;
const FORMAT = "digua-key-sheet-1";
const PUBLIC = ["format", "kid", "alg", "jwk", "made", "iterations"];

async function sheetKey(password, salt, iterations) {
  const material = await crypto.subtle.importKey("raw", utf8(password.normalize("NFKC")), "PBKDF2", false, ["deriveKey"]);
  const derivation = { name: "PBKDF2", hash: "SHA-256", salt, iterations };
  return crypto.subtle.deriveKey(derivation, material, { name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
}

function publicPart(sheet) {
  return canonical(Object.fromEntries(PUBLIC.map((name) => [name, sheet[name]])));
}

// `own.privateKey` must be extractable. → the sheet, to be written as JSON.
export async function seal(own, password) {
  if ([...password].length < MIN_PASSWORD) throw new Trouble("password-short");
  const [salt, iv] = [random(16), random(12)];
  const sheet = { format: FORMAT, kid: own.kid, alg: own.alg, jwk: own.jwk, made: own.made, iterations: ITERATIONS };
  const key = await sheetKey(password, salt, ITERATIONS);
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", own.privateKey);
  const cipher = { name: "AES-GCM", iv, additionalData: publicPart(sheet) };
  const sealed = new Uint8Array(await crypto.subtle.encrypt(cipher, key, pkcs8));
  return { ...sheet, salt: toBase64url(salt), iv: toBase64url(iv), sealed: toBase64url(sealed) };
}

// → an identity whose key no script can read out again.
export async function open(text, password) {
  const sheet = readSheet(text);
  const key = await sheetKey(password, fromBase64url(sheet.salt), sheet.iterations);
  const cipher = { name: "AES-GCM", iv: fromBase64url(sheet.iv), additionalData: publicPart(sheet) };
  let pkcs8;
  try {
    pkcs8 = await crypto.subtle.decrypt(cipher, key, fromBase64url(sheet.sealed));
  } catch {
    throw new Trouble("sheet-locked");
  }
  const privateKey = await importPrivate(sheet.alg, pkcs8);
  const probe = random(32);
  const publicKey = await importPublic(sheet.alg, sheet.jwk);
  if (!(await verifyBytes(sheet.alg, publicKey, await signBytes(sheet.alg, privateKey, probe), probe))) {
    throw new Trouble("sheet-wrong");
  }
  return { alg: sheet.alg, jwk: sheet.jwk, privateKey, kid: sheet.kid, made: sheet.made };
}

function readSheet(text) {
  let sheet;
  try {
    sheet = JSON.parse(text);
  } catch {
    throw new Trouble("sheet-wrong");
  }
  const texts = ["kid", "made", "salt", "iv", "sealed"];
  const whole =
    sheet?.format === FORMAT &&
    ["Ed25519", "ES256"].includes(sheet.alg) &&
    Number.isSafeInteger(sheet.iterations) &&
    sheet.iterations >= ITERATIONS &&
    sheet.iterations <= 100 * ITERATIONS &&
    typeof sheet.jwk === "object" &&
    texts.every((name) => typeof sheet[name] === "string") &&
    /^[0-9a-f]{64}$/.test(sheet.kid);
  if (!whole) throw new Trouble("sheet-wrong");
  return sheet;
}
