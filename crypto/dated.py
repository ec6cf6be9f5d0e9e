"""Artefacts verified under the key that their signer had when they are dated (docs/protocol.md, 0, S3)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import TypeVar

from pydantic import BaseModel

from crypto.errors import SignatureError
from crypto.jws import verify, verify_model
from crypto.key_line import KeyLine

M = TypeVar("M", bound=BaseModel)


def verify_bytes(token: str, line: KeyLine, *, typ: str, moment: datetime, kid: str | None = None) -> bytes:
    """Verify exact bytes under a key of a line that holds at a moment; otherwise as `crypto.jws.verify`.

    Raises:
        SignatureError: none of them signed it, or one that did not hold then; or as there.
    """
    refusal: SignatureError | None = None
    for public in line.publics:
        try:
            signed = verify(token, public, typ=typ, kid=kid)
        except SignatureError as error:
            refusal = refusal or error
            continue
        if not line.holds(public, moment):
            raise _former("signature")
        return signed
    raise refusal or _former("signature")


def verify_signer(token: str, line: KeyLine, model: type[M], *, typ: str, kid: str | None = None) -> tuple[M, bytes]:
    """Verify an artefact that has no date of its own under any key of a line; the caller judges the key by the time.

    Returns:
        What was signed, and the public key that signed it.

    Raises:
        SignatureError: none of them signed it, or as `crypto.jws.verify_model`.
    """
    refusal: SignatureError | None = None
    for public in line.publics:
        try:
            return verify_model(token, public, model, typ=typ, kid=kid), public
        except SignatureError as error:
            refusal = refusal or error
    raise refusal or _former("signature")


def verify_dated(
    token: str,
    line: KeyLine,
    model: type[M],
    *,
    typ: str,
    kid: str | None = None,
    date: Callable[[M], datetime] = attrgetter("issued_at"),
) -> M:
    """Verify an artefact under the key that held when it is dated; otherwise as `crypto.jws.verify_model`.

    Args:
        token, model, typ, kid: as there.
        line: the signer's keys.
        date: reads the date of what was signed; `issued_at` unless given.

    Raises:
        SignatureError: as `verify_signer`; or it is dated when its key did not hold.
    """
    signed, public = verify_signer(token, line, model, typ=typ, kid=kid)
    if not line.holds(public, date(signed)):
        raise _former("signature")
    return signed


def verify_any(token: str, line: KeyLine, model: type[M], *, typ: str, kid: str | None = None) -> M:
    """Verify an artefact of one's own store, which was judged by its time when it came, under any key of a line.

    Raises:
        SignatureError: as `verify_signer`.
    """
    return verify_signer(token, line, model, typ=typ, kid=kid)[0]


def _former(field: str) -> SignatureError:
    return SignatureError(
        "It is signed by a key that did not hold at its date.",
        field=field,
        remedy="Do not use it; ask the signer which key holds since when, by telephone.",
    )
