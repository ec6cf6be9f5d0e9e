// The key in this browser, those that are enrolled, and bringing in a key sheet.

import { comparison } from "./keys.js";
import { open } from "./sheet.js";
import { begin, database, identity } from "./session.js";
import { keep } from "./store.js";
import { clear, say, text } from "./trouble.js";
import { show } from "./views.js";

const region = document.querySelector("[data-view]");

async function showOwn() {
  const own = await identity();
  document.querySelector('[data-key="none"]').hidden = Boolean(own);
  const some = document.querySelector('[data-key="some"]');
  some.hidden = !own;
  if (!own) return;
  some.querySelector("[data-compare]").textContent = await comparison(own.jwk);
  some.querySelector("[data-made]").textContent = new Date(own.made).toLocaleString(document.documentElement.lang);
  some.querySelector("[data-alg]").textContent = own.alg;
}

async function bringIn(form) {
  const [file] = form.querySelector('input[type="file"]').files;
  const password = form.querySelector('input[type="password"]');
  await keep(await open(await file.text(), password.value), database);
  form.reset();
  document.querySelector("[data-sheet-said]").textContent = text("sheet-opened");
  await showOwn();
  await show(region);
}

await begin(async () => {
  const form = document.querySelector("[data-sheet]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clear();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      await bringIn(form);
    } catch (error) {
      say(error);
    } finally {
      button.disabled = false;
    }
  });
  await showOwn();
  await show(region);
});
