"""What the page of usage shows: this bank's queries by day, purpose and outcome, from its journal; models in use."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from models.card_content import CardFacts
from models.points_table import PointsFormat, points_csv, points_table
from models.web.problems import PageProblem
from nodes.errors import PolicyRefusal
from nodes.journal import JournalLine
from nodes.model_drift import known_table
from nodes.requester import CODE, QUERY_ENDED, QUERY_SENT
from nodes.services import Services
from nodes.web.bank_words import BEIJING, PURPOSES, moment, refused, say

LOCAL = "scored-locally"
NO_ANSWER = "asked"


@dataclass(frozen=True)
class Asked:
    """One request: merchants, how many have a score, and why the others have none."""

    when: datetime
    purpose: str
    model_id: str
    items: int
    scored: int
    codes: dict[str, int]


@dataclass(frozen=True)
class UsageDay:
    """A day's queries for one purpose."""

    day: str
    purpose: str
    asked: int
    scored: int
    refused: int


@dataclass(frozen=True)
class ModelUse:
    """A released model, and how often this bank asked for it in the time shown; `points`: it has a table of them."""

    model_id: str
    campaign: str
    kind: str
    released: str
    state: str
    usable: bool
    points: bool
    epsilon: float | None
    asked: int


@dataclass(frozen=True)
class UsageSheet:
    """Usage of the last days.

    Attributes:
        reasons: refusals in words, the most frequent first, with how many merchants each met.
        merchants: identifiers that this node had evaluated so far; they count against the witness's quota.
        feed_age: seconds since the node last heard all of its feed.
    """

    days: int
    lines: tuple[UsageDay, ...]
    reasons: tuple[tuple[PageProblem, int], ...]
    asked: int
    scored: int
    local: int
    merchants: int
    feed_age: int
    feed_limit: int
    models: tuple[ModelUse, ...]


class UsageDesk:
    """Adds this node's own queries up.

    Args:
        services: the node's.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def look(self, *, days: int, lang: str) -> UsageSheet:
        """Usage of the last `days` days, today included."""
        runtime = self._services.runtime
        now = runtime.now()
        first = (now.astimezone(BEIJING) - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
        lines = self._services.journal.of_types(QUERY_SENT, QUERY_ENDED, LOCAL)
        asked, local = requests_of(lines, since=first)
        codes: Counter[str] = Counter()
        per_model: Counter[str] = Counter()
        for each in asked:
            codes.update(each.codes)
            per_model[each.model_id] += each.items
        return UsageSheet(
            days=days,
            lines=tuple(by_day(asked, lang)),
            reasons=tuple((refused(code, lang), number) for code, number in codes.most_common()),
            asked=sum(each.items for each in asked),
            scored=sum(each.scored for each in asked),
            local=local,
            merchants=runtime.pseudonyms.count(),
            feed_age=int(min(runtime.feed_age(now), timedelta(days=999)).total_seconds()),
            feed_limit=runtime.config.feed_limit_seconds,
            models=tuple(self._models(per_model, lang)),
        )

    def points(self, model_id: str, form: PointsFormat, lang: str) -> bytes:
        """A released scorecard's table of points as a file; evidence is in it where the hub gives the noisy table.

        Raises:
            PolicyRefusal: the node has no such model.
            ArtefactError: it is no scorecard, or the hub's table is not the model's.
        """
        model = self._services.models.get(model_id)
        if model is None:
            raise PolicyRefusal(
                "model-unknown",
                f"this node has no released model {model_id}",
                field="model_id",
                remedy="take an id from the list of models",
            )
        model.artefact.card()  # refuses an encoder before the hub is asked
        table = known_table(self._services.runtime.hub, model)
        made = points_table(CardFacts(model.artefact, table=table, complete=False), lang)
        if form == "csv":
            return points_csv(made)
        from models.points_workbook import points_workbook  # noqa: PLC0415  (only where one is made)

        return points_workbook(made)

    def _models(self, asked: Counter[str], lang: str) -> Iterable[ModelUse]:
        for listed in self._services.models.list():
            if listed.withdrawn:
                state = "withdrawn"
            elif listed.rolled_back:
                state = "rolled back"
            else:
                state = "in use" if listed.scope == "release" else "for evaluation"
            artefact = listed.artefact
            yield ModelUse(
                model_id=listed.model_id,
                campaign=listed.campaign_id,
                kind="" if artefact is None else say(lang, "model " + artefact.model_type),
                released=moment(listed.issued_at),
                state=say(lang, "model is " + state),
                usable=listed.usable,
                points=artefact is not None and artefact.scorecard is not None,
                epsilon=None if artefact is None else artefact.privacy.epsilon,
                asked=asked[listed.model_id],
            )


def requests_of(lines: Iterable[JournalLine], *, since: datetime) -> tuple[list[Asked], int]:
    """Requests since a time, each once with its last outcome, and merchants scored from own rows alone.

    A request that was sent again after a lost answer stands in the journal several times under one hash.
    """
    found: dict[str, Asked] = {}
    local = 0
    for line in lines:
        note = json.loads(line.entry)
        when, facts = datetime.fromisoformat(note["time"]), note["facts"]
        if when < since:
            continue
        if note["type"] == LOCAL:
            local += int(facts["items"])
            continue
        sent = found.get(facts["request_hash"])
        ended = note["type"] == QUERY_ENDED
        if sent is not None and not ended:
            continue
        codes = {name.removeprefix(CODE): int(number) for name, number in facts.items() if name.startswith(CODE)}
        found[facts["request_hash"]] = Asked(
            when=when if sent is None else sent.when,
            purpose=str(facts.get("purpose", "")),
            model_id=str(facts["model_id"]),
            items=int(facts["items"]),
            scored=int(facts.get("scored", 0)),
            codes=codes if ended else {NO_ANSWER: int(facts["items"])},
        )
    return list(found.values()), local


def by_day(asked: Iterable[Asked], lang: str) -> list[UsageDay]:
    """Queries added up by day and purpose, the newest day first."""
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for each in asked:
        total = sums[f"{each.when.astimezone(BEIJING):%Y-%m-%d}", each.purpose]
        total[0] += each.items
        total[1] += each.scored
    texts: dict[str, str] = {purpose: say(lang, text) for purpose, text in PURPOSES.items()}
    return [
        UsageDay(day, texts.get(purpose, purpose or "–"), items, scored, items - scored)
        for (day, purpose), (items, scored) in sorted(sums.items(), reverse=True)
    ]
