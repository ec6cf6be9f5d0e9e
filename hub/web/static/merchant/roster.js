// The institutions as the witness signed them: whose box a text is sealed to is not the hub's to say.

import { fromBase64url, textOf, utf8 } from "./bytes.js";
import { getJson, getText } from "./hub.js";
import { importEd25519, verifyBytes } from "./keys.js";
import { Trouble } from "./trouble.js";

async function verified(token, info) {
  const [header, payload, signature] = token.trim().split(".");
  const said = JSON.parse(textOf(fromBase64url(header)));
  const { party_id: witness, sign_key: key } = info.witness ?? {};
  if (!witness || said.alg !== "Ed25519" || said.typ !== "digua/roster+json" || said.kid !== witness) {
    throw new Trouble("roster-wrong");
  }
  const publicKey = await importEd25519(fromBase64url(key));
  if (!(await verifyBytes("Ed25519", publicKey, fromBase64url(signature), utf8(`${header}.${payload}`)))) {
    throw new Trouble("roster-wrong");
  }
  return JSON.parse(textOf(fromBase64url(payload)));
}

// → the 32 bytes of the X25519 key that the cosigned roster has for this party.
export async function boxKeyOf(partyId) {
  const [info, token] = await Promise.all([getJson("/v1/info"), getText("/v1/roster")]);
  const roster = await verified(token, info);
  const party = roster.parties.find((each) => each.party_id === partyId);
  if (party === undefined) throw new Trouble("roster-wrong");
  return fromBase64url(party.box_key);
}
