"""Policies from their table."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from hub.platform.batches import batches
from hub.platform.insurance_errors import PolicyUnknownError
from hub.platform.policies import EndCause, Policy, PolicyTerms
from hub.platform.tables.insurance import PolicyRow


def of_row(row: PolicyRow) -> Policy:
    """A row as a policy."""
    causes: dict[str | None, EndCause] = {"cancelled": "cancelled", "lapsed": "lapsed", "total-loss": "total-loss"}
    terms = PolicyTerms.model_validate(
        {
            "number": row.reference,
            "account_id": row.account_id,
            "covers": row.covers.split(" "),
            "sum_insured_fen": row.sum_insured_fen,
            "premium_fen": row.premium_fen,
            "since": row.since,
            "until": row.until,
        }
    )
    return Policy(row.policy_id, row.insurer, terms, row.ended_on, causes.get(row.cause))


def one_row(session: Session, policy_id: str, insurer: str | None = None) -> PolicyRow:
    """Return a policy's row, of one insurer where it is named.

    Raises:
        PolicyUnknownError: it is not there, or another insurer's: both look alike.
    """
    row = session.scalars(select(PolicyRow).where(PolicyRow.policy_id == policy_id)).first()
    if row is None or (insurer is not None and row.insurer != insurer):
        raise PolicyUnknownError(
            f"There is no policy {policy_id} of yours.",
            field="policy_id",
            remedy="Compare it with the list of your policies.",
        )
    return row


def one(session: Session, policy_id: str) -> Policy:
    """Return a policy; PolicyUnknownError where there is none."""
    return of_row(one_row(session, policy_id))


def load(session: Session, policy_ids: Collection[str]) -> dict[str, Policy]:
    """Return those that there are, by identifier."""
    found: dict[str, Policy] = {}
    for part in batches(sorted(set(policy_ids))):
        query = select(PolicyRow).where(PolicyRow.policy_id.in_(part))
        found.update((row.policy_id, of_row(row)) for row in session.scalars(query).all())
    return found


def alike(session: Session, policy: Policy) -> list[Policy]:
    """Return a merchant's policies that share days and a cover with one of them, itself included."""
    query = select(PolicyRow).where(PolicyRow.account_id == policy.account_id).order_by(PolicyRow.number)
    covers = set(policy.terms.covers)
    return [
        each
        for each in map(of_row, session.scalars(query).all())
        if each.policy_id == policy.policy_id
        or (covers & set(each.terms.covers) and policy.covered.within(each.covered) is not None)
    ]
