"""The bank's pages: what stands behind them all, and who may open which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from fastapi import FastAPI
from starlette.requests import Request

from models.i18n import Language
from models.web.access import access_of
from models.web.language import language_of_reader
from models.web.pages import NavItem, Pages
from models.web.people import Person
from models.web.rights import Right, Role, grant_of
from nodes.gateway_batches import BatchDesk
from nodes.services import Services
from nodes.web.bank_consents import ConsentDesk
from nodes.web.bank_contribution import ContributionDesk
from nodes.web.bank_files import FileDesk
from nodes.web.bank_journal import JournalDesk
from nodes.web.bank_ledger import LedgerDesk
from nodes.web.bank_quality import QualityDesk
from nodes.web.bank_scores import ScoreDesk
from nodes.web.bank_usage import UsageDesk

PLACES: tuple[tuple[str, str, Right], ...] = (
    ("Score one", "/bank/score", Right.ASK_SCORES),
    ("Score a file", "/bank/batches", Right.ASK_SCORES),
    ("Consents", "/bank/consents", Right.READ_CONSENTS),
    ("Merchants' requests", "/bank/tickets", Right.ANSWER_TICKETS),
    ("Usage", "/bank/usage", Right.READ_USAGE),
    ("Privacy ledger", "/bank/ledger", Right.READ_LEDGER),
    ("Data quality", "/bank/data", Right.CHECK_DATA),
    ("Contribution", "/bank/contribution", Right.READ_LEDGER),
    ("Journal", "/bank/journal", Right.READ_LEDGER),
)
"""Text, path and right of every place of the navigation, in order."""


@dataclass(frozen=True)
class BankDesks:
    """What the pages ask; one of each for a node."""

    services: Services
    scores: ScoreDesk
    files: FileDesk
    consents: ConsentDesk
    usage: UsageDesk
    ledger: LedgerDesk
    quality: QualityDesk
    contribution: ContributionDesk
    journal: JournalDesk

    @classmethod
    def of(cls, services: Services, desk: BatchDesk) -> BankDesks:
        """The desks of a node.

        Args:
            services: the node's.
            desk: works on its batches.
        """
        return cls(
            services=services,
            scores=ScoreDesk(services),
            files=FileDesk(services, desk),
            consents=ConsentDesk(services),
            usage=UsageDesk(services),
            ledger=LedgerDesk(services),
            quality=QualityDesk(services.runtime),
            contribution=ContributionDesk(services),
            journal=JournalDesk(services),
        )


def navigation() -> tuple[NavItem, ...]:
    """The places, each in the navigation of those who may open it."""
    return tuple(
        NavItem(text, path, frozenset(str(who) for who in grant_of(right).who if isinstance(who, Role)), order)
        for order, (text, path, right) in enumerate(PLACES)
    )


def first_place(person: Person) -> str:
    """Where a person begins: the first place that it may open, else its own account."""
    return next((path for _, path, right in PLACES if person.may(right)), "/account")


def put_on(app: FastAPI, desks: BankDesks) -> None:
    """Have the pages of an application ask these desks."""
    app.state.bank = desks


def desks_of(request: Request) -> BankDesks:
    """The desks of the application that serves this."""
    return cast("BankDesks", request.app.state.bank)


def pages_of(request: Request) -> Pages:
    """The look of the application that serves this."""
    return cast("Pages", request.app.state.pages)


def lang_of(request: Request) -> Language:
    """The reader's language."""
    return language_of_reader(request)


def look_at(request: Request, person: Person, what: str, subject: str) -> None:
    """Write a look at a merchant's data into the access record, before anything is shown."""
    access_of(request).looks.record(person, what, subject)
