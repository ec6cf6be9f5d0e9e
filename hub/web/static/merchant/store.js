// Keys lie in IndexedDB, as keys that no script can read out; only using them is possible.

import { Trouble } from "./trouble.js";

const STORE = "identities";

function promised(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(new Trouble("no-storage")));
  });
}

async function within(database, mode, work) {
  let opening;
  try {
    opening = indexedDB.open(database, 1);
  } catch {
    throw new Trouble("no-storage"); // some private windows refuse at once
  }
  opening.addEventListener("upgradeneeded", () => opening.result.createObjectStore(STORE));
  const db = await promised(opening);
  try {
    const transaction = db.transaction(STORE, mode);
    const done = new Promise((resolve, reject) => {
      transaction.addEventListener("complete", resolve);
      transaction.addEventListener("abort", () => reject(new Trouble("no-storage")));
    });
    const result = await promised(work(transaction.objectStore(STORE)));
    await done;
    return result;
  } finally {
    db.close();
  }
}

export const OWN = "digua-merchant";
export const COUNTER = "digua-counter";

// {alg, jwk, privateKey, kid (pseudonym in hexadecimal, null until the invitation told it), made, state}, or undefined.
export async function load(database = OWN) {
  return within(database, "readonly", (store) => store.get("own"));
}

export async function keep(identity, database = OWN) {
  await within(database, "readwrite", (store) => store.put(identity, "own"));
}

// Receipts lie beside the key, under names of their own; JSON lines, as `digua-hub audit reconcile` reads them.
export async function addReceipt(acknowledged, database = OWN) {
  await within(database, "readwrite", (store) => store.put(acknowledged, `receipt:${acknowledged.receipt}`));
}

export async function receiptLines(database = OWN) {
  const range = IDBKeyRange.bound("receipt:", "receipt:\uffff");
  const kept = await within(database, "readonly", (store) => store.getAll(range));
  return kept.map((each) => `${JSON.stringify(each)}\n`).join("");
}

// The key that the answer to a ticket is sealed to: {publicKey, privateKey}.
export async function keepReplyKey(ticketId, key, database = OWN) {
  await within(database, "readwrite", (store) => store.put(key, `ticket:${ticketId}`));
}

export async function replyKey(ticketId, database = OWN) {
  return within(database, "readonly", (store) => store.get(`ticket:${ticketId}`));
}

// Delete the whole database, so that nothing of a key stays behind.
export async function wipe(database = OWN) {
  await new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(database);
    request.addEventListener("success", resolve);
    request.addEventListener("error", () => reject(new Trouble("no-storage")));
    request.addEventListener("blocked", () => reject(new Trouble("wipe-blocked")));
  });
}
