"""Offers by consent: whom a bank hears of, and until when; what the merchant says to an offer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from hub.platform.financing_states import State
from hub.platform.lending_errors import ConsentMissingError, NotEligibleError, OfferStateError, OfferUnknownError
from hub.platform.prequalification import OFFER_DAYS, Prequalification
from hub.platform.products import ProductTerms
from tests.lending_world import ACTOR, BANK, SHOP, LendingWorld, Shop
from tests.scripted_consents import ScriptedConsents

ME, MY_ID = "shop0001", "91331100MA2E0QXX0A"
WHO = f"merchant:{ME}"


class OfferWorld:
    """The desk, and what a merchant does at it."""

    def __init__(self, base: Path) -> None:
        self.lending = LendingWorld(base)
        self.consents = ScriptedConsents(bands={MY_ID: "B"})
        its = self.lending
        self.desk = Prequalification(its.lending, its.products, its.book, self.consents)

    def allow(self, bank: str = BANK, *, sign: bool = True) -> str:
        self.desk.allow(ME, bank, MY_ID, actor=WHO, id_type="uscc", recipients=("platform", bank))
        request = self.consents.newest()
        if sign:
            self.consents.words[request] = "given"
        self.desk.refresh(ME, bank, MY_ID)
        return request

    def publish(self, **changes: Any) -> None:
        self.lending.products.publish(ACTOR, [ProductTerms.model_validate({**SHOP, **changes})])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OfferWorld]:
    world = OfferWorld(tmp_path)
    yield world
    world.lending.close()


def test_nothing_is_looked_at_before_the_merchant_signs(world: OfferWorld) -> None:
    request = world.allow(sign=False)
    assert world.consents.asked[request] == (MY_ID, "pre-qualification", {"recipients": ["platform", BANK]})
    assert world.consents.scored == []
    assert world.desk.offers_of(BANK).offers == ()
    # Asking again while it waits makes no second request.
    world.allow(sign=False)
    assert list(world.consents.asked) == [request]


def test_a_bank_hears_of_who_meets_its_rule(world: OfferWorld) -> None:
    world.allow()
    (mine,) = world.desk.offers_to(ME)
    assert world.desk.offers_of(BANK).offers == (mine,)
    assert (mine.product_id, mine.product_version, mine.state) == ("shop-loan", 1, "open")
    assert world.consents.scored == [(MY_ID, "pre-qualification")]
    assert world.desk.offers_of("bank-02").offers == ()
    # Looking again asks for no second score.
    world.desk.refresh(ME, BANK, MY_ID)
    assert len(world.consents.scored) == 1


@pytest.mark.parametrize(
    ("band", "merchant", "scores"),
    [("D", Shop(), 1), ("A", Shop("inn"), 0)],
    ids=["band", "kind"],
)
def test_a_bank_hears_nothing_of_who_meets_none(world: OfferWorld, band: Any, merchant: Shop, scores: int) -> None:
    world.lending.merchants[ME] = merchant
    world.consents.bands[MY_ID] = band
    world.allow()
    assert world.desk.offers_of(BANK).offers == ()
    assert world.lending.box.events() == []
    # Who cannot meet the rule whatever the band is not even scored.
    assert len(world.consents.scored) == scores


def test_no_band_is_kept(world: OfferWorld) -> None:
    world.allow()
    with world.lending.db.reading() as session:
        kept = [
            str(row)
            for table in ("allowances", "offers", "audit", "webhook_events")
            for row in session.execute(text(f"SELECT * FROM {table}"))
            if "product-publish" not in str(row)
        ]
    assert len(kept) > 4
    assert not [row for row in kept if "'B'" in row or '"B"' in row]


def test_a_product_that_comes_later_is_looked_at_then(world: OfferWorld) -> None:
    world.allow()
    world.publish(product_id="inn-loan", rule={"kinds": ["inn"], "bands": ["A"]})
    world.publish(product_id="village-loan", rule={"kinds": ["supermarket"], "bands": ["B"]})
    world.desk.refresh(ME, BANK, MY_ID)
    assert {each.product_id for each in world.desk.offers_to(ME)} == {"shop-loan", "village-loan"}


def test_stopping_ends_it_at_once_and_leads_to_revocation(world: OfferWorld) -> None:
    request = world.allow()
    link = world.desk.stop(ME, BANK, MY_ID, actor=WHO)
    assert link.endswith(request)
    assert world.desk.offers_of(BANK).offers == ()
    assert [each.state for each in world.desk.offers_to(ME)] == ["stopped"]
    # Though the consent itself may still stand at the hub, nothing more is looked at.
    world.publish(product_id="village-loan")
    found = world.desk.refresh(ME, BANK, MY_ID)
    assert found is not None
    assert found.state == "stopped"
    assert len(world.consents.scored) == 1
    # Allowing anew is a consent anew.
    assert world.allow() != request
    assert {each.state for each in world.desk.offers_of(BANK).offers} == {"open"}


def test_a_revocation_at_the_hub_ends_it(world: OfferWorld) -> None:
    request = world.allow()
    world.consents.words[request] = "revoked"
    found = world.desk.refresh(ME, BANK, MY_ID)
    assert found is not None
    assert found.state == "ended"
    assert world.desk.offers_of(BANK).offers == ()


def test_a_pause_leaves_offers_but_makes_none(world: OfferWorld) -> None:
    request = world.allow()
    world.consents.words[request] = "paused"
    world.publish(product_id="village-loan")
    world.desk.refresh(ME, BANK, MY_ID)
    assert len(world.desk.offers_to(ME)) == 1


def test_accepting_makes_an_application(world: OfferWorld) -> None:
    world.allow()
    (mine,) = world.desk.offers_to(ME)
    with pytest.raises(NotEligibleError):
        world.desk.accept(ME, mine.offer_id, amount_fen=1, term_months=12, actor=WHO)
    made = world.desk.accept(ME, mine.offer_id, amount_fen=5_000_000, term_months=12, actor=WHO)
    assert (made.financing.state, made.financing.account_id, made.financing.bank) == (State.APPLIED, ME, BANK)
    assert [each.state for each in world.desk.offers_of(BANK).offers] == ["accepted"]
    with pytest.raises(OfferStateError):
        world.desk.decline(ME, mine.offer_id, actor=WHO)
    with pytest.raises(OfferStateError):
        world.desk.accept(ME, mine.offer_id, amount_fen=5_000_000, term_months=12, actor=WHO)
    kinds = [each.body.partition('"kind":"')[2].partition('"')[0] for each in world.lending.box.events()]
    assert sorted(kinds) == ["financing.applied", "offer.accepted", "offer.open"]


def test_declining_is_an_answer(world: OfferWorld) -> None:
    world.allow()
    (mine,) = world.desk.offers_to(ME)
    with pytest.raises(OfferUnknownError):
        world.desk.decline("inn00001", mine.offer_id, actor="merchant:inn00001")
    assert world.desk.decline(ME, mine.offer_id, actor=WHO).state == "declined"
    assert world.desk.offers_of(BANK).offers == ()


def test_an_offer_lasts_so_long(world: OfferWorld) -> None:
    world.allow()
    (mine,) = world.desk.offers_to(ME)
    world.lending.now += timedelta(OFFER_DAYS + 1)
    assert world.desk.offers_of(BANK).offers == ()
    with pytest.raises(OfferStateError, match="expired"):
        world.desk.accept(ME, mine.offer_id, amount_fen=5_000_000, term_months=12, actor=WHO)


def test_what_was_never_allowed_cannot_be_stopped(world: OfferWorld) -> None:
    with pytest.raises(ConsentMissingError):
        world.desk.stop(ME, BANK, MY_ID, actor=WHO)
    assert world.desk.refresh(ME, BANK, MY_ID) is None
