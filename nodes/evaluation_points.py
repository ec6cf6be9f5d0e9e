"""Masked points on their way from a source to a bank: signed, sealed, in one size (docs/protocol.md, V2 and V3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypto.canonical import digest
from crypto.errors import CryptoError, ExchangeError
from crypto.jws import sign_model, verify_model
from crypto.keys import BoxKey, Signer
from crypto.score_masks import MAX_POINTS
from crypto.sealed import context_bytes, open_sealed, seal
from crypto.secure_tables import positions_sha256
from crypto.wire.base import SUITE
from crypto.wire.evaluation import PointsHeader

_LENGTH = 4
_WORD = 4

Words = NDArray[np.uint32]
Marks = NDArray[np.bool_]


@dataclass(frozen=True)
class PointsTrip:
    """What a box of points is bound to: which attempt, from whom to whom, at which positions."""

    attempt: str
    h: bytes
    sender: str
    receiver: str
    positions: NDArray[np.uint32]

    def context(self) -> bytes:
        """The box's associated data."""
        fields = {"step": "points", "attempt": self.attempt, "from": self.sender, "to": self.receiver}
        return context_bytes(**fields, h=self.h, positions=positions_sha256(self.positions))


def seal_points(trip: PointsTrip, words: Words, answered: Marks, identity: Signer, box_key: bytes) -> bytes:
    """V2: masked points behind a header that the sender signs, sealed to the bank's key of this attempt.

    Who is not answered has a zero; the size depends on the number of positions alone.

    Args:
        trip: what the box is bound to.
        words: (n,) masked points.
        answered: (n,) whose points these are.
        identity: the sender's.
        box_key: the bank's X25519 key of this attempt.
    """
    body = np.where(answered, words, np.uint32(0)).astype("<u4").tobytes() + answered.astype(np.uint8).tobytes()
    header = PointsHeader(
        suite=SUITE,
        attempt=trip.attempt,
        h=trip.h,
        sender=trip.sender,
        receiver=trip.receiver,
        positions_sha256=positions_sha256(trip.positions),
        points_sha256=digest(body),
        rows=len(trip.positions),
    )
    token = sign_model(header, identity, typ="points", kid=trip.sender).encode()
    return seal(b"".join([len(token).to_bytes(_LENGTH, "little"), token, body]), box_key, context=trip.context())


def open_sealed_points(trip: PointsTrip, sealed: bytes, key: BoxKey, sign_key: bytes) -> tuple[Words, Marks]:
    """V3: opens one source's box and verifies what it signed.

    Raises:
        ExchangeError: it is not exactly this trip's; `field` is the sender.
    """
    rows = len(trip.positions)
    try:
        plain = open_sealed(sealed, key, context=trip.context())
        end = _LENGTH + int.from_bytes(plain[:_LENGTH], "little")
        header = verify_model(plain[_LENGTH:end].decode("ascii"), sign_key, PointsHeader, typ="points", kid=trip.sender)
    except (CryptoError, ValueError) as refused:
        raise not_due_points(trip.sender) from refused
    body = plain[end:]
    named = (header.attempt, header.h, header.sender, header.receiver, header.positions_sha256, header.rows)
    due = (trip.attempt, trip.h, trip.sender, trip.receiver, positions_sha256(trip.positions), rows)
    if named != due or header.points_sha256 != digest(body) or len(body) != (_WORD + 1) * rows:
        raise not_due_points(trip.sender)
    words = np.frombuffer(body, dtype="<u4", count=rows).astype(np.uint32)
    return words, np.frombuffer(body, dtype=np.uint8, offset=_WORD * rows) == 1


def centred(total: Words) -> NDArray[np.int64]:
    """(n,) sums of all sources' masked points, signed.

    Raises:
        ExchangeError: a sum beyond 2^20: the masks do not cancel, so a source masked for others than the slices name.
    """
    points = total.view(np.int32).astype(np.int64)
    if len(points) and int(np.abs(points).max()) > MAX_POINTS:
        raise ExchangeError(
            "the masks of a merchant's points do not cancel: its sources did not mask for one another",
            field="points",
            remedy="refuse the attempt; there is no score from fewer sources",
        )
    return points


def not_due_points(sender: str) -> ExchangeError:
    """The refusal of a box that is missing, superfluous, or not exactly what the slice implies."""
    return ExchangeError(
        f"the points of {sender} do not open, are not signed by it, or were not due",
        field=sender,
        remedy="refuse the attempt; every source's points are needed",
    )
