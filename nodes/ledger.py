"""The node's own privacy ledger: what left it, and what each merchant's data has paid for that.

Rules (docs/protocol.md, 3): *write before send*: the exact bytes and their charge are durable before the bytes
leave; asked again, the node repeats these bytes or refuses, as fresh noise under an old mask would expose the
noise. *Charge on send*; a refund needs the witness's signed void that names the node's own h.

What is charged (4): the campaign's total over all kinds and stages, as the node's merchants meet them all;
`nodes.charges` composes it. Nothing erases a row: the ledger lies in the node's data folder and is tied to no key, so
a restart, re-enrolment or new campaign changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.errors import AttemptError
from crypto.wire.campaign import MechanismTerms, Stage
from nodes.charges import Charge, epsilon_spent, stage_of
from nodes.clock import Clock, system_clock
from nodes.errors import BudgetExceeded, LedgerError
from nodes.store import Store
from nodes.tables.ledger import SentRow
from nodes.yearly_budget import YearlyBudget, check_year

_MECHANISMS: TypeAdapter[tuple[MechanismTerms, ...]] = TypeAdapter(tuple[MechanismTerms, ...])
FORGOTTEN = b""
"""Stands for the hash of bytes that were sent before the store was set back."""
_TOLERANCE = 1e-9  # relative, for a campaign that asks exactly the budget


@dataclass(frozen=True)
class Spent:
    """(ε, δ) of everything charged and not refunded, and the campaigns in it."""

    epsilon: float
    delta: float
    campaigns: tuple[str, ...]


class Ledger:
    """The owner's budget (ε, δ) over the ledger in `store`."""

    def __init__(
        self,
        store: Store,
        epsilon: float,
        delta: float,
        *,
        yearly: YearlyBudget | None = None,
        clock: Clock = system_clock,
    ) -> None:
        """Args:
        store: the node's.
        epsilon, delta: the owner's budget over all campaigns.
        yearly: the further bound on programme statistics; none where left out.
        clock: now.
        """
        if not (math.isfinite(epsilon) and 0 < epsilon <= 100 and 0 < delta < 0.1):
            raise LedgerError(
                f"a budget of epsilon {epsilon} and delta {delta} is none",
                field="budget",
                remedy="set budget.epsilon up to 100, and budget.delta well below one over the number of merchants",
            )
        self.epsilon = epsilon
        self.delta = delta
        self._store = store
        self._yearly = yearly
        self._clock = clock

    def check(
        self,
        campaign_id: str,
        mechanisms: tuple[MechanismTerms, ...],
        *,
        stage: Stage | None = None,
        delta_sum: float = 0.0,
    ) -> None:
        """Refuse an attempt that would pass the budget (T1, before acceptance).

        Args:
            campaign_id: the campaign.
            mechanisms: the campaign's mechanisms, all kinds and stages.
            stage: the attempt's stage; without it the attempt is taken to run all of them.
            delta_sum: distance of the campaign's summed noise shares from the discrete Gaussian.

        Raises:
            BudgetExceeded: with what is spent, what is asked and the budget.
            YearlyBudgetExceeded: statistics beyond their yearly budget.
        """
        with self._store.reading() as session:
            self._check(_charges(session), _planned(campaign_id, mechanisms, stage, delta_sum))

    def record_send(
        self,
        *,
        campaign_id: str,
        attempt: str,
        h: bytes,
        payload: bytes,
        mechanisms: tuple[MechanismTerms, ...],
        delta_sum: float = 0.0,
    ) -> bytes:
        """Make bytes and charge durable, in one transaction; send only what this returns (T3).

        The stage is read from the attempt's id (`<campaign>/<stage>/…`). Rounds after an encoder run's first pass no
        mechanisms: the first has paid for all charged attempts.

        Returns:
            The exact bytes to send: `payload`, or those recorded before for the same attempt and h.

        Raises:
            AttemptError: the attempt was recorded under another h or campaign, or was voided and refunded.
            BudgetExceeded, YearlyBudgetExceeded: the charge would pass the budget; nothing is recorded.
        """
        with self._store.session() as session:
            row = session.get(SentRow, attempt)
            if row is not None:
                return _repeat(row, campaign_id, h)
            planned = _planned(campaign_id, mechanisms, stage_of(campaign_id, attempt), delta_sum, attempt=attempt)
            if mechanisms:
                self._check(_charges(session), planned)
            session.add(
                SentRow(
                    attempt=attempt,
                    campaign_id=campaign_id,
                    h=h,
                    payload=payload,
                    sha256=hashlib.sha256(payload).digest(),
                    mechanisms=_MECHANISMS.dump_json(mechanisms).decode(),
                    delta_sum=delta_sum,
                    sent_at=int(self._clock().timestamp()),
                )
            )
        return payload

    def record_forgotten(
        self, *, campaign_id: str, attempt: str, h: bytes, mechanisms: tuple[MechanismTerms, ...], delta_sum: float
    ) -> None:
        """Charge a send that the witness knows and this ledger does not: the store was set back.

        It counts even past the budget, for it happened. Its bytes are gone, and are never made again.
        """
        with self._store.session() as session:
            if session.get(SentRow, attempt) is None:
                session.add(
                    SentRow(
                        attempt=attempt,
                        campaign_id=campaign_id,
                        h=h,
                        payload=b"",
                        sha256=FORGOTTEN,
                        mechanisms=_MECHANISMS.dump_json(mechanisms).decode(),
                        delta_sum=delta_sum,
                        sent_at=int(self._clock().timestamp()),
                    )
                )

    def refund(self, attempt: str, h: bytes) -> None:
        """Take a charge back. Call it only after verifying the witness's signed void of this attempt.

        Raises:
            AttemptError: nothing was sent in this attempt, the void names another h, or it was refunded before.
        """
        with self._store.session() as session:
            row = session.get(SentRow, attempt)
            if row is None:
                raise AttemptError(
                    f"nothing was sent in attempt {attempt}", field="attempt", remedy="there is nothing to refund"
                )
            if row.h != h:
                raise AttemptError(
                    f"the void of attempt {attempt} names another manifest than the one that was charged",
                    field="h",
                    remedy="ask the witness for its decision on the node's own manifest",
                )
            if row.refunded:
                raise AttemptError(
                    f"attempt {attempt} was refunded before", field="attempt", remedy="one void refunds once"
                )
            row.refunded = True

    def spent(self) -> Spent:
        """(ε, δ) of everything charged and not refunded, over all campaigns."""
        with self._store.reading() as session:
            standing = [charge for charge in _charges(session) if not charge.refunded]
        campaigns = tuple(sorted({charge.campaign_id for charge in standing}))
        return Spent(self._spent(standing), self.delta, campaigns)

    def charges(self) -> tuple[Charge, ...]:
        """Every line of the ledger, refunded ones too, in order of sending."""
        with self._store.reading() as session:
            return tuple(_charges(session))

    def _check(self, charges: Iterable[Charge], planned: Charge) -> None:
        standing = [charge for charge in charges if not charge.refunded]
        if self._yearly is not None:
            check_year(self._yearly, standing, planned, int(self._clock().timestamp()), self._spent)
        total = self._spent([*standing, planned])
        if total > self.epsilon * (1 + _TOLERANCE):
            raise BudgetExceeded(
                spent=self._spent(standing),
                asked=self._spent([planned]),
                total=total,
                epsilon=self.epsilon,
                delta=self.delta,
            )

    def _spent(self, standing: Sequence[Charge]) -> float:
        return epsilon_spent(standing, epsilon=self.epsilon, delta=self.delta)


def _planned(
    campaign_id: str,
    mechanisms: tuple[MechanismTerms, ...],
    stage: Stage | None,
    delta_sum: float,
    *,
    attempt: str | None = None,
) -> Charge:
    name = attempt or (f"{campaign_id}/{stage}/planned" if stage else "planned")
    return Charge(campaign_id, name, b"", b"", mechanisms, delta_sum, 0, False)


def _repeat(row: SentRow, campaign_id: str, h: bytes) -> bytes:
    if row.h != h or row.campaign_id != campaign_id:
        raise AttemptError(
            f"attempt {row.attempt} was sent under another manifest",
            field="h",
            remedy="start a new attempt; an attempt's id is never used twice",
        )
    if row.refunded:
        raise AttemptError(
            f"attempt {row.attempt} was voided and refunded", field="attempt", remedy="start a new attempt"
        )
    if row.sha256 == FORGOTTEN:
        raise AttemptError(
            f"attempt {row.attempt} was sent before this node's store was restored; its bytes are gone",
            field="attempt",
            remedy="start a new attempt",
        )
    return row.payload


def _charges(session: Session) -> list[Charge]:
    # The payload column is left out: a node may have sent many megabytes.
    columns = (
        SentRow.campaign_id,
        SentRow.attempt,
        SentRow.h,
        SentRow.sha256,
        SentRow.mechanisms,
        SentRow.delta_sum,
        SentRow.sent_at,
        SentRow.refunded,
    )
    rows = session.execute(select(*columns).order_by(SentRow.sent_at, SentRow.attempt)).all()
    return [
        Charge(
            row.campaign_id,
            row.attempt,
            row.h,
            row.sha256,
            _parsed(row.mechanisms),
            row.delta_sum,
            row.sent_at,
            row.refunded,
        )
        for row in rows
    ]


@lru_cache(maxsize=256)
def _parsed(mechanisms: str) -> tuple[MechanismTerms, ...]:
    return _MECHANISMS.validate_python(tuple(json.loads(mechanisms)))
