"""The platform put together: one database, one audit record, and what works on them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from hub.clock import Clock, utc_now
from hub.db import Database
from hub.platform.audit import AuditRecord
from hub.platform.callers import CallerBook
from hub.platform.calls import AnsweredCalls
from hub.platform.directory import MerchantDirectory
from hub.platform.financing_book import FinancingBook
from hub.platform.financing_scores import FinancingScores
from hub.platform.gateway import Gateway
from hub.platform.lending import Lending
from hub.platform.migrations.runner import VERSIONS
from hub.platform.policy_book import PolicyBook
from hub.platform.prequalification import Prequalification
from hub.platform.product_book import ProductBook
from hub.platform.programme_book import ProgrammeBook
from hub.platform.statistics_book import StatisticsBook
from hub.platform.subsidy_book import SubsidyBook
from hub.platform.webhook_box import WebhookBox


@dataclass(frozen=True)
class Platform:
    """The services of a platform.

    Attributes:
        name: of the platform, which is also that of its node.
    """

    name: str
    db: Database
    clock: Clock
    audit: AuditRecord
    callers: CallerBook
    calls: AnsweredCalls
    merchants: MerchantDirectory
    lending: Lending
    events: WebhookBox
    products: ProductBook
    financings: FinancingBook
    scores: FinancingScores
    offers: Prequalification
    programmes: ProgrammeBook
    subsidies: SubsidyBook
    policies: PolicyBook
    statistics: StatisticsBook

    def close(self) -> None:
        """Close all connections to the database."""
        self.db.close()


def open_platform(
    name: str,
    db: Database,
    merchants: MerchantDirectory,
    gateway: Gateway,
    *,
    told: Collection[str] = (),
    clock: Clock = utc_now,
) -> Platform:
    """Put a platform together on a database with the newest schema.

    Args:
        name: of its node, as consents name it.
        db: its own.
        merchants: who they are.
        gateway: of its own node.
        told: banks whose core systems take events.
        clock: the time.

    Raises:
        StateError: the database has another schema.
    """
    VERSIONS.check_schema(db)
    audit, events = AuditRecord(db, clock), WebhookBox(db, clock, told)
    lending = Lending(db, audit.write, clock, merchants.applicant, events)
    products = ProductBook(lending)
    financings, programmes = FinancingBook(lending, products), ProgrammeBook(lending)
    return Platform(
        name=name,
        db=db,
        clock=clock,
        audit=audit,
        callers=CallerBook(db, audit, clock),
        calls=AnsweredCalls(db, clock),
        merchants=merchants,
        lending=lending,
        events=events,
        products=products,
        financings=financings,
        scores=FinancingScores(lending, financings, gateway, own_party=name),
        offers=Prequalification(lending, products, financings, gateway),
        programmes=programmes,
        subsidies=SubsidyBook(lending, programmes),
        policies=PolicyBook(lending),
        statistics=StatisticsBook(lending, gateway),
    )
