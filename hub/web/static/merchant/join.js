// An invitation: the link's fragment holds the token; this browser makes the key and offers its public part under it.

import { fromBase64url, toHex } from "./bytes.js";
import { moment } from "./canonical.js";
import { postJson, postToken } from "./hub.js";
import { offerToken, stateQuestion, tokenHash } from "./joining.js";
import { checkBrowser, comparison, makeKey } from "./keys.js";
import { atCounter, begin, database, identity, onPress } from "./session.js";
import { keep, wipe } from "./store.js";
import { Trouble, clear, text } from "./trouble.js";

const start = document.querySelector('[data-join="start"]');
const done = document.querySelector('[data-join="done"]');
const make = document.querySelector("[data-make]");
const EVERY_MS = 6000; // the hub takes 30 such questions a minute from one address

async function offer(token) {
  const made = await makeKey({ extractable: atCounter });
  // Kept before it is offered: a key whose offer arrived and whose answer was lost must not be gone.
  const own = { ...made, kid: null, made: moment(new Date()), invitation: toHex(await tokenHash(token)) };
  const earlier = await identity();
  await keep(own, database);
  try {
    await keep(named(own, await postToken("/v1/invitations/key", await offerToken(token, made))), database);
  } catch (error) {
    if (error.problem) await (earlier === undefined ? wipe(database) : keep(earlier, database)); // the hub said no
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

async function standing(token) {
  return postJson("/v1/invitations/state", await stateQuestion(token));
}

async function showDone(inviter, own) {
  start.hidden = true;
  done.hidden = false;
  done.querySelector("[data-said]").textContent = text("key-offered", { inviter });
  done.querySelector("[data-compare]").textContent = await comparison(own.jwk);
}

async function wait(token) {
  const place = done.querySelector("[data-standing]");
  for (;;) {
    const { state } = await standing(token);
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
  const invitation = await standing(token);
  const inviter = invitation.inviter_title || invitation.inviter;
  start.querySelector("[data-inviter]").textContent = inviter;
  start.querySelector("[data-expires]").textContent = new Date(invitation.expires_at).toLocaleString(document.documentElement.lang);
  const own = await identity();
  if (own?.invitation === toHex(await tokenHash(token)) && invitation.state !== "open") {
    await keep(named(own, invitation), database); // the same link again, after the answer was lost or the page closed
    await showDone(inviter, own);
    await wait(token);
    return;
  }
  const work = async () => {
    clear();
    await offer(token);
    await showDone(inviter, await identity());
    void wait(token);
  };
  onPress(document.querySelector("[data-replace-key]"), work);
  onPress(make, work);
  const held = own !== undefined && own.kid !== null;
  document.querySelector("[data-replace]").hidden = !held;
  make.hidden = held;
  make.disabled = false;
});
