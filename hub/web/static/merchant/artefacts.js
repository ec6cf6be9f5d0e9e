// What a merchant signs, field by field as crypto/wire/consent.py and service.py have it.

import { fromHex, random, toHex, toWire } from "./bytes.js";
import { moment } from "./canonical.js";
import { signArtefact } from "./jws.js";

const SUITE = "digua-1";

function principal(own) {
  return toWire(fromHex(own.kid));
}

export async function requestToken(own, now = new Date()) {
  const request = { suite: SUITE, pii_principal_id: principal(own), nonce: toWire(random(16)), issued_at: moment(now) };
  return signArtefact(request, own, "merchant-request");
}

export async function eventToken(own, recordId, event, now = new Date()) {
  const change = {
    suite: SUITE,
    record_id: recordId,
    pii_principal_id: principal(own),
    event,
    event_time: moment(now),
    event_id: toHex(random(16)),
  };
  return signArtefact(change, own, "consent-event");
}

// A consent's record from a draft and from what was ticked, and from nothing else.
//
// `draft`: the terms of a request (crypto.wire.consent.ConsentTerms), with all that was asked for.
// `ticked`: {purposes, recipients, separate: [[recipient, category]…], adverse} as the person left the form.
// What no recipient was given a tick for is not in the record: neither as a category nor as a source.
export function consentRecord(own, draft, ticked, { collectionMethod, now = new Date() }) {
  const recipients = draft.recipients.filter((each) => ticked.recipients.includes(each));
  const pairs = ticked.separate.filter(([recipient]) => recipients.includes(recipient));
  const granted = new Set(pairs.map(([, category]) => category));
  const separate = draft.separate_consent.filter((asked) =>
    pairs.some(([recipient, category]) => asked.recipient === recipient && asked.category === category),
  );
  const information = draft.pii_information.filter((each) => granted.has(each.category));
  const sources = Object.fromEntries(Object.entries(draft.sources).filter(([kind]) => granted.has(kind)));
  return {
    suite: SUITE,
    schema_version: "27560-1",
    record_id: draft.record_id ?? toHex(random(16)),
    pii_principal_id: principal(own),
    privacy_notice: draft.privacy_notice,
    purposes: draft.purposes.filter((each) => ticked.purposes.includes(each)),
    pii_information: information,
    sources,
    recipients,
    separate_consent: separate,
    adverse_consequences_notice: ticked.adverse === true,
    fetch_type: draft.fetch_type,
    frequency: draft.frequency,
    data_life: draft.data_life,
    valid_from: draft.valid_from,
    valid_until: draft.valid_until,
    jurisdiction: draft.jurisdiction,
    legal_article: draft.legal_article,
    withdrawal_method: draft.withdrawal_method,
    collection_method: collectionMethod,
    event_time: moment(now),
  };
}

export async function consentToken(own, record) {
  return signArtefact(record, own, "consent");
}

// A ticket to one party: `ticket` has kind, about {sort, reference}, partyId, id (hexadecimal), sealed and replyKey (bytes).
export async function ticketToken(own, ticket, now = new Date()) {
  const body = {
    suite: SUITE,
    ticket_id: ticket.id,
    pii_principal_id: principal(own),
    party_id: ticket.partyId,
    kind: ticket.kind,
    about: { sort: ticket.about.sort, reference: ticket.about.reference ?? null },
    sealed: toWire(ticket.sealed),
    reply_key: toWire(ticket.replyKey),
    issued_at: moment(now),
  };
  return signArtefact(body, own, "merchant-ticket");
}

export async function ticketClosingToken(own, ticketId, now = new Date()) {
  const body = { suite: SUITE, ticket_id: ticketId, pii_principal_id: principal(own), issued_at: moment(now) };
  return signArtefact(body, own, "ticket-closing");
}
