"""What campaigns have cost so far, as far as the hub knows: from the terms that it signed and what was opened.

The programme-wide ledger is the witness's, and each node keeps its own, with the limit that its owner set. Neither lies
here: these figures are for planning, and prove nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select, union

from crypto.dated import verify_any
from crypto.key_line import KeyLine
from crypto.wire.campaign import MechanismTerms, Terms
from hub.db import Database
from hub.tables.campaigns import CampaignAttemptRow, EncoderRoundRow, OpenedTableRow


@dataclass(frozen=True)
class CampaignCost:
    """One campaign whose terms the witness cosigned.

    Attributes:
        at: when the newest of its attempts was cosigned, in seconds.
        stage: of that attempt.
        epsilon, delta: what all that it publishes may cost each merchant.
        parties: its nodes.
        published: something of it was opened, so that its cost counts; else nodes take their charges back.
        merchants: that the attempt was about.
    """

    campaign_id: str
    at: int
    stage: str
    epsilon: float
    delta: float
    noise: Literal["on", "off"]
    mechanisms: tuple[MechanismTerms, ...]
    parties: tuple[str, ...]
    merchants: int
    published: bool


@dataclass(frozen=True)
class NodeCost:
    """What a node's merchants spent: the sum of ε, which is an upper bound, over so many campaigns."""

    campaigns: int
    epsilon: float


class Spending:
    """Reads costs from the hub's database.

    Args:
        db: the hub's.
        hub_id, hub_keys: under which terms were signed.
    """

    def __init__(self, db: Database, *, hub_id: str, hub_keys: KeyLine) -> None:
        self._db = db
        self._hub_id = hub_id
        self._hub_keys = hub_keys
        self._read: dict[str, Terms] = {}
        """Attempt → terms; they never change."""

    def campaigns(self) -> tuple[CampaignCost, ...]:
        """Return the cost of every campaign that came as far as the witness, the newest first.

        Raises:
            SignatureError: terms in the database are not the hub's.
        """
        newest = (CampaignAttemptRow.created_at.desc(), CampaignAttemptRow.attempt.desc())
        columns = (
            CampaignAttemptRow.campaign_id,
            CampaignAttemptRow.attempt,
            CampaignAttemptRow.created_at,
            CampaignAttemptRow.stage,
        )
        rounds = select(CampaignAttemptRow.campaign_id).join(
            EncoderRoundRow, EncoderRoundRow.run == CampaignAttemptRow.attempt
        )
        with self._db.reading() as session:
            rows = session.execute(select(*columns).order_by(*newest)).all()
            opened = set(session.scalars(union(select(OpenedTableRow.campaign_id), rounds)))
            last = {row.campaign_id: row for row in reversed(rows)}
            unread = [row.attempt for row in last.values() if row.attempt not in self._read]
            found = select(CampaignAttemptRow.attempt, CampaignAttemptRow.terms)
            for attempt in unread:
                for name, token in session.execute(found.where(CampaignAttemptRow.attempt == attempt)):
                    self._read[name] = verify_any(token, self._hub_keys, Terms, typ="terms", kid=self._hub_id)
        costs = [
            _cost(row.campaign_id, row.created_at, row.stage, self._read[row.attempt], row.campaign_id in opened)
            for row in last.values()
        ]
        return tuple(sorted(costs, key=lambda cost: (-cost.at, cost.campaign_id)))

    def by_node(self, costs: Sequence[CampaignCost] | None = None) -> Mapping[str, NodeCost]:
        """Return node → what it spent in published campaigns with noise."""
        return by_node(self.campaigns() if costs is None else costs)


def by_node(costs: Sequence[CampaignCost]) -> Mapping[str, NodeCost]:
    """Return node → what it spent in published campaigns with noise."""
    spent: dict[str, NodeCost] = {}
    for cost in costs:
        if cost.published and cost.noise == "on":
            for party in cost.parties:
                known = spent.get(party, NodeCost(0, 0.0))
                spent[party] = NodeCost(known.campaigns + 1, known.epsilon + cost.epsilon)
    return spent


def _cost(campaign_id: str, at: int, stage: str, terms: Terms, published: bool) -> CampaignCost:
    return CampaignCost(
        campaign_id=campaign_id,
        at=at,
        stage=stage,
        epsilon=terms.privacy.epsilon,
        delta=terms.privacy.delta,
        noise=terms.privacy.noise,
        mechanisms=terms.privacy.mechanisms,
        parties=tuple(entry.party_id for entry in terms.roster),
        merchants=terms.cohort_size,
        published=published,
    )
