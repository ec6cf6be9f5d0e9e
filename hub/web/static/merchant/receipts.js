// The hub's receipts for what was signed: its promise of a log entry and of the institutions' feeds, which it cannot take
// back (crypto/consent_receipts.py). Checked here, kept here; whoever keeps one can show a hub that withheld something.

import { concat, equal, fromBase64url, sha256, textOf, toHex, utf8 } from "./bytes.js";
import { getJson, postJson } from "./hub.js";
import { payloadOf } from "./jws.js";
import { importEd25519, verifyBytes } from "./keys.js";
import { hubKeys, leafHash } from "./proofs.js";
import { addReceipt } from "./store.js";
import { Trouble } from "./trouble.js";

const PATHS = { consent: "/v1/consents", "consent-event": "/v1/consent-events" };

// Submit one signed artefact, check the receipt, keep it.
export async function submit(kind, token, database) {
  const { receipts } = await postJson(PATHS[kind], { tokens: [token] });
  const [acknowledged] = receipts;
  if (acknowledged === null) return; // stored earlier, and its link to the log erased since
  await check(kind, token, acknowledged, await getJson("/v1/info"));
  await addReceipt(acknowledged, database);
}

export async function check(kind, token, acknowledged, info) {
  const wrong = () => new Trouble("receipt-wrong");
  const [header, payload, signature] = acknowledged.receipt.split(".");
  const said = JSON.parse(textOf(fromBase64url(header)));
  if (said.alg !== "Ed25519" || said.typ !== "digua/consent-receipt+json" || said.kid !== info.hub_id) throw wrong();
  let keys;
  try {
    keys = await Promise.all(hubKeys(info).map((each) => importEd25519(fromBase64url(each))));
  } catch (error) {
    if (error.code === "no-ed25519") return; // an old browser keeps what it cannot check; others can
    throw error;
  }
  const signed = utf8(`${header}.${payload}`);
  const tried = keys.map((key) => verifyBytes("Ed25519", key, fromBase64url(signature), signed));
  if (!(await Promise.all(tried)).includes(true)) throw wrong();
  const receipt = JSON.parse(textOf(fromBase64url(payload)));
  const artefact = await sha256(payloadOf(token));
  const committed = toHex(await sha256(concat(fromBase64url(acknowledged.salt), artefact)));
  const entry = JSON.parse(acknowledged.entry);
  const good =
    receipt.kind === kind &&
    equal(fromBase64url(receipt.sha256), artefact) &&
    equal(fromBase64url(receipt.leaf), await leafHash(utf8(acknowledged.entry))) &&
    entry.type === kind &&
    entry.facts.artefact === committed;
  if (!good) throw wrong();
}
