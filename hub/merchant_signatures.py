"""Artefacts that merchants signed, verified in numbers: exact bytes first, then parsed (2).

An artefact is identified by the hash of its payload, never by that of its token: an ES256 signature can be altered by
anyone into another valid one over the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from crypto.errors import CryptoError
from crypto.jws import parse_canonical, peek_kid, verify_merchant
from crypto.wire.consent import ConsentEvent, ConsentRecord
from crypto.wire.party import MerchantKeyLeaf
from crypto.wire.service import MerchantRequest
from crypto.wire.ticket import Ticket, TicketClosing
from hub.db import Database
from hub.errors import ConsentRefusedError, HubError, MerchantKeyUnknownError
from hub.merchant_keys import newest_keys
from hub.tables.parties import MerchantKeyRow

A = TypeVar("A", ConsentRecord, ConsentEvent, Ticket, TicketClosing)
S = TypeVar("S", ConsentRecord, ConsentEvent, Ticket, TicketClosing, MerchantRequest)

REQUEST_TYPE = "merchant-request"


@dataclass(frozen=True)
class Verified(Generic[A]):
    """A verified artefact.

    Attributes:
        place: in the submission.
        token: as it was submitted.
        sha256: of its payload.
        key_id: the merchant's key that verified it.
        body: what it says.
    """

    place: int
    token: str
    sha256: bytes
    key_id: int
    body: A


def verify_all(db: Database, tokens: Sequence[str], typ: str, model: type[A]) -> list[Verified[A]]:
    """C1, C2: verify tokens by their merchants' newest keys; one that occurs twice is returned once.

    Args:
        db: where merchants' keys lie; a token's key id is the pseudonym in hexadecimal.
        tokens: compact JWS, at least one.
        typ: the type of all of them.
        model: what their payloads are; canonical form is required.

    Raises:
        SignatureError, KeyFormatError, MerchantKeyUnknownError: `field` begins with `tokens.<place>`.
        ConsentRefusedError: it is about another merchant than its signer.
    """
    signers = _signers(tokens, typ)
    with db.reading() as session:
        keys = newest_keys(session, signers)
    found: dict[bytes, Verified[A]] = {}
    for place, (token, signer) in enumerate(zip(tokens, signers, strict=True)):
        with naming(place):
            key = keys.get(signer)
            if key is None:
                raise _no_key()
            verified = _own(key, token, typ, model, place)
        found.setdefault(verified.sha256, verified)
    return list(found.values())


def verify_one(db: Database, token: str, typ: str, model: type[A]) -> Verified[A]:
    """Verify one token as `verify_all` does; fields of errors are its own."""
    return _own(_key_of(db, token, typ), token, typ, model, 0)


def _own(key: MerchantKeyRow, token: str, typ: str, model: type[A], place: int) -> Verified[A]:
    payload, body = _verify(key, token, typ, model)
    if body.pii_principal_id != key.pseudonym:
        raise ConsentRefusedError(
            "The artefact is about another merchant than the one who signed it.",
            field="pii_principal_id",
            remedy="Each merchant signs its own consents.",
        )
    return Verified(place, token, hashlib.sha256(payload).digest(), key.id, body)


def verify_request(db: Database, token: str) -> tuple[bytes, MerchantRequest]:
    """Verify a merchant's own request; return the pseudonym that its signer's key is enrolled for, and the request.

    Raises:
        SignatureError, KeyFormatError: it does not verify.
        MerchantKeyUnknownError: its key id is no enrolled merchant.
    """
    key = _key_of(db, token, REQUEST_TYPE)
    return key.pseudonym, _verify(key, token, REQUEST_TYPE, MerchantRequest)[1]


def _key_of(db: Database, token: str, typ: str) -> MerchantKeyRow:
    """The newest enrolled key of the merchant whom a token names as its signer; MerchantKeyUnknownError."""
    kid = peek_kid(token, typ=typ)
    try:
        pseudonym = bytes.fromhex(kid)
    except ValueError as error:
        raise _no_key() from error
    with db.reading() as session:
        key = newest_keys(session, [pseudonym]).get(pseudonym)
    if key is None:
        raise _no_key()
    return key


def only_new(
    artefacts: Sequence[Verified[A]], known: dict[str, bytes], name: str, id_of: Callable[[A], str]
) -> list[Verified[A]]:
    """Leave out what is stored already; ConsentRefusedError where an id stands for another content.

    Args:
        artefacts: verified ones.
        known: payload hashes of stored ones by id.
        name: of the field that holds the id.
        id_of: takes the id out.
    """
    fresh: list[Verified[A]] = []
    hashes = dict(known)
    for artefact in artefacts:
        stored = hashes.setdefault(id_of(artefact.body), artefact.sha256)
        if stored != artefact.sha256:
            raise ConsentRefusedError(
                "Another artefact has this id.",
                field=f"tokens.{artefact.place}.{name}",
                remedy="Give each a fresh random id.",
            )
        if id_of(artefact.body) not in known:
            fresh.append(artefact)
    return fresh


def _verify(key: MerchantKeyRow, token: str, typ: str, model: type[S]) -> tuple[bytes, S]:
    jwk = MerchantKeyLeaf.model_validate_json(key.leaf).jwk
    payload = verify_merchant(token, jwk, typ=typ, kid=key.pseudonym.hex())
    return payload, parse_canonical(payload, model)


@contextmanager
def naming(place: int, of: str = "tokens") -> Iterator[None]:
    """Let whatever is refused inside name the token's place in its field."""
    try:
        yield
    except (HubError, CryptoError) as error:
        error.field = f"{of}.{place}" + (f".{error.field}" if error.field and error.field != "token" else "")
        raise


def _signers(tokens: Sequence[str], typ: str) -> list[bytes]:
    """Whose signature each token says it bears: the pseudonym. `_verify` then asks for its very spelling."""
    found: list[bytes] = []
    for place, token in enumerate(tokens):
        with naming(place):
            try:
                found.append(bytes.fromhex(peek_kid(token, typ=typ)))
            except ValueError as error:
                raise _no_key() from error
    return found


def _no_key() -> MerchantKeyUnknownError:
    return MerchantKeyUnknownError(
        "No key of this merchant is enrolled; the key id of its signatures is its pseudonym in hexadecimal.",
        field="kid",
        remedy="The platform enrols the merchant's key with POST /v1/merchant-keys.",
    )
