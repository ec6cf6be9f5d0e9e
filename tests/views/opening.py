"""Boxes that a node received, opened as that node opens them: with its own key of the attempt, at its own positions."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.keys import BoxKey
from crypto.secure_tables import ReceivedRows
from nodes.evaluation_points import Marks, PointsTrip, Words, open_sealed_points
from nodes.masked_rows import RowsTrip, open_rows
from tests.views.recorder import Record, Seen
from tests.views.world import Campaign

Positions = NDArray[np.uint32]


def payload(token: str) -> dict[str, Any]:
    """A signed document's members, unverified."""
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


@dataclass(frozen=True)
class Known:
    """What a node was told in T1 (V1) of one attempt: by whom each of its merchants is held too, block by block."""

    attempt: str
    h: bytes
    roster: list[dict[str, Any]]
    block_rows: int
    blocks: int
    pieces: Mapping[int, Seen]

    def shared(self, peer: str, block: int) -> Positions:
        """Positions of a block that a counterpart holds too."""
        index = next(at for at, entry in enumerate(self.roster) if entry["party_id"] == peer)
        piece = self.pieces[block].parcel
        held = piece.array(f"counterpart.{self.roster[index]['kind']}", np.int32, 1) == index
        positions: Positions = piece.array("positions", np.uint32, 1)[held]
        return positions

    def sign_key(self, peer: str) -> bytes:
        """The public key under which a counterpart signs."""
        text = str(next(entry["sign_key"] for entry in self.roster if entry["party_id"] == peer))
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def known(record: Record, party: str, attempt: str) -> Known:
    """What a node's own view says of an attempt."""
    pieces: dict[int, Seen] = {}
    for seen in record.of(party, "train.slice", "train.accept", "train.admit"):
        terms = payload(seen.parcel.text("terms"))
        if terms["attempt"] != attempt:
            continue
        blocks = -(-terms["cohort_size"] // terms["block_rows"])
        pieces[int(seen.parcel.texts.get("block", blocks - 1))] = seen
        if "cosignature" in seen.parcel.texts:
            h = payload(seen.parcel.text("cosignature"))["h"]
    root = urlsafe_b64decode(h + "=" * (-len(h) % 4))
    return Known(attempt, root, terms["roster"], terms["block_rows"], blocks, pieces)


@dataclass(frozen=True)
class RowBox:
    """One sealed box of masked rows."""

    trip: RowsTrip
    sealed: bytes
    sign_key: bytes

    def open(self, key: BoxKey) -> ReceivedRows:
        """ExchangeError for another key."""
        return open_rows(self.trip, self.sealed, key, self.sign_key)


def row_boxes(campaign: Campaign, party: str) -> Iterator[RowBox]:
    """All boxes of rows that a node received, in order."""
    for seen in campaign.record.of(party, "train.share"):
        attempt, block = seen.parcel.text("attempt"), int(seen.parcel.text("block"))
        told = known(campaign.record, party, attempt)
        for sender, name in seen.parcel.names("from.").items():
            trip = RowsTrip(attempt, told.h, sender, party, block, told.blocks, told.shared(sender, block))
            yield RowBox(trip, seen.parcel.blob(name), told.sign_key(sender))


def masked_rows(campaign: Campaign, party: str) -> NDArray[np.uint32]:
    """All words of masked rows that a node received and can open, (n,)."""
    return np.concatenate(
        [box.open(campaign.keys[party, box.trip.attempt]).rows.ravel() for box in row_boxes(campaign, party)]
    )


@dataclass(frozen=True)
class PointsBox:
    """Masked points of one source, opened by the bank.

    Attributes:
        pseudonyms: (n, 32) whose points these are.
    """

    sender: str
    pseudonyms: NDArray[np.uint8]
    words: Words
    answered: Marks


def masked_points(campaign: Campaign, bank: str) -> Iterator[PointsBox]:
    """What a bank received of each source in an evaluation, which is of one block."""
    for seen in campaign.record.of(bank, "train.count"):
        attempt = seen.parcel.text("attempt")
        told = known(campaign.record, bank, attempt)
        own = told.pieces[0].parcel
        for sender, name in seen.parcel.names("from.").items():
            positions = told.shared(sender, 0)
            trip = PointsTrip(attempt, told.h, sender, bank, positions)
            key = campaign.keys[bank, attempt]
            words, marks = open_sealed_points(trip, seen.parcel.blob(name), key, told.sign_key(sender))
            places = np.searchsorted(own.array("positions", np.uint32, 1), positions)
            yield PointsBox(sender, own.array("pseudonyms", np.uint8, 2)[places], words, marks)
