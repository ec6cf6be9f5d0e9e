// Human review, correction, deletion: the text is sealed here to the one institution, the answer is opened here.

import { ticketClosingToken, ticketToken } from "./artefacts.js";
import { makeReplyKey, openText, sealText, ticketContext } from "./boxes.js";
import { fromHex, random, toHex } from "./bytes.js";
import { postToken } from "./hub.js";
import { boxKeyOf } from "./roster.js";
import { begin, database, onPress, parameter } from "./session.js";
import { keepReplyKey, replyKey } from "./store.js";
import { clear, say, text } from "./trouble.js";
import { show } from "./views.js";

const region = document.querySelector("[data-view]");
const field = (name) => region.querySelector(`#ticket-${name}`);

function preset() {
  const about = parameter("query") === null ? null : `query:${parameter("query")}`;
  for (const [name, value] of [["kind", parameter("kind")], ["party", parameter("party")], ["about", about]]) {
    const found = [...field(name).options].find((option) => option.value === value);
    if (found) found.selected = true;
  }
}

async function send(own) {
  const id = toHex(random(16));
  const party = field("party").value;
  const [sort, reference = null] = field("about").value.split(":");
  const sealed = await sealText(field("text").value, await boxKeyOf(party), ticketContext(id, own.kid, party, "question"));
  const reply = await makeReplyKey();
  await keepReplyKey(id, reply, database); // before it is sent: an answer must find its key
  const kind = field("kind").value;
  const ticket = { id, kind, partyId: party, about: { sort, reference }, sealed, replyKey: reply.publicKey };
  await postToken("/v1/merchants/tickets", await ticketToken(own, ticket));
  const name = field("party").selectedOptions[0].textContent;
  await refresh();
  region.querySelector("[data-ticket-said]").textContent = text("ticket-sent", { party: name });
}

async function openAnswer(own, card) {
  const place = card.querySelector("[data-sealed-answer]");
  if (place === null) return;
  const { ticketId, party } = card.dataset;
  try {
    const key = await replyKey(ticketId, database);
    const context = ticketContext(ticketId, own.kid, party, "answer");
    place.textContent = await openText(fromHex(place.dataset.sealedAnswer), key, context);
  } catch {
    place.textContent = text("answer-elsewhere");
  }
}

async function refresh() {
  const own = await show(region);
  if (own === null) return;
  for (const card of region.querySelectorAll("[data-ticket-id]")) {
    const close = card.querySelector("[data-close-ticket]");
    if (close) {
      onPress(close, async () => {
        await postToken("/v1/merchants/tickets/close", await ticketClosingToken(own, card.dataset.ticketId));
        await refresh();
      });
    }
    await openAnswer(own, card);
  }
  const form = region.querySelector("[data-ticket]");
  if (form === null) return;
  preset();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clear();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      await send(own);
    } catch (error) {
      say(error);
    } finally {
      button.disabled = false;
    }
  });
}

await begin(refresh);
