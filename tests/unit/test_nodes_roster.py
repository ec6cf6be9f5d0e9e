"""Whom a node trusts: only what the pinned witness signed, and never an older version."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto.errors import SignatureError
from crypto.jws import sign_model
from crypto.keys import IdentityKey
from crypto.wire.party import Roster
from nodes.errors import PeerError
from nodes.roster import RosterBook
from nodes.store import Store
from tests.node_world import SignerWorld


@pytest.fixture
def world(tmp_path: Path) -> SignerWorld:
    return SignerWorld(tmp_path)


@pytest.fixture
def book(world: SignerWorld) -> RosterBook:
    return RosterBook(Store.open(world.base / "node.db"), world.trust)


def test_before_the_first_roster_nobody_is_known(book: RosterBook) -> None:
    assert (book.version, book.token, book.parties()) == (0, None, ())
    with pytest.raises(PeerError) as caught:
        book.party("bank-01")
    assert caught.value.peer_code == "roster-missing"


def test_roster_is_kept_over_a_restart(world: SignerWorld, book: RosterBook) -> None:
    token = world.roster(3)
    book.update(token)
    assert book.update(token).version == 3
    again = RosterBook(Store.open(world.base / "node.db"), world.trust)
    assert (again.version, again.token) == (3, token)
    assert again.party("bank-01") == world.bank()
    assert again.hub_voprf_key == world.hub_voprf.public
    with pytest.raises(PeerError, match="bank-02 is not in the roster") as caught:
        again.party("bank-02")
    assert caught.value.party == "bank-02"


def test_versions_never_go_back(world: SignerWorld, book: RosterBook) -> None:
    book.update(world.roster(2, parties=()))
    for version in (1, 2):
        with pytest.raises(PeerError) as caught:
            book.update(world.roster(version))
        assert caught.value.peer_code == "roster-went-back"
    with pytest.raises(PeerError):
        book.party("bank-01")
    book.update(world.roster(3))
    assert book.party("bank-01")


def test_only_the_pinned_witness_signs_rosters(world: SignerWorld, book: RosterBook) -> None:
    genuine = Roster.model_validate_json(_payload(world.roster(1)))
    for signer in (world.hub, IdentityKey.generate()):
        with pytest.raises(SignatureError):
            book.update(sign_model(genuine, signer, typ="roster", kid="witness"))
    with pytest.raises(SignatureError):
        book.update(sign_model(genuine, world.witness, typ="terms", kid="witness"))
    assert book.version == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"hub_sign_key": bytes(32)}, "hub-key-mismatch"),
        ({"hub_id": "other-hub"}, "hub-key-mismatch"),
    ],
)
def test_a_roster_against_the_pinned_keys_is_refused(
    world: SignerWorld, book: RosterBook, change: dict[str, object], code: str
) -> None:
    with pytest.raises(PeerError) as caught:
        book.update(world.roster(1, **change))
    assert caught.value.peer_code == code
    assert book.version == 0


def test_a_roster_whose_witness_has_another_key_is_refused(world: SignerWorld, book: RosterBook) -> None:
    other = world.bank("witness").model_copy(update={"kind": "witness"})
    token = sign_model(
        Roster.model_validate_json(_payload(world.roster(1))).model_copy(update={"parties": (other,)}),
        world.witness,
        typ="roster",
        kid="witness",
    )
    with pytest.raises(PeerError) as caught:
        book.update(token)
    assert caught.value.peer_code == "witness-key-mismatch"


def test_a_repeated_party_is_refused(world: SignerWorld, book: RosterBook) -> None:
    with pytest.raises(SignatureError, match="distinct"):
        book.update(world.roster(1, parties=(world.bank(), world.bank())))


def test_changed_voprf_keys_are_refused(world: SignerWorld, book: RosterBook) -> None:
    book.update(world.roster(1))
    with pytest.raises(PeerError) as caught:
        book.update(world.roster(2, witness_voprf_key=bytes(range(32))))
    assert caught.value.peer_code == "voprf-key-changed"
    assert book.version == 1


def _payload(token: str) -> bytes:
    from base64 import urlsafe_b64decode

    return urlsafe_b64decode(token.split(".")[1] + "==")
