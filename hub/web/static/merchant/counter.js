// The counter: open an invitation for a merchant, give its key away as a sheet, wipe this browser.

import { saveJson, saveText } from "./files.js";
import { comparison } from "./keys.js";
import { begin, onPress } from "./session.js";
import { seal } from "./sheet.js";
import { COUNTER, load, receiptLines, wipe } from "./store.js";
import { Trouble, clear, say, text } from "./trouble.js";

const steps = { open: document.querySelector('[data-step="open"]'), finish: document.querySelector('[data-step="finish"]') };

function tokenIn(words) {
  const token = words.trim().split("#").at(-1);
  if (!/^[A-Za-z0-9_-]{16,200}$/.test(token)) throw new Trouble("no-invitation");
  return token;
}

function onSubmit(form, work) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clear();
    try {
      await work();
    } catch (error) {
      say(error);
    }
  });
}

async function sealSheet(own) {
  const [password, again] = ["password", "again"].map((name) => document.getElementById(name));
  if (password.value !== again.value) throw new Trouble("password-differs");
  const sheet = await seal(own, password.value);
  password.value = again.value = "";
  const receipts = await receiptLines(COUNTER);
  if (receipts !== "") saveText(receipts, "digua-receipts.ndjson", "application/x-ndjson");
  saveJson(sheet, `digua-key-${own.kid.slice(0, 8)}.json`);
  document.querySelector("[data-sealed]").textContent = text("sheet-made");
}

await begin(async () => {
  const own = await load(COUNTER);
  onSubmit(steps.open.querySelector("form"), () => {
    location.assign(`/merchant/join?counter=1#${tokenIn(document.getElementById("link").value)}`);
  });
  if (!own?.kid) return;
  steps.open.hidden = true;
  steps.finish.hidden = false;
  steps.finish.querySelector("[data-compare]").textContent = await comparison(own.jwk);
  steps.finish.querySelector("[data-kid]").textContent = own.kid;
  steps.finish.querySelector("[data-origin]").textContent = `${location.origin}/merchant/keys`;
  onSubmit(steps.finish.querySelector("[data-seal]"), () => sealSheet(own));
  document.querySelector("[data-print]").addEventListener("click", () => window.print());
  onPress(document.querySelector("[data-wipe]"), async () => {
    await wipe(COUNTER);
    steps.finish.hidden = true;
    steps.open.hidden = false;
    const said = document.querySelector("[data-wiped]");
    said.textContent = text("counter-wiped");
    said.hidden = false;
  });
});
