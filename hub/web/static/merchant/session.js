// Whose key this page uses: the merchant's own in this browser, or at a counter (?counter=1) the one made there.

import { COUNTER, OWN, load } from "./store.js";
import { element, say, text } from "./trouble.js";

export const atCounter = new URL(location.href).searchParams.get("counter") === "1";
export const database = atCounter ? COUNTER : OWN;

export function parameter(name) {
  return new URL(location.href).searchParams.get(name);
}

// Say that this is a counter, and keep the mode on all links between the merchant's pages.
export function markCounter(root = document) {
  if (!atCounter) return;
  for (const banner of root.querySelectorAll("[data-counter]")) banner.hidden = false;
  for (const link of root.querySelectorAll("a[href^='/merchant']")) {
    const url = new URL(link.href);
    url.searchParams.set("counter", "1");
    link.href = url.pathname + url.search + url.hash;
  }
}

export async function identity() {
  return load(database);
}

// What a page shows where no key is: words and two doors.
export function withoutKey() {
  return element(
    "div",
    { class: "empty" },
    element("p", { class: "what" }, text("no-key")),
    element("p", {}, text("no-key.remedy")),
    element("p", {}, element("a", { class: "button quiet", href: "/merchant/keys#sheet" }, text("no-key.sheet")), " ",
      element("a", { class: "button quiet", href: "/merchant/keys#lost" }, text("no-key.lost"))),
  );
}

// Run a page's beginning, and say what goes wrong in it.
export async function begin(work) {
  try {
    markCounter();
    await work();
  } catch (error) {
    say(error);
    for (const region of document.querySelectorAll("[data-view]")) {
      region.replaceChildren();
      region.removeAttribute("aria-busy");
    }
  }
}

// Run what a press asks for, with the button out of use meanwhile, so that nothing is signed twice.
export function onPress(button, work) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      say(error);
    } finally {
      button.disabled = false;
    }
  });
}
