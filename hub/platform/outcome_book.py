"""A bank's outcomes out of the platform's database, by its merchants' identifiers."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import select

from hub.db import Database
from hub.platform import financing_rows as rows
from hub.platform.directory import MerchantDirectory
from hub.platform.financings import Financing
from hub.platform.outcomes import Outcome, OutcomeQuery, outcome_of
from hub.platform.tables.lending import FinancingRow


def outcomes_of(db: Database, merchants: MerchantDirectory, bank: str, query: OutcomeQuery) -> dict[str, Outcome]:
    """Return the outcome of every merchant that has a financing of this bank in the cohort, by its identifier.

    A bank learns nothing that it did not order itself: these are its own borrowers and its own bookings.
    """
    wanted = select(FinancingRow.financing_id).where(
        FinancingRow.bank == bank,
        FinancingRow.disbursed_on >= query.disbursed_from,
        FinancingRow.disbursed_on <= query.disbursed_to,
    )
    by_account: dict[str, list[Financing]] = defaultdict(list)
    with db.reading() as session:
        for _, financing in rows.load(session, session.scalars(wanted).all()).values():
            by_account[financing.account_id].append(financing)
        identifiers = merchants.identifiers(session, by_account.keys())
    found: dict[str, Outcome] = {}
    for account_id, financings in by_account.items():
        outcome = outcome_of(financings, query)
        if outcome is not None and account_id in identifiers:
            found[identifiers[account_id]] = outcome
    return found
