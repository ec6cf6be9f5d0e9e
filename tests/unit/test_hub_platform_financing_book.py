"""Orders on financings: all or nothing, once each, in the audit record as in the tables."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from hub.platform.errors import PlatformError
from hub.platform.financing_book import Standing
from hub.platform.financing_orders import Order, Orders
from hub.platform.lending_errors import (
    FinancingStateError,
    FinancingUnknownError,
    FinancingVersionError,
    NotEligibleError,
    ReferenceTakenError,
    RepaymentError,
)
from hub.platform.products import ProductTerms
from tests.lending_world import ACTOR, BANK, DAY, SHOP, LendingWorld, apply, offer, order, whole_life


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LendingWorld]:
    world = LendingWorld(tmp_path)
    yield world
    world.close()


def execute(world: LendingWorld, *orders: Order, actor: str = ACTOR) -> list[Standing]:
    return world.book.execute(BANK, actor, orders)


def test_a_whole_life_in_one_batch(world: LendingWorld) -> None:
    found = execute(world, *whole_life("L-1"))
    assert [each.financing.state.value for each in found] == [
        "applied",
        "scored",
        "offered",
        "contracted",
        "disbursed",
        "disbursed",
        "disbursed",
        "closed",
    ]
    stored = world.book.get(found[-1].financing.financing_id, bank=BANK)
    assert stored == found[-1]
    assert stored.financing.annual_rate == 43_500
    assert sum(each.principal_fen for each in stored.financing.plan) == 1_200_000
    assert len(stored.financing.plan) == 12


def test_one_wrong_order_undoes_the_batch(world: LendingWorld) -> None:
    with pytest.raises(NotEligibleError, match="rate-out-of-range") as refused:
        execute(world, apply("L-1"), order("score"), offer(annual_rate="0.2"))
    assert refused.value.field == "orders.2.product_id"
    assert world.book.page() == []
    assert [action for _, action, _, _ in world.audit_entries() if action.startswith("financing")] == []


@pytest.mark.parametrize(
    ("wrong", "kind", "field"),
    [
        (order("score", "L-9"), FinancingUnknownError, "orders.0.reference"),
        (order("contract", on=DAY), FinancingStateError, "orders.0.state"),
        (order("score", if_version=7), FinancingVersionError, "orders.0.if_version"),
        (apply(amount_fen=1_300_000), ReferenceTakenError, "orders.0.reference"),
        (apply("L-2", account_id="inn00001"), NotEligibleError, "orders.0.product_id"),
        (apply("L-2", term_months=37), NotEligibleError, "orders.0.product_id"),
    ],
    ids=["unknown", "skipped", "changed", "taken", "kind", "term"],
)
def test_what_cannot_be_is_refused_by_its_number(
    world: LendingWorld, wrong: Order, kind: type[PlatformError], field: str
) -> None:
    execute(world, apply())
    with pytest.raises(kind) as refused:
        execute(world, wrong)
    assert (refused.value.field, refused.value.remedy is not None) == (field, True)


def test_an_application_again_is_the_same_one(world: LendingWorld) -> None:
    (first,) = execute(world, apply())
    entries = len(world.audit_entries())
    (second,) = execute(world, apply())
    assert first == second
    assert len(world.audit_entries()) == entries


def test_a_payment_counts_once(world: LendingWorld) -> None:
    execute(world, *whole_life("L-1")[:-1])
    with pytest.raises(RepaymentError, match="known already"):
        execute(world, order("repay", on=DAY + timedelta(99), principal_fen=1, interest_fen=0, payment="p2"))
    assert len(world.book.page()[0].financing.repayments) == 2


def test_another_banks_financing_looks_like_none(world: LendingWorld) -> None:
    (mine,) = execute(world, apply())
    with pytest.raises(FinancingUnknownError):
        world.book.get(mine.financing.financing_id, bank="bank-02")
    with pytest.raises(FinancingUnknownError):
        world.book.execute("bank-02", "bank:bank-02", [order("score")])
    assert world.book.page(bank="bank-02") == []


def test_an_application_keeps_the_version_it_was_made_under(world: LendingWorld) -> None:
    execute(world, apply("L-1"))
    dearer = {**SHOP, "annual_rate": {"least": "0.05", "most": "0.06"}}
    (published,) = world.products.publish(ACTOR, [ProductTerms.model_validate(dearer)])
    assert published.version == 2
    assert execute(world, order("score"), offer())[-1].financing.product_version == 1
    execute(world, apply("L-2"), order("score", "L-2"))
    with pytest.raises(NotEligibleError, match="rate-out-of-range"):
        execute(world, offer("L-2"))


def test_the_bank_is_told_of_what_it_did_not_order_itself(world: LendingWorld) -> None:
    execute(world, apply(), actor="merchant:shop0001")
    execute(world, order("score"), offer())
    execute(world, order("withdraw", on=DAY), actor="merchant:shop0001")
    kinds = [each.body.partition('"kind":"')[2].partition('"')[0] for each in world.box.events()]
    assert kinds == ["financing.withdrawn", "financing.applied"]


def test_two_that_withdraw_and_contract_at_once_do_not_both_win(world: LendingWorld) -> None:
    execute(world, apply(), order("score"), offer())
    barrier, ends = threading.Barrier(2), Counter[str]()

    def act(what: Order) -> None:
        barrier.wait()
        try:
            execute(world, what)
        except (FinancingStateError, FinancingVersionError):
            ends["refused"] += 1
        else:
            ends["done"] += 1

    both = [order("refuse", on=DAY, if_version=3), order("contract", on=DAY, if_version=3)]
    threads = [threading.Thread(target=act, args=(each,)) for each in both]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert ends == {"done": 1, "refused": 1}


def test_a_batch_holds_no_more_than_it_may() -> None:
    one = apply().model_dump(mode="json")
    with pytest.raises(ValueError, match="at most 500"):
        Orders.model_validate({"orders": [one] * 501})
