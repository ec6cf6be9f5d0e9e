// After a change was signed: how many institutions hold it, asked again until all do or it is clear who is away.

import { ask } from "./hub.js";
import { element, text } from "./trouble.js";

const EVERY_MS = 400;
const AT_MOST = 30;

export async function follow(own, record, event) {
  const place = document.querySelector("[data-delivery]");
  const said = element("p", { class: "what" }, text(`signed-${event}`));
  const counted = element("p", {});
  place.replaceChildren(said, counted);
  place.className = "delivery notice good";
  place.hidden = false;
  for (let time = 0; time < AT_MOST; time += 1) {
    const { parties, confirmed, waiting, away } = await ask(`/merchant/delivery?record=${record}`, own);
    place.dataset.confirmed = String(confirmed);
    counted.textContent = text(confirmed === parties ? "delivery-done" : "delivery", { confirmed, parties });
    if (waiting.length === 0) {
      if (away.length > 0) place.append(element("p", {}, text("delivery-away", { names: away.join(", ") })));
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}
