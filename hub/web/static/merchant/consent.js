// One request: what was ticked, what is still missing, and the signature over exactly that.

import { consentRecord, consentToken, eventToken } from "./artefacts.js";
import { follow } from "./delivery.js";
import { postToken } from "./hub.js";
import { submit } from "./receipts.js";
import { atCounter, begin, database, onPress, parameter } from "./session.js";
import { clear, element, text } from "./trouble.js";
import { show } from "./views.js";

const region = document.querySelector("[data-view]");

function ticked(form) {
  const values = (name) => [...form.querySelectorAll(`input[name="${name}"]:checked`)];
  return {
    purposes: values("purpose").map((box) => box.value),
    recipients: values("recipient").map((box) => box.value),
    separate: values("separate").map((box) => [box.dataset.recipient, box.value]),
    adverse: values("adverse").length === 1,
  };
}

// The texts of what is missing before a signature makes sense, each with the box to go to.
function missing(form, ticks) {
  const found = [];
  const need = (name, selector, places = {}) => found.push([text(name, places), form.querySelector(selector)]);
  if (ticks.purposes.length === 0) need("need-purpose", 'input[name="purpose"]');
  if (ticks.recipients.length === 0) need("need-recipient", 'input[name="recipient"]');
  for (const group of form.querySelectorAll("fieldset.recipient")) {
    const box = group.querySelector('input[name="recipient"]');
    const some = group.querySelector('input[name="separate"]:checked') !== null;
    const places = { name: group.dataset.name };
    if (box.checked && !some) found.push([text("need-category", places), group.querySelector('input[name="separate"]')]);
    if (!box.checked && some) found.push([text("need-recipient-of", places), box]);
  }
  if (!ticks.adverse) need("need-adverse", 'input[name="adverse"]');
  return found;
}

function sayMissing(form, found) {
  const place = form.querySelector("[data-needed]");
  const list = element("ul", {}, ...found.map(([words]) => element("li", {}, words)));
  place.replaceChildren(element("p", { class: "what" }, text("still-needed")), list);
  place.hidden = false;
  found[0][1].focus();
}

function collectionMethod(own) {
  return atCounter ? text("method-counter", { party: own.inviter ?? "?" }) : text("method-own");
}

async function agree(form, own) {
  const ticks = ticked(form);
  const found = missing(form, ticks);
  if (found.length > 0) {
    sayMissing(form, found);
    return;
  }
  const draft = { ...JSON.parse(form.dataset.terms), record_id: form.dataset.request };
  const record = consentRecord(own, draft, ticks, { collectionMethod: collectionMethod(own) });
  await submit("consent", await consentToken(own, record), database);
  await done(own, form.dataset.request, "given");
}

async function refuse(form, own) {
  const token = await eventToken(own, form.dataset.request, "refused");
  await postToken("/v1/consent-requests/refusals", token);
  await done(own, form.dataset.request, "refused");
}

async function done(own, record, event) {
  clear();
  region.replaceChildren();
  const place = document.querySelector("[data-delivery]");
  place.scrollIntoView({ block: "nearest" });
  if (event === "refused") {
    place.className = "delivery notice good";
    place.replaceChildren(element("p", { class: "what" }, text("signed-refused")));
    place.hidden = false;
    return;
  }
  await follow(own, record, event);
}

await begin(async () => {
  const own = await show(region, `?request=${encodeURIComponent(parameter("request") ?? "")}`);
  const form = region.querySelector("[data-consent]");
  if (own === null || form === null) return;
  form.addEventListener("change", () => {
    form.querySelector("[data-needed]").hidden = true;
  });
  for (const [name, work] of [["agree", agree], ["refuse", refuse]]) {
    onPress(form.querySelector(`[data-answer="${name}"]`), () => work(form, own));
  }
});
