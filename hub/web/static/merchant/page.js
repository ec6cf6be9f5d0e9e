// Pages that show one part: consents with their buttons, queries, requests, the own record, a receipt.

import { eventToken } from "./artefacts.js";
import { follow } from "./delivery.js";
import { saveJson, saveText } from "./files.js";
import { ask } from "./hub.js";
import { submit } from "./receipts.js";
import { atCounter, begin, database, identity, onPress, parameter } from "./session.js";
import { receiptLines } from "./store.js";
import { clear } from "./trouble.js";
import { show } from "./views.js";

const region = document.querySelector("[data-view]");
const query = parameter("record") ? `?record=${encodeURIComponent(parameter("record"))}` : "";

async function refresh() {
  const own = await show(region, query);
  for (const button of region.querySelectorAll("[data-event]")) {
    const record = button.closest("[data-record]").dataset.record;
    onPress(button, () => change(own, record, button.dataset.event));
  }
}

async function change(own, record, event) {
  clear();
  await submit("consent-event", await eventToken(own, record, event), database);
  const followed = follow(own, record, event);
  await refresh();
  await followed;
}

// A link that an institution sent ends in #, so that no server's log has the request's number.
const asked = location.hash.match(/^#([a-f0-9]{32})$/)?.[1];

await begin(async () => {
  if (region?.dataset.view === "requests" && asked) {
    location.replace(`/merchant/consent?request=${asked}${atCounter ? "&counter=1" : ""}`);
    return;
  }
  const own = await identity();
  const [none, some] = ["none", "some"].map((name) => document.querySelector(`[data-home="${name}"]`));
  if (none && some) none.hidden = Boolean(own);
  if (region) await refresh();
  const download = document.querySelector("[data-download]");
  if (download) onPress(download, () => save(own));
  const receipts = document.querySelector("[data-receipts]");
  if (receipts) {
    const lines = await receiptLines(database);
    receipts.hidden = lines === "";
    onPress(receipts, () => saveText(lines, "digua-receipts.ndjson", "application/x-ndjson"));
  }
  document.querySelector("[data-print]")?.addEventListener("click", () => window.print());
});

async function save(own) {
  const name = region.dataset.view;
  saveJson(await ask(`/merchant/files/${name}${query}`, own), `digua-${name}.json`);
}
