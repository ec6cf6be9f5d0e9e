"""Masked rows on their way from one node to another: signed, sealed to the receiver (docs/protocol.md, T2 and T3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypto.errors import CryptoError, ExchangeError
from crypto.jws import sign_model, verify_model
from crypto.keys import BoxKey, Signer
from crypto.sealed import context_bytes, open_sealed, seal
from crypto.secure_tables import ReceivedRows, positions_sha256, rows_sha256
from crypto.wire.base import SUITE
from crypto.wire.campaign import RowsHeader

_LENGTH = 4


@dataclass(frozen=True)
class RowsTrip:
    """What a box of rows is bound to: which block of which exchange, from whom to whom, at which positions."""

    attempt: str
    h: bytes
    sender: str
    receiver: str
    block: int
    blocks: int
    positions: NDArray[np.uint32]

    def context(self) -> bytes:
        """The box's associated data."""
        fields = {"step": "rows", "attempt": self.attempt, "from": self.sender, "to": self.receiver}
        of = {"block": str(self.block), "blocks": str(self.blocks)}
        return context_bytes(**fields, **of, h=self.h, positions=positions_sha256(self.positions))


def seal_rows(trip: RowsTrip, rows: NDArray[np.uint32], identity: Signer, box_key: bytes) -> bytes:
    """T2: the rows behind a header that the sender signs, sealed to the receiver's key of this attempt."""
    header = RowsHeader(
        suite=SUITE,
        attempt=trip.attempt,
        h=trip.h,
        sender=trip.sender,
        receiver=trip.receiver,
        block=trip.block,
        blocks=trip.blocks,
        positions_sha256=positions_sha256(trip.positions),
        rows_sha256=rows_sha256(rows),
        rows=rows.shape[0],
        columns=rows.shape[1],
    )
    token = sign_model(header, identity, typ="rows", kid=trip.sender).encode()
    plain = b"".join([len(token).to_bytes(_LENGTH, "little"), token, rows.astype("<u4", copy=False).tobytes()])
    return seal(plain, box_key, context=trip.context())


def open_rows(trip: RowsTrip, sealed: bytes, key: BoxKey, sign_key: bytes) -> ReceivedRows:
    """T3: opens one sender's box and verifies its signed header; `check_inbox` compares hashes and shapes.

    Raises:
        ExchangeError: it is not this trip's; `field` is the sender.
    """
    try:
        plain = open_sealed(sealed, key, context=trip.context())
        end = _LENGTH + int.from_bytes(plain[:_LENGTH], "little")
        header = verify_model(plain[_LENGTH:end].decode("ascii"), sign_key, RowsHeader, typ="rows", kid=trip.sender)
        words = np.frombuffer(plain, dtype="<u4", offset=end)
        rows = words.astype(np.uint32).reshape(header.rows, header.columns)
    except (CryptoError, ValueError) as refused:
        raise not_due(trip.sender) from refused
    named = (header.attempt, header.h, header.sender, header.receiver, header.block, header.blocks)
    if named != (trip.attempt, trip.h, trip.sender, trip.receiver, trip.block, trip.blocks):
        raise not_due(trip.sender)
    return ReceivedRows(trip.positions, rows, header.positions_sha256, header.rows_sha256)


def not_due(sender: str) -> ExchangeError:
    """The error for a box that is not exactly what was due of a sender."""
    return ExchangeError(
        f"the rows of {sender} do not open, are not signed by it, or were not due",
        field=sender,
        remedy="refuse the attempt; an inexact inbox would disclose rows",
    )
