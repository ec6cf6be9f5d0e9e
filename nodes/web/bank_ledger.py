"""What the page of the ledger shows: privacy spent per campaign and year against the owner's budget, in words too."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select

from crypto.wire.campaign import MechanismTerms, TablesMechanism
from nodes.charges import Charge, epsilon_spent, stage_of
from nodes.services import Services
from nodes.tables.attempts import AttemptRow
from nodes.tables.ledger import SentRow
from nodes.web.bank_words import BEIJING, moment, say

CHARGED, OPEN, REFUNDED = "charged", "open", "refunded"
_ENDED = frozenset({"released", "void"})


@dataclass(frozen=True)
class SendLine:
    """One send.

    Attributes:
        state: `charged`; `open` while neither a release nor a void of its attempt was seen here; `refunded`.
        mechanisms: what it pays for, in words; empty where an earlier send of its run has paid.
        size: bytes that left, in all.
    """

    campaign: str
    stage: str
    attempt: str
    sent_at: str
    state: str
    mechanisms: tuple[str, ...]
    size: int
    sha256: str


@dataclass(frozen=True)
class SpentLine:
    """ε of one campaign or one year alone, and how much of it a drawing of the whole budget takes (0 to 100)."""

    name: str
    epsilon: float
    share: float
    sends: int
    refunded: int


@dataclass(frozen=True)
class LedgerSheet:
    """The ledger against the owner's budget.

    Attributes:
        spent: ε of everything that stands, composed; less than the sum of the campaigns' own.
        factor: e^spent: by how much any conclusion about one merchant may at most become likelier.
        open_charges: sends of attempts that have not ended.
    """

    spent: float
    budget: float
    left: float
    share: float
    delta: float
    factor: float
    campaigns: tuple[SpentLine, ...]
    years: tuple[SpentLine, ...]
    sends: tuple[SendLine, ...]
    open_charges: int
    refunds: int


class LedgerDesk:
    """Reads this node's ledger.

    Args:
        services: the node's.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def look(self, lang: str) -> LedgerSheet:
        """The whole ledger."""
        ledger = self._services.runtime.ledger
        charges = ledger.charges()
        standing = [charge for charge in charges if not charge.refunded]
        spent = epsilon_spent(standing, epsilon=ledger.epsilon, delta=ledger.delta)
        phases, sizes = self._phases(), self._sizes()
        sends = tuple(send_line(charge, phases, sizes, lang) for charge in reversed(charges))

        def spent_by(names: Sequence[str]) -> tuple[SpentLine, ...]:
            groups: dict[str, list[Charge]] = {}
            for name, charge in zip(names, charges, strict=True):
                groups.setdefault(name, []).append(charge)
            return tuple(
                spent_line(name, group, epsilon=ledger.epsilon, delta=ledger.delta) for name, group in groups.items()
            )

        years = [f"{datetime.fromtimestamp(charge.sent_at, UTC).astimezone(BEIJING):%Y}" for charge in charges]
        return LedgerSheet(
            spent=spent,
            budget=ledger.epsilon,
            left=max(ledger.epsilon - spent, 0.0),
            share=_share(spent, ledger.epsilon),
            delta=ledger.delta,
            factor=math.exp(min(spent, 700.0)),
            campaigns=spent_by([charge.campaign_id for charge in charges]),
            years=spent_by(years),
            sends=sends,
            open_charges=sum(line.state == OPEN for line in sends),
            refunds=sum(line.state == REFUNDED for line in sends),
        )

    def _phases(self) -> dict[str, str]:
        with self._services.runtime.store.reading() as session:
            rows = session.execute(select(AttemptRow.attempt, AttemptRow.phase)).all()
        return {row.attempt: row.phase for row in rows}

    def _sizes(self) -> dict[str, int]:
        with self._services.runtime.store.reading() as session:
            rows = session.execute(select(SentRow.attempt, func.length(SentRow.payload))).all()
        return {row[0]: row[1] for row in rows}


def spent_line(name: str, charges: Iterable[Charge], *, epsilon: float, delta: float) -> SpentLine:
    """What some charges cost by themselves."""
    known = list(charges)
    standing = [charge for charge in known if not charge.refunded]
    alone = epsilon_spent(standing, epsilon=epsilon, delta=delta)
    return SpentLine(name, alone, _share(alone, epsilon), len(known), len(known) - len(standing))


def send_line(charge: Charge, phases: dict[str, str], sizes: dict[str, int], lang: str) -> SendLine:
    """One line of the ledger in words."""
    stage = stage_of(charge.campaign_id, charge.attempt)
    if charge.refunded:
        state = REFUNDED
    else:
        state = OPEN if phases.get(charge.attempt, "released") not in _ENDED else CHARGED
    own = [each for each in charge.mechanisms if stage is None or each.stage == stage]
    return SendLine(
        campaign=charge.campaign_id,
        stage=say(lang, f"stage {stage}") if stage else "–",
        attempt=charge.attempt,
        sent_at=moment(charge.sent_at),
        state=state,
        mechanisms=tuple(mechanism_text(each, lang) for each in own),
        size=sizes.get(charge.attempt, 0),
        sha256=charge.sha256.hex(),
    )


def mechanism_text(mechanism: MechanismTerms, lang: str) -> str:
    """What was charged, in words."""
    if isinstance(mechanism, TablesMechanism):
        return say(
            lang,
            "{count} counts per merchant, each with noise of standard deviation {sigma}",
            count=f"{mechanism.count:,}",
            sigma=f"{mechanism.sigma:.4g}",
        )
    return say(
        lang,
        "{rounds} training rounds, each with noise of {sigma} times a merchant's greatest influence",
        rounds=mechanism.rounds,
        sigma=f"{mechanism.sigma_over_sensitivity:.4g}",
    )


def ledger_csv(charges: Iterable[Charge]) -> Iterator[str]:
    """The ledger's lines as CSV, without the bytes that were sent; names of columns are for machines."""
    columns = ("campaign", "attempt", "sent_at", "refunded", "h", "sha256", "delta_sum", "mechanisms")
    yield _line(columns)
    for each in charges:
        yield _line(
            (
                each.campaign_id,
                each.attempt,
                datetime.fromtimestamp(each.sent_at, UTC).isoformat(),
                each.refunded,
                each.h.hex(),
                each.sha256.hex(),
                repr(each.delta_sum),
                json.dumps([mechanism.model_dump() for mechanism in each.mechanisms], sort_keys=True),
            )
        )


def _line(cells: Iterable[object]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _share(spent: float, budget: float) -> float:
    return round(min(100.0, 100 * spent / budget), 2) if math.isfinite(spent) else 100.0
