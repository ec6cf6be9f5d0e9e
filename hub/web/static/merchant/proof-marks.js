// The marks beside entries: each is looked up in the public log, and checked here.

import { fromHex } from "./bytes.js";
import { getJson, getText } from "./hub.js";
import { checkInclusion, checkOpening, verifyCheckpoint } from "./proofs.js";
import { describe, say, text } from "./trouble.js";

export async function checkAll(root, own) {
  const marks = [...root.querySelectorAll("[data-proof]")];
  if (marks.length === 0) return;
  for (const mark of marks) mark.textContent = text("proof-checking");
  let checkpoint;
  try {
    const [info, note] = await Promise.all([getJson("/v1/info"), getText("/v1/log/checkpoint")]);
    checkpoint = await verifyCheckpoint(note, info);
  } catch (error) {
    for (const mark of marks) set(mark, "bad", describe(error).title);
    if (error.code === "checkpoint-wrong") say(error);
    return;
  }
  for (const mark of marks) await checkOne(mark, checkpoint, fromHex(own.kid));
}

async function checkOne(mark, checkpoint, pseudonym) {
  const { entry, salt, about } = mark.dataset;
  const index = Number(mark.dataset.proof);
  if (index >= checkpoint.size) {
    set(mark, "neutral", text("proof-waiting"));
    return;
  }
  try {
    const { hashes } = await getJson(`/v1/log/inclusion?index=${index}&size=${checkpoint.size}`);
    await checkInclusion(entry, index, hashes, checkpoint);
    await checkOpening(entry, fromHex(salt), pseudonym, about ?? null);
    set(mark, "good", text("proof-good", { index }));
  } catch (error) {
    set(mark, "bad", describe(error).title);
    if (error.code === "proof-wrong") say(error);
  }
}

function set(mark, tone, words) {
  mark.className = `proof ${tone}`;
  mark.textContent = words;
}
