"""A lying hub or node in the exchange of masked rows: what is not exactly what was due is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from crypto.errors import (
    ExchangeError,
)
from crypto.jws import sign_model
from crypto.keys import IdentityKey
from crypto.parcel import Parcel, as_array
from crypto.sealed import seal
from crypto.secure_tables import positions_sha256, rows_sha256
from crypto.wire.base import SUITE
from crypto.wire.campaign import RowsHeader
from nodes.masked_rows import RowsTrip
from nodes.training import refusal_detail
from tests.federation import Drive, World, make_world, run_scorecard


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.federation.close()


@pytest.fixture
def exchanged(world: World) -> Drive:
    return Drive.start(world).until_exchange()


def sender_of(drive: Drive, receiver: str) -> str:
    return next(iter(drive.inbox(receiver))).removeprefix("from.")


def test_a_box_altered_by_the_hub_is_refused(exchanged: Drive) -> None:
    inbox = exchanged.inbox("bank-1")
    name = next(iter(inbox))
    inbox[name] = inbox[name].copy()
    inbox[name][-1] ^= 1
    with pytest.raises(ExchangeError) as caught:
        exchanged.share("bank-1", inbox)
    assert caught.value.field == name.removeprefix("from.")


def test_a_box_kept_back_by_the_hub_is_refused(exchanged: Drive) -> None:
    inbox = exchanged.inbox("bank-1")
    missing = inbox.popitem()[0].removeprefix("from.")
    with pytest.raises(ExchangeError, match="lacks") as caught:
        exchanged.share("bank-1", inbox)
    assert caught.value.field == missing


def test_a_box_for_another_receiver_is_refused(exchanged: Drive) -> None:
    sender = sender_of(exchanged, "bank-1")
    inbox = exchanged.inbox("bank-1")
    inbox[f"from.{sender}"] = exchanged.boxes[sender].arrays[
        next(name for name in exchanged.boxes[sender].arrays if name != "to.bank-1")
    ]
    with pytest.raises(ExchangeError):
        exchanged.share("bank-1", inbox)


def test_a_superfluous_box_is_refused(exchanged: Drive) -> None:
    inbox = exchanged.inbox("bank-1")
    inbox["from.bank-2"] = next(iter(inbox.values()))
    with pytest.raises(ExchangeError):
        exchanged.share("bank-1", inbox)


@pytest.mark.parametrize("lie", ["altered", "omitted", "added", "unsigned", "another-sender"])
def test_rows_that_their_sender_falsified_are_refused(exchanged: Drive, lie: str) -> None:
    receiver = "bank-1"
    sender = sender_of(exchanged, receiver)
    federation = exchanged.world.federation
    state = federation.contexts[receiver].attempts.load(exchanged.attempt)
    index, other = exchanged.parties.index(sender), exchanged.parties.index(receiver)
    own = exchanged.manifest.piece(index, 0)
    shared = own.positions[own.counterparts["bank"] == other]
    columns = sum(exchanged.world.federation.schema.widths(own.kind))
    rows = np.arange(len(shared) * columns, dtype=np.uint32).reshape(-1, columns)
    sent = {"omitted": rows[:-1], "added": np.vstack([rows, rows[:1]])}.get(lie, rows)
    hashed = rows + np.uint32(1) if lie == "altered" else sent
    header = RowsHeader(
        suite=SUITE,
        attempt=exchanged.attempt,
        h=state.h,
        sender=sender,
        receiver=receiver,
        block=0,
        blocks=1,
        positions_sha256=positions_sha256(shared),
        rows_sha256=rows_sha256(hashed),
        rows=sent.shape[0],
        columns=columns,
    )
    key = IdentityKey.generate() if lie == "unsigned" else federation.identity_of(sender)
    kid = "bank-2" if lie == "another-sender" else sender
    token = sign_model(header, key, typ="rows", kid=kid).encode()
    plain = len(token).to_bytes(4, "little") + token + sent.astype("<u4").tobytes()
    bound = RowsTrip(exchanged.attempt, state.h, sender, receiver, 0, 1, shared).context()
    public = federation.contexts[receiver].attempts.key(exchanged.attempt).public
    inbox = exchanged.inbox(receiver) | {f"from.{sender}": as_array(seal(plain, public, context=bound))}
    with pytest.raises(ExchangeError) as caught:
        exchanged.share(receiver, inbox)
    assert caught.value.field == sender
    assert refusal_detail(caught.value) == f"sender={sender}"


def test_a_sender_whom_several_accuse_must_leave_not_they(tmp_path: Path) -> None:
    world = make_world(tmp_path)

    def falsify(party: str, step: str, parcel: Parcel) -> Parcel:
        if (party, step) != ("tax-1", "train.exchange"):
            return parcel
        return Parcel(parcel.texts, {name: box[::-1].copy() for name, box in parcel.arrays.items()})

    world.disturb(after=falsify)
    released = run_scorecard(world)
    assert set(released.lost) == {"tax-1"}
    assert "rows were refused" in released.lost["tax-1"]
