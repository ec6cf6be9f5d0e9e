// An invitation: the link's fragment holds the token; this browser makes the key and offers its public part under it.

import { canonical, moment } from "./canonical.js";
import { fromBase64url, sha256, toHex, toWire, utf8 } from "./bytes.js";
import { postJson, postToken } from "./hub.js";
import { signArtefact } from "./jws.js";
import { checkBrowser, comparison, makeKey } from "./keys.js";
import { atCounter, begin, database, identity, onPress } from "./session.js";
import { keep } from "./store.js";
import { Trouble, clear, text } from "./trouble.js";

const start = document.querySelector('[data-join="start"]');
const done = document.querySelector('[data-join="done"]');
const make = document.querySelector("[data-make]");
const EVERY_MS = 3000;

// HMAC-SHA256 under the token's text over the canonical JSON of the key: only the inviter, who made the token, can check
// it; so the hub cannot put a key of its own in this one's place.
async function proofOf(token, jwk) {
  const key = await crypto.subtle.importKey("raw", utf8(token), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, canonical(jwk)));
}

async function offer(token) {
  const hash = await sha256(utf8(token));
  const made = await makeKey({ extractable: atCounter });
  const now = moment(new Date());
  const body = {
    suite: "digua-1",
    token_sha256: toWire(hash),
    jwk: made.jwk,
    proof: toWire(await proofOf(token, made.jwk)),
    time: now,
  };
  // Kept before it is sent: a key whose offer arrived and whose answer was lost must not be gone.
  const own = { ...made, kid: null, made: now, invitation: toHex(hash) };
  const earlier = await identity();
  await keep(own, database);
  const offered = await signArtefact(body, { ...made, kid: toHex(hash) }, "merchant-key-offer");
  try {
    await keep(named(own, await postToken("/v1/invitations/key", offered)), database);
  } catch (error) {
    if (error.problem && earlier !== undefined) await keep(earlier, database); // the hub said no: the old key stays
    throw error;
  }
}

function named(own, answer) {
  return {
    ...own,
    kid: toHex(fromBase64url(answer.pii_principal_id)),
    inviter: answer.inviter,
    inviterTitle: answer.inviter_title,
  };
}

async function standing(hash) {
  return postJson("/v1/invitations/state", { token_sha256: toWire(hash) });
}

async function showDone(inviter, own) {
  start.hidden = true;
  done.hidden = false;
  done.querySelector("[data-said]").textContent = text("key-offered", { inviter });
  done.querySelector("[data-compare]").textContent = await comparison(own.jwk);
}

async function wait(hash) {
  const place = done.querySelector("[data-standing]");
  for (;;) {
    const { state } = await standing(hash);
    place.textContent = text(state === "enrolled" ? "key-enrolled" : "key-waiting");
    place.className = `notice ${state === "enrolled" ? "good" : "info"}`;
    place.dataset.standing = state;
    if (state === "enrolled") return;
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

await begin(async () => {
  checkBrowser();
  const token = location.hash.slice(1);
  if (!/^[A-Za-z0-9_-]{16,200}$/.test(token)) throw new Trouble("no-invitation");
  const hash = await sha256(utf8(token));
  const invitation = await standing(hash);
  const inviter = invitation.inviter_title || invitation.inviter;
  start.querySelector("[data-inviter]").textContent = inviter;
  start.querySelector("[data-expires]").textContent = new Date(invitation.expires_at).toLocaleString(document.documentElement.lang);
  const own = await identity();
  if (own?.invitation === toHex(hash) && invitation.state !== "open") {
    await keep(named(own, invitation), database); // the same link again, after the answer was lost or the page closed
    await showDone(inviter, own);
    await wait(hash);
    return;
  }
  const work = async () => {
    clear();
    await offer(token);
    await showDone(inviter, await identity());
    void wait(hash);
  };
  onPress(document.querySelector("[data-replace-key]"), work);
  onPress(make, work);
  const held = own !== undefined && own.kid !== null;
  document.querySelector("[data-replace]").hidden = !held;
  make.hidden = held;
  make.disabled = false;
});
