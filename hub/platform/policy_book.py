"""Policies as their insurers report them, and when they end before their time; each with its audit entry."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import date

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from hub.clock import seconds
from hub.platform.insurance_errors import PolicyKnownError
from hub.platform.lending import Lending
from hub.platform.policies import EndCause, Policy, PolicyTerms, ended
from hub.platform.policy_rows import of_row, one_row
from hub.platform.tables.insurance import PolicyRow

MAX_PAGE = 200


class PolicyBook:
    """All policies."""

    def __init__(self, lending: Lending) -> None:
        self._its = lending

    def report_in(self, session: Session, actor: str, insurer: str, policies: Sequence[PolicyTerms]) -> list[Policy]:
        """Take policies over from their insurer, all or none; those that are known with the same terms stay.

        Raises:
            PolicyKnownError: a policy of this number has other terms.
            MerchantUnknownError, MerchantClosedError: there is no such account.
        """
        return [self._report(session, actor, insurer, each) for each in policies]

    def end_in(
        self, session: Session, actor: str, policy_id: str, on: date, cause: EndCause, *, insurer: str
    ) -> Policy:
        """End a policy before its time: nothing of its premium is earned from that day on.

        Raises:
            PolicyUnknownError: there is none of this insurer.
            PolicyStateError: it has ended before, or the day lies outside of it.
        """
        row = one_row(session, policy_id, insurer)
        now = ended(of_row(row), on, cause)
        row.ended_on, row.cause = now.ended_on, now.cause
        self._its.audit(session, actor, "policy-end", policy_id, {"on": on.isoformat(), "cause": cause})
        return now

    def get(self, policy_id: str, *, insurer: str | None = None) -> Policy:
        """Return a policy, of one insurer where it is named; PolicyUnknownError where there is none."""
        with self._its.db.reading() as session:
            return of_row(one_row(session, policy_id, insurer))

    def listed(
        self, *, insurer: str | None = None, account_id: str | None = None, after: str | None = None
    ) -> list[Policy]:
        """Return `MAX_PAGE` policies in the order of their reporting, those after one of them."""
        query = select(PolicyRow).order_by(PolicyRow.number).limit(MAX_PAGE)
        if insurer is not None:
            query = query.where(PolicyRow.insurer == insurer)
        if account_id is not None:
            query = query.where(PolicyRow.account_id == account_id)
        with self._its.db.reading() as session:
            if after is not None:
                query = query.where(PolicyRow.number > one_row(session, after, insurer).number)
            return [of_row(row) for row in session.scalars(query).all()]

    def _report(self, session: Session, actor: str, insurer: str, terms: PolicyTerms) -> Policy:
        query = select(PolicyRow).where(PolicyRow.insurer == insurer, PolicyRow.reference == terms.number)
        known = session.scalars(query).first()
        if known is not None:
            found = of_row(known)
            if found.terms != terms:
                raise PolicyKnownError(
                    f"Policy {terms.number} was reported with other terms.",
                    field="number",
                    remedy="End that policy and report the new terms under another number.",
                )
            return found
        self._its.merchants(session, terms.account_id)
        row = PolicyRow(
            policy_id=secrets.token_hex(16),
            insurer=insurer,
            reference=terms.number,
            account_id=terms.account_id,
            covers=" ".join(terms.covers),
            sum_insured_fen=terms.sum_insured_fen,
            premium_fen=terms.premium_fen,
            since=terms.since,
            until=terms.until,
            reported_at=seconds(self._its.clock()),
        )
        session.add(row)
        session.flush()
        what: dict[str, JsonValue] = {"account": terms.account_id, "number": terms.number}
        what |= {"premium_fen": terms.premium_fen, "since": terms.since.isoformat(), "until": terms.until.isoformat()}
        self._its.audit(session, actor, "policy-report", row.policy_id, what)
        return of_row(row)
