"""A world's merchants, products and financings through the platform's own services, as banks' systems would order them.

A financing lies whole within one batch, and a batch takes effect as a whole or not at all: loading that was cut off is
taken up where it stopped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from hub.platform.financing_book import FinancingBook
from hub.platform.financing_orders import (
    MAX_ORDERS,
    Apply,
    Contract,
    Default,
    Disburse,
    Offer,
    Order,
    PlannedInstalment,
    Repay,
    Score,
)
from hub.platform.financing_states import State
from hub.platform.financings import Financing
from hub.platform.instalments import MAX_MONTHS, MILLION
from hub.platform.merchant_book import Entrant, MerchantBook
from hub.platform.merchants import Facts
from hub.platform.product_book import ProductBook
from hub.platform.products import Bilingual, MerchantRule, ProductTerms, Span
from hub.platform.world.errors import WorldConflictError
from hub.platform.world.generator import PRODUCT, World, WorldMerchant, reference_of

ACTOR = "platform:synthetic-world"
MERCHANTS_AT_ONCE = 2_000
_MOST_FEN = 10**12
Progress: TypeAlias = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Loaded:
    """How much came in that was not there."""

    merchants: int
    financings: int


def no_progress(_stage: str, _done: int, _of: int) -> None:
    """Tell nobody."""


def products_of(world: World) -> tuple[ProductTerms, ...]:
    """One product a bank, on offer from the world's first day."""
    return tuple(
        ProductTerms(
            product_id=PRODUCT,
            bank=bank,
            title=Bilingual(zh="合成产品", en="Synthetic product"),
            summary=Bilingual(zh="合成世界的产品，并不存在。", en="A product of a synthetic world; it does not exist."),
            amount_fen=Span[int](least=1, most=_MOST_FEN),
            term_months=Span[int](least=1, most=MAX_MONTHS),
            annual_rate=Span[Decimal](least=Decimal(0), most=Decimal(1)),
            guarantee="credit",
            repayment="equal-instalments",
            rule=MerchantRule(kinds=("supermarket", "inn"), bands=("A", "B", "C", "D", "E")),
            on_offer_from=date(world.parameters.first_year, 1, 1),
        )
        for bank in sorted({each.bank for each in world.financings})
    )


def orders_of(financing: Financing) -> Iterator[Order]:
    """The orders that make this financing, from application to where it stands.

    Raises:
        ValueError: nothing was paid out.
    """
    if financing.contracted_on is None or financing.disbursed_on is None:
        raise ValueError("a financing of a world was paid out")
    its = reference_of(financing.account_id, financing.disbursed_on)
    yield Apply(
        reference=its,
        account_id=financing.account_id,
        product_id=financing.product_id,
        product_version=financing.product_version,
        amount_fen=financing.amount_fen,
        term_months=financing.term_months,
        applied_on=financing.applied_on,
    )
    yield Score(reference=its)
    yield Offer(
        reference=its,
        amount_fen=financing.amount_fen,
        annual_rate=Decimal(financing.annual_rate) / MILLION,
        term_months=financing.term_months,
    )
    yield Contract(reference=its, on=financing.contracted_on)
    plan = tuple(
        PlannedInstalment(due_on=each.due_on, principal_fen=each.principal_fen, interest_fen=each.interest_fen)
        for each in financing.plan
    )
    yield Disburse(reference=its, on=financing.disbursed_on, instalments=plan)
    for each in financing.repayments:
        yield Repay(
            reference=its,
            on=each.paid_on,
            principal_fen=each.principal_fen,
            interest_fen=each.interest_fen,
            payment=each.reference,
        )
    if financing.state == State.DEFAULTED and financing.ended_on is not None:
        yield Default(reference=its, on=financing.ended_on, cause="overdue")


def load_world(
    world: World,
    register: MerchantBook,
    products: ProductBook,
    financings: FinancingBook,
    *,
    progress: Progress = no_progress,
) -> Loaded:
    """Load a whole world; what is there already stays as it is, so loading that was cut off is taken up.

    Args:
        progress: told the stage, how much of it is done, and of how much.

    Raises:
        WorldConflictError: the platform has merchants or financings that are not this world's.
        PlatformError: a merchant's facts do not fit the platform's configuration.
    """
    merchants = load_merchants(world, register, progress=progress)
    return Loaded(merchants, load_lending(world, products, financings, progress=progress))


def load_merchants(world: World, register: MerchantBook, *, progress: Progress = no_progress) -> int:
    """Register the world's merchants under the world's account ids; returns how many were new. Raises as `load_world`.

    Nothing is written where one account conflicts: all are compared first.
    """
    entrants = [_entrant(register, each) for each in world.merchants]
    with register.db.reading() as session:
        known = register.known_in(session, entrants)
        accounts = register.accounts(session)
    ours = {entrant.account_id for entrant in entrants}
    if any(account_id not in ours for account_id in accounts):
        raise _conflict("The platform has merchants that are not this world's.", "account_id")
    for entrant in entrants:
        there = known.get(entrant.identifier)
        if (there is not None) != (entrant.account_id in accounts) or (
            there is not None and (there.account_id, there.facts) != (entrant.account_id, entrant.facts)
        ):
            raise _conflict(f"Account {entrant.account_id} is not as this world has it.", "account_id")
    new = [each for each in entrants if each.identifier not in known]
    progress("merchants", len(entrants) - len(new), len(entrants))
    for start in range(0, len(new), MERCHANTS_AT_ONCE):
        part = new[start : start + MERCHANTS_AT_ONCE]
        with register.db.session() as session:
            register.add_in(session, ACTOR, part)
        progress("merchants", len(entrants) - len(new) + start + len(part), len(entrants))
    return len(new)


def load_lending(
    world: World, products: ProductBook, financings: FinancingBook, *, progress: Progress = no_progress
) -> int:
    """Load products and financings; those that are there already stay as they are.

    Returns:
        How many financings came in.

    Raises:
        WorldConflictError: a financing is there that differs from this world's.
        PlatformError: an account is missing.
    """
    there = financings.known([each.financing_id for each in world.financings])
    for each in world.financings:
        if each.financing_id in there and there[each.financing_id].financing != each:
            raise _conflict(f"Financing {each.financing_id} is not as this world has it.", "financing_id")
    products.publish(ACTOR, products_of(world))
    waiting: dict[str, list[Order]] = defaultdict(list)
    counted: dict[str, int] = defaultdict(int)
    done = len(there)
    progress("financings", done, len(world.financings))

    def send(bank: str) -> None:
        nonlocal done
        financings.execute(bank, ACTOR, waiting.pop(bank))
        done += counted.pop(bank)
        progress("financings", done, len(world.financings))

    for each in world.financings:
        if each.financing_id in there:
            continue
        orders = list(orders_of(each))
        if waiting[each.bank] and len(waiting[each.bank]) + len(orders) > MAX_ORDERS:
            send(each.bank)
        waiting[each.bank].extend(orders)
        counted[each.bank] += 1
    for bank in sorted(waiting):
        if waiting[bank]:
            send(bank)
    return len(world.financings) - len(there)


def _entrant(register: MerchantBook, merchant: WorldMerchant) -> Entrant:
    facts = Facts(merchant.kind, merchant.name, merchant.industry, merchant.origin, merchant.place)
    return replace(register.checked("uscc", merchant.identifier, facts), account_id=merchant.account_id)


def _conflict(message: str, field: str) -> WorldConflictError:
    return WorldConflictError(
        message,
        field=field,
        remedy="Load a synthetic world into a platform of its own, and go on with the file that it was begun with.",
    )
