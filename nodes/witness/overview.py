"""What the regulator sees first: the log's state, campaigns and what they cost, each node's share, days, alarms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError
from sqlalchemy import select

from crypto.errors import CryptoError
from crypto.jws import peek_payload
from crypto.wire.campaign import Terms
from crypto.wire.party import Party
from nodes.charges import Charge, epsilon_spent
from nodes.clock import Clock, system_clock
from nodes.ledger import Ledger
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.witness_attempts import WitnessAttemptRow
from nodes.witness.checkpoints import Cosigned, CosignedCheckpoints, Refused
from nodes.witness.mirror import Mirror, MirrorAlarm, Progress
from nodes.witness.mirror_index import CHINA, day_of
from nodes.witness.mirror_search import MirrorSearch, Wanted

DAYS = 14
_MOST_CAMPAIGNS = 500


@dataclass(frozen=True)
class NodeSpending:
    """What the released attempts in which a node took part cost each of its merchants at most."""

    party_id: str
    kind: str
    total: float
    this_year: float
    limit: float
    attempts: int


@dataclass(frozen=True)
class CampaignLine:
    """A campaign as the log has it, and what the witness charged for it. `status` is None while it runs."""

    campaign_id: str
    name: str
    stages: str
    stated: str
    started_at: datetime
    ended_at: datetime | None
    status: str | None
    code: str | None
    attempts: int
    refunded: int
    cost: float


@dataclass(frozen=True)
class DayLine:
    """One day's figures, by China's time."""

    day: str
    queries: int
    refusals: int
    consents: int
    revocations: int


@dataclass(frozen=True)
class Overview:
    """All of it. `year` is the current one by China's time."""

    progress: Progress
    newest: Cosigned | None
    age_seconds: int | None
    year: int
    spent: float
    spent_this_year: float
    limit: float
    delta: float
    nodes: tuple[NodeSpending, ...]
    campaigns: tuple[CampaignLine, ...]
    days: tuple[DayLine, ...]
    roster_version: int
    parties: tuple[Party, ...]
    waiting_models: int
    waiting_parties: int
    mirror_alarms: tuple[MirrorAlarm, ...]
    refused: tuple[Refused, ...]


class Spending:
    """The programme's ledger by node, year and campaign."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._who: dict[str, tuple[tuple[str, str], ...]] = {}

    @property
    def limit(self) -> float:
        """ε that the witness's owner allows the programme."""
        return self._ledger.epsilon

    @property
    def delta(self) -> float:
        """δ that goes with it."""
        return self._ledger.delta

    def cost(self, charges: Iterable[Charge]) -> float:
        """ε of those of the charges that stand."""
        standing = [each for each in charges if not each.refunded]
        return epsilon_spent(standing, epsilon=self.limit, delta=self.delta)

    def charges(self) -> tuple[Charge, ...]:
        """All charges, in order of sending."""
        return self._ledger.charges()

    def by_node(self, charges: Sequence[Charge], year: int) -> list[NodeSpending]:
        """Each node's share, in order of their names."""
        mine: dict[tuple[str, str], list[Charge]] = defaultdict(list)
        for charge in charges:
            for who in self._took_part(charge.attempt):
                mine[who].append(charge)
        return [
            NodeSpending(
                party_id=party,
                kind=kind,
                total=self.cost(own),
                this_year=self.cost(each for each in own if year_of(each.sent_at) == year),
                limit=self.limit,
                attempts=sum(not each.refunded for each in own),
            )
            for (party, kind), own in sorted(mine.items())
        ]

    def _took_part(self, attempt: str) -> tuple[tuple[str, str], ...]:
        """(party, kind) of an attempt's nodes, from the terms that the witness accepted; they never change."""
        if attempt not in self._who:
            with self._store.reading() as session:
                token = session.scalar(select(WitnessAttemptRow.terms).where(WitnessAttemptRow.attempt == attempt))
            self._who[attempt] = () if token is None else _nodes_of(token)
        return self._who[attempt]


class Overviews:
    """Puts the overview together from what the witness holds itself."""

    def __init__(
        self,
        mirror: Mirror,
        checkpoints: CosignedCheckpoints,
        spending: Spending,
        roster: RosterBook,
        *,
        clock: Clock = system_clock,
    ) -> None:
        self._mirror = mirror
        self._search = MirrorSearch(mirror.store)
        self._checkpoints = checkpoints
        self._spending = spending
        self._roster = roster
        self._clock = clock

    def overview(self, *, waiting_models: int, waiting_parties: int) -> Overview:
        """The overview now."""
        now = self._clock()
        year = now.astimezone(CHINA).year
        charges = self._spending.charges()
        newest = next(iter(self._checkpoints.newest(limit=1)), None)
        return Overview(
            progress=self._mirror.progress(),
            newest=newest,
            age_seconds=None if newest is None else max(0, int(now.timestamp()) - newest.time),
            year=year,
            spent=self._spending.cost(charges),
            spent_this_year=self._spending.cost(each for each in charges if year_of(each.sent_at) == year),
            limit=self._spending.limit,
            delta=self._spending.delta,
            nodes=tuple(self._spending.by_node(charges, year)),
            campaigns=tuple(self.campaigns()),
            days=tuple(self.days(now)),
            roster_version=self._roster.version,
            parties=self._roster.parties(),
            waiting_models=waiting_models,
            waiting_parties=waiting_parties,
            mirror_alarms=tuple(self._mirror.alarms()),
            refused=tuple(each for each in self._checkpoints.refused() if each.open),
        )

    def campaigns(self) -> list[CampaignLine]:
        """Campaigns of the log, newest first."""
        started = self._search.search(Wanted(type="campaign-started"), limit=_MOST_CAMPAIGNS)
        ended = self._search.search(Wanted(type="campaign-ended"), limit=_MOST_CAMPAIGNS)
        ends = {
            str(each.entry.facts.get("campaign_id")): each.entry for each in ended.entries if each.entry is not None
        }
        charged: dict[str, list[Charge]] = defaultdict(list)
        for charge in self._spending.charges():
            charged[charge.campaign_id].append(charge)
        lines: list[CampaignLine] = []
        for found in started.entries:
            if found.entry is None:
                continue
            facts = found.entry.facts
            name = str(facts.get("campaign_id"))
            end = ends.get(name)
            lines.append(
                CampaignLine(
                    campaign_id=name,
                    name=str(facts.get("name") or ""),
                    stages=str(facts.get("stages") or ""),
                    stated=str(facts.get("epsilon") or ""),
                    started_at=found.entry.time,
                    ended_at=None if end is None else end.time,
                    status=None if end is None else str(end.facts.get("status")),
                    code=None if end is None else _text(end.facts.get("code")),
                    attempts=sum(not each.refunded for each in charged[name]),
                    refunded=sum(each.refunded for each in charged[name]),
                    cost=self._spending.cost(charged[name]),
                )
            )
        return lines

    def days(self, now: datetime) -> list[DayLine]:
        """The figures of the last days, today first; days without any are there too."""
        names = [day_of(int((now - timedelta(days=back)).timestamp())) for back in range(DAYS)]
        figures = self._search.days(since=names[-1])
        return [
            DayLine(
                name,
                *(figures.get(name, {}).get(what, 0) for what in ("queries", "refusals", "consents", "revocations")),
            )
            for name in names
        ]


def year_of(moment: int) -> int:
    """The year of a moment by China's time."""
    return datetime.fromtimestamp(moment, UTC).astimezone(CHINA).year


def _nodes_of(token: str) -> tuple[tuple[str, str], ...]:
    try:
        terms = Terms.model_validate_json(peek_payload(token))
    except (CryptoError, ValidationError):
        return ()  # terms of another version; the programme's own line still has the charge
    return tuple((each.party_id, each.kind) for each in terms.roster)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
