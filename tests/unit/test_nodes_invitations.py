"""Invitations at a node: the key in the batch is the merchant's, whatever the hub hands over."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from crypto.jws import merchant_public
from crypto.wire.invitation import OfferedKey, OfferedKeys
from hub.tables.invitations import InvitationRow
from nodes.errors import PeerError
from nodes.invitations import Invited
from nodes.merchant_keys import check_submission, countersign, draft_batch
from tests.hub_merchants import Merchant
from tests.merchant_browser import offer
from tests.platform_world import PlatformWorld
from tests.unit.test_hub_invitations import post


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PlatformWorld]:
    world = PlatformWorld(tmp_path, "platform", "bank-01")
    yield world
    world.close()


def token_of(invited: Invited) -> str:
    return invited.link.partition("#")[2]


def test_an_invited_merchants_key_goes_all_the_way(world: PlatformWorld) -> None:
    shop = world.know("shop")
    platform, bank = world.agents["platform"], world.agents["bank-01"]
    invited = platform.invitations.invite(shop)
    assert invited.link.startswith("http://127.0.0.1:18440/merchant/join#")
    assert platform.invitations.open_link(shop) == invited
    signed, jwk = offer(token_of(invited), world.now)
    assert post(world.http, "invitations/key", signed).status_code == 201
    collected = platform.invitations.collect()
    assert ([leaf.jwk for leaf in collected.leaves], collected.refused) == ([merchant_public(jwk)], 0)
    draft = draft_batch(
        collected.leaves,
        identity=platform.runtime.identity,
        platform="platform",
        countersigner=platform.runtime.roster.party("bank-01"),
        batch_id="5" * 32,
        now=world.now,
    )
    submission = countersign(
        draft,
        identity=bank.runtime.identity,
        party=bank.runtime.roster.party("bank-01"),
        roster=bank.runtime.roster,
        store=bank.runtime.store,
    )
    check_submission(submission, platform.runtime.roster)
    platform.runtime.hub.request("POST", "/v1/merchant-keys", submission.model_dump_json().encode())
    assert platform.invitations.collect().leaves == ()
    record_id, token = world.consent(Merchant(shop, jwk))
    world.hub.consents.submit([token])
    assert world.hub.consents.read(record_id).state == "given"


def test_a_key_that_the_hub_put_in_the_merchants_place_is_refused(world: PlatformWorld) -> None:
    shop = world.know("shop")
    invited = world.agents["bank-01"].invitations.invite(shop)
    mine, _ = offer(token_of(invited), world.now)
    post(world.http, "invitations/key", mine)
    # The hub knows the token's hash alone; it makes an offer of its own that is well signed.
    token_sha256 = hashlib.sha256(token_of(invited).encode()).digest()
    forged, _ = offer(token_of(invited), world.now, proof=bytes(32))
    with world.hub.db.session() as session:
        row = session.get(InvitationRow, token_sha256)
        assert row is not None
        row.offer = forged
    collected = world.agents["bank-01"].invitations.collect()
    assert (collected.leaves, collected.refused) == ((), 1)
    with world.hub.db.session() as session:
        row = session.get(InvitationRow, token_sha256)
        assert row is not None
        row.offer = mine
    assert world.agents["bank-01"].invitations.collect().refused == 0


def test_keys_of_other_invitations_and_merchants_are_refused(
    world: PlatformWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, other = world.know("shop"), world.know("other")
    bank = world.agents["bank-01"]
    mine, _ = offer(token_of(bank.invitations.invite(shop)), world.now)
    foreign, _ = offer("somebody else's token", world.now)
    swapped = OfferedKeys(
        keys=(
            OfferedKey(pii_principal_id=other, replaces=False, offer=mine),
            OfferedKey(pii_principal_id=shop, replaces=False, offer=foreign),
        )
    )
    monkeypatch.setattr(bank.runtime.hub, "request", lambda *_, **__: swapped.model_dump_json().encode())
    collected = bank.invitations.collect()
    assert (collected.leaves, collected.refused) == ((), 2)


def test_an_invitation_that_the_hub_refuses_gives_no_link(world: PlatformWorld) -> None:
    shop = world.know("shop")
    with pytest.raises(PeerError) as refused:
        world.agents["bank-01"].invitations.invite(shop, replaces=True)
    assert (refused.value.peer_code, refused.value.field) == ("invitation-refused", "replaces")
    assert world.agents["bank-01"].invitations.open_link(shop) is None
    invited = world.agents["bank-01"].invitations.invite(shop, life=timedelta(days=1))
    world.now += timedelta(days=2)
    assert world.agents["bank-01"].invitations.open_link(shop) is None
    assert invited.expires_at < world.now
