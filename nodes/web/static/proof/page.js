// Checks the proof that a page shows, from the very texts that it shows, and marks each step.

import { consistent, equal, fromHex, inclusion, leafHash, parseNote, signedBy, toHex, utf8 } from "./tree.js";

const proof = document.querySelector("[data-proof]");

function mark(name, result) {
  for (const each of proof.querySelectorAll(`[data-mark="${name}"] [data-when]`)) {
    each.hidden = each.dataset.when !== result;
  }
}

function put(selector, text) {
  for (const place of proof.querySelectorAll(selector)) place.textContent = text;
}

const shown = (selector) => proof.querySelector(selector).textContent;
const path = () => Array.from(proof.querySelectorAll("[data-sibling]"), (each) => fromHex(each.textContent.trim()));

async function signatures(note, prefix) {
  let all = "valid";
  for (const signer of proof.querySelectorAll("[data-signer]")) {
    const result = await signedBy(note, signer.dataset.signer, fromHex(signer.dataset.key)).catch(() => "wrong");
    mark(`${prefix}${signer.dataset.signer}`, result);
    if (result === "wrong") all = "wrong";
    else if (result === "unknown" && all === "valid") all = "unknown";
  }
  return all;
}

async function checkInclusion() {
  const note = parseNote(shown("[data-note]"));
  const leaf = await leafHash(utf8(shown("[data-leaf]")));
  put("[data-leaf-hash]", toHex(leaf));
  put("[data-root]", toHex(note.root));
  let leads = false;
  try {
    const { root, steps } = await inclusion(leaf, Number(proof.dataset.index), note.size, path());
    const places = proof.querySelectorAll("[data-step]");
    steps.forEach((step, place) => {
      places[place].querySelector("[data-hash]").textContent = toHex(step.hash);
    });
    put("[data-found-root]", toHex(root));
    leads = equal(root, note.root);
  } catch {
    put("[data-found-root]", "–");
  }
  mark("path", leads ? "valid" : "wrong");
  return [leads ? "valid" : "wrong", await signatures(note, "signature-")];
}

async function checkConsistency() {
  const first = parseNote(shown('[data-note="old"]'));
  const second = parseNote(shown('[data-note="new"]'));
  const holds = first.origin === second.origin && (await consistent(first, second, path()).catch(() => false));
  mark("path", holds ? "valid" : "wrong");
  return [holds ? "valid" : "wrong", await signatures(first, "old-"), await signatures(second, "new-")];
}

async function check() {
  mark("verdict", "working");
  let results;
  try {
    results = await (proof.dataset.proof === "inclusion" ? checkInclusion() : checkConsistency());
  } catch {
    results = ["wrong"];
  }
  const verdict = results.includes("wrong") ? "wrong" : results.includes("unknown") ? "unknown" : "valid";
  mark("verdict", verdict);
  proof.dataset.verdict = verdict;
}

if (proof !== null) {
  proof.querySelector("[data-again]").addEventListener("click", check);
  if (globalThis.crypto?.subtle) await check();
  else mark("verdict", "insecure");
}
