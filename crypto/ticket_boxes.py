"""Texts of tickets and of their answers in sealed boxes, as long for every text (docs/protocol.md, 8).

HPKE base mode (RFC 9180) with X25519, HKDF-SHA256 and **AES-256-GCM**: browsers' WebCrypto has these and no
ChaCha20-Poly1305, which `crypto.sealed` uses between parties. The context binds a box to its ticket, its merchant, its
party and its direction, so that none opens in another's place. A box says nothing about its sender: the ticket around
it is signed by the merchant, the answer by the party.
"""

from __future__ import annotations

from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from crypto.errors import SealError
from crypto.keys import KEY_BYTES, BoxKey
from crypto.sealed import context_bytes
from crypto.wire.ticket import PADDED_BYTES, TEXT_CHARACTERS

Direction = Literal["question", "answer"]

_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_LENGTH_BYTES = 2


def ticket_context(ticket_id: str, pseudonym: bytes, party_id: str, direction: Direction) -> bytes:
    """Return what a box is bound to: canonical JSON, as HPKE info."""
    return context_bytes(
        purpose="ticket", ticket_id=ticket_id, merchant=pseudonym, party_id=party_id, direction=direction
    )


def seal_text(text: str, recipient_public: bytes, *, context: bytes) -> bytes:
    """Seal a text of at most 2,000 characters.

    Args:
        text: what is written, as it is.
        recipient_public: X25519, 32 bytes: the party's from the roster, or the ticket's `reply_key`.
        context: see `ticket_context`.

    Returns:
        `crypto.wire.ticket.SEALED_BYTES` bytes, whatever the text.

    Raises:
        SealError: the text is empty or too long, or the key is none that can be sealed to.
    """
    data = text.encode()
    if not text.strip() or len(text) > TEXT_CHARACTERS:
        raise SealError(
            f"A text has 1 to {TEXT_CHARACTERS} characters, not {len(text)}.",
            field="text",
            remedy="Shorten the text; longer matters go to the party by its own ways.",
        )
    if len(recipient_public) != KEY_BYTES:
        raise SealError("The key to seal to has another length.", field="reply_key", remedy="Ask for a new ticket.")
    padded = (len(data).to_bytes(_LENGTH_BYTES, "big") + data).ljust(PADDED_BYTES, b"\x00")
    try:
        return _SUITE.encrypt(padded, X25519PublicKey.from_public_bytes(recipient_public), info=context)
    except ValueError as error:
        raise SealError(
            "The key cannot be sealed to.", field="reply_key", remedy="Ask the merchant for a new ticket."
        ) from error


def open_text(sealed: bytes, key: BoxKey, *, context: bytes) -> str:
    """Open a text.

    Args:
        sealed: what `seal_text` returned.
        key: the recipient's.
        context: the very bytes it was sealed under.

    Raises:
        SealError: another key or context, altered bytes, or no text inside.
    """
    try:
        padded = _SUITE.decrypt(sealed, key.private_key, info=context)
        length = int.from_bytes(padded[:_LENGTH_BYTES], "big")
        body, rest = padded[_LENGTH_BYTES : _LENGTH_BYTES + length], padded[_LENGTH_BYTES + length :]
        text = body.decode()
    except (InvalidTag, ValueError) as error:
        raise _unreadable() from error
    if len(padded) != PADDED_BYTES or len(body) != length or any(rest) or not 0 < len(text) <= TEXT_CHARACTERS:
        raise _unreadable()
    return text


def _unreadable() -> SealError:
    return SealError(
        "The text does not open: it was sealed to another key, for another ticket, or altered.",
        field="sealed",
        remedy="Open it with the key of that time (after a rotation the old file), or ask for the ticket again.",
    )
