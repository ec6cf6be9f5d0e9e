"""Invitations and tickets in Chromium against the product's own Python: each opens and verifies what the other made."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from crypto.canonical import canonical_bytes
from crypto.errors import SealError
from crypto.jws import parse_canonical, verify_merchant
from crypto.keys import BoxKey
from crypto.ticket_boxes import open_text, seal_text, ticket_context
from crypto.wire.invitation import KeyOffer
from crypto.wire.ticket import SEALED_BYTES, Ticket, TicketClosing
from tests.web.merchant_scripts import served_modules
from tests.web.test_merchant_modules import KID, PSEUDONYM

TICKET_ID = "0f" * 16
TEXT = "评分与实际经营不符，请人工复核。\n𠮷 – line two"


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with served_modules() as origin:
        page = chromium.new_page()
        page.goto(origin + "/")
        yield page
        page.close()


def run(page: Page, body: str, **arguments: object) -> Any:
    """Run a body with the modules' names in scope."""
    script = """async (given) => {
      const folder = "/static/hub/merchant/";
      const names = ["artefacts", "boxes", "bytes", "joining", "keys"];
      const m = Object.assign({}, ...(await Promise.all(names.map((name) => import(`${folder}${name}.js`)))));
      BODY
    }"""
    return page.evaluate(script.replace("BODY", body), arguments)


def unwired(text: str) -> bytes:
    return base64.urlsafe_b64decode(text)


def wired(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_a_key_offered_by_the_browser_verifies_here(page: Page, alg: str) -> None:
    token = "a-token-of-an-invitation"
    signed = run(page, "return m.offerToken(given.token, await m.makeKey({ alg: given.alg }));", token=token, alg=alg)
    kid = hashlib.sha256(token.encode()).hexdigest()
    offer = parse_canonical(base64.urlsafe_b64decode(signed.split(".")[1] + "=="), KeyOffer)
    assert parse_canonical(verify_merchant(signed, offer.jwk, typ="merchant-key-offer", kid=kid), KeyOffer) == offer
    assert offer.token_sha256.hex() == kid
    assert offer.proof == hmac.new(token.encode(), canonical_bytes(dict(offer.jwk)), hashlib.sha256).digest()


def test_a_text_sealed_in_the_browser_opens_here(page: Page) -> None:
    box = BoxKey.generate()
    sealed = unwired(
        run(
            page,
            "const context = m.ticketContext(given.id, given.kid, 'bank-01', 'question');"
            "return m.toWire(await m.sealText(given.text, m.fromBase64url(given.key), context));",
            id=TICKET_ID,
            kid=KID,
            text=TEXT,
            key=wired(box.public),
        )
    )
    assert len(sealed) == SEALED_BYTES
    assert open_text(sealed, box, context=ticket_context(TICKET_ID, PSEUDONYM, "bank-01", "question")) == TEXT
    with pytest.raises(SealError):
        open_text(sealed, box, context=ticket_context(TICKET_ID, PSEUDONYM, "bank-02", "question"))


def test_an_answer_sealed_here_opens_in_the_browser_and_no_other_does(page: Page) -> None:
    public = unwired(
        run(page, "globalThis.reply = await m.makeReplyKey(); return m.toWire(globalThis.reply.publicKey);")
    )
    context = ticket_context(TICKET_ID, PSEUDONYM, "bank-01", "answer")
    other = ticket_context(TICKET_ID, PSEUDONYM, "bank-01", "question")
    opening = (
        "const context = m.ticketContext(given.id, given.kid, 'bank-01', 'answer');"
        "try { return await m.openText(m.fromBase64url(given.sealed), globalThis.reply, context); }"
        "catch (error) { return error.name; }"
    )
    sealed = seal_text(TEXT, public, context=context)
    assert run(page, opening, id=TICKET_ID, kid=KID, sealed=wired(sealed)) == TEXT
    altered = sealed[:-1] + bytes([sealed[-1] ^ 1])
    assert run(page, opening, id=TICKET_ID, kid=KID, sealed=wired(altered)) == "OperationError"
    replayed = seal_text(TEXT, public, context=other)
    assert run(page, opening, id=TICKET_ID, kid=KID, sealed=wired(replayed)) == "OperationError"


def test_a_ticket_signed_by_the_browser_verifies_here(page: Page) -> None:
    made = run(
        page,
        "const key = await m.makeKey({ alg: 'ES256' });"
        "const own = { alg: key.alg, privateKey: key.privateKey, kid: given.kid };"
        "const reply = await m.makeReplyKey();"
        "const ticket = { id: given.id, partyId: 'bank-01', kind: 'review', about: { sort: 'record' },"
        "  sealed: new Uint8Array(given.size), replyKey: reply.publicKey };"
        "return { jwk: key.jwk, ticket: await m.ticketToken(own, ticket),"
        "  closing: await m.ticketClosingToken(own, given.id) };",
        id=TICKET_ID,
        kid=KID,
        size=SEALED_BYTES,
    )
    ticket = parse_canonical(verify_merchant(made["ticket"], made["jwk"], typ="merchant-ticket", kid=KID), Ticket)
    assert (ticket.ticket_id, ticket.pii_principal_id, ticket.about.sort) == (TICKET_ID, PSEUDONYM, "record")
    closing = verify_merchant(made["closing"], made["jwk"], typ="ticket-closing", kid=KID)
    assert parse_canonical(closing, TicketClosing).ticket_id == TICKET_ID
