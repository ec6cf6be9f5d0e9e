"""A campaign whose parties are killed on the way, and what must be true of it afterwards."""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crypto.jws import peek_payload
from hub.campaign_plan import ReleasedTable
from hub.campaign_record import CampaignRecord
from hub.cohort import Holding
from hub.simulation import Budget, Federation
from tests.assessments import submission
from tests.faults.cells import Cell
from tests.faults.world import PARTIES, FaultWorld

ENDED = ("succeeded", "failed", "aborted")


@dataclass(frozen=True)
class Ended:
    """A campaign that has ended, with everything that followed from its end.

    Attributes:
        state: as the hub tells it.
        missed: cells whose process was not killed.
    """

    campaign_id: str
    state: dict[str, Any]
    missed: list[str]


def run_campaign(
    world: FaultWorld,
    cells: Sequence[Cell],
    *,
    release: bool = False,
    at_end: Callable[[], None] = lambda: None,
    **order: Any,
) -> Ended:
    """Order a campaign, kill as the cells say, and wait until nothing is left to be done.

    Args:
        at_end: called when the campaign has ended, before what is left is waited for.
    """
    world.until(world.connected, what="all links before the campaign")
    before = len(world.killed())
    world.order_kills(cells)
    campaign_id = str(world.post("/v1/campaigns", ordered(world, **order))["campaign_id"])
    state = end_of(world, campaign_id)
    at_end()
    if release and state["status"] == "succeeded":
        world.post("/v1/assessments", submission(campaign_id).model_dump(mode="json"))
        world.post(f"/v1/models/{state['model_id']}/release", {"scope": "release"})
    book = world.hub.campaigns.book
    world.until(lambda: not book.undelivered() and not book.undecided(), what="the decisions at all nodes")
    world.until(world.connected, what="all links after the campaign")
    fired = world.killed()[before:]
    return Ended(campaign_id, state, [each.name for each in cells if each.name not in fired])


def ordered(world: FaultWorld, **order: Any) -> dict[str, Any]:
    """The order of a campaign."""
    campaign = {"name": "kills", "schema": "small", "stages": ["scorecard"], "epsilon": 3.0, "holdout": 0.3}
    return {"campaign": campaign | {"noise": "off"} | order, "schema": json.loads(world.made.schema.canonical_json())}


def end_of(world: FaultWorld, campaign_id: str) -> dict[str, Any]:
    """The campaign once it has ended, as the hub tells it."""

    def ended() -> dict[str, Any] | None:
        state: dict[str, Any] = world.get(f"/v1/campaigns/{campaign_id}")
        return state if state["status"] in ENDED else None

    return world.until(ended, what=f"the end of {campaign_id}")


def released(world: FaultWorld, campaign_id: str, stage: Any = "scorecard") -> ReleasedTable:
    """What the campaign opened."""
    book = world.hub.campaigns.book
    record = CampaignRecord(book, campaign_id, hub_key=world.hub.keys.identity)
    found = record.released(stage)
    assert found is not None
    return found


def undisturbed(world: FaultWorld, campaign_id: str, parties: Sequence[str], base: Path) -> Any:
    """The table of the same merchants and nodes, opened by a federation that nothing disturbs."""
    campaign = world.hub.campaigns.book.get(campaign_id)
    rows = np.flatnonzero(world.consenting())
    federation = Federation(
        world.made.schema,
        [world.data[party] for party in parties],
        {kind: Holding.of([named[row] for row in rows]) for kind, named in world.made.sources.items()},
        world.made.pseudonyms[rows],
        base,
        budget=Budget(90, 1e-5),
        insecure_noise_off=True,
    )
    plan = federation.plan(
        epsilon=3.0,
        delta=1e-5,
        holdout_salt=campaign.holdout_salt,
        holdout_fraction=campaign.order.holdout,
        noise_on=False,
    )
    try:
        return federation.run(plan, lambda _: None).counts
    finally:
        federation.close()


def check_attempts(world: FaultWorld, done: Ended, cells: Sequence[Cell], base: Path) -> None:
    """Each cell had its consequence, and the table is that of an undisturbed campaign of the same nodes."""
    table = released(world, done.campaign_id)
    here = [cell for cell in cells if cell.stage == "scorecard"]
    number = 1 + sum(cell.ends_attempt for cell in here)
    assert table.terms.attempt == f"{done.campaign_id}/scorecard/{number}"
    parties = [entry.party_id for entry in table.terms.roster]
    gone = {cell.process for cell in here if cell.follows == "without"}
    invited = world.hub.campaigns.book.get(done.campaign_id).order.nodes or PARTIES[1:]
    assert sorted(parties) == sorted(set(invited) - gone)
    assert np.array_equal(table.counts, undisturbed(world, done.campaign_id, parties, base))


def check_charges(world: FaultWorld, done: Ended) -> None:
    """Every party is charged for each released attempt once, and for no other that was decided."""
    for attempt, record in world.cosigned(done.campaign_id).items():
        if record.state.sort == "round":
            continue
        roster = record.state.nodes
        sent = {
            party: [each for each in world.charges(party) if each.attempt == attempt] for party in (*roster, "witness")
        }
        if record.state.phase == "released":
            assert {party: [each.refunded for each in lines] for party, lines in sent.items()} == {
                party: [False] for party in (*roster, "witness")
            }, attempt
            for party in roster:
                assert sent[party][0].sha256 == record.state.receipts[party], (attempt, party)
                assert sent[party][0].h == record.state.h
        else:
            standing = [party for party, lines in sent.items() if any(not each.refunded for each in lines)]
            assert standing == [], (attempt, record.state.phase)
    known = {each.attempt for party in PARTIES for each in world.charges(party)}
    mine = {each for each in known if each.startswith(f"{done.campaign_id}/")}
    assert mine <= set(world.cosigned(done.campaign_id))


def check_bytes(world: FaultWorld, done: Ended) -> None:
    """No party gave two different terms, receipts or decisions in one attempt."""
    seen: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for party in PARTIES:
        for line in world.answers(party):
            for name in ("receipt", "decision"):
                if name in line:
                    said = json.loads(peek_payload(line[name]))
                    if not said["attempt"].startswith(f"{done.campaign_id}/"):
                        continue
                    seen[party, name, said["attempt"]].add(json.dumps(said, sort_keys=True))
                    if "term" in line and "sha256" in said:
                        assert _decoded(said["sha256"]).hex() == line["term"], (party, said["attempt"])
    assert seen, "nothing was watched"
    twice = {key: texts for key, texts in seen.items() if len(texts) > 1}
    assert not twice


def check_log(world: FaultWorld, done: Ended) -> None:
    """Whatever happened once is in the log once."""

    def entries() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := world.hub.log.reader.entries(len(found), 1000):
            found += [json.loads(leaf) for leaf in page]
        return [each for each in found if each["facts"].get("campaign_id") == done.campaign_id]

    world.until(lambda: "campaign-ended" in [each["type"] for each in entries()], what="the log's last entry")
    facts = [(each["type"], each["facts"]) for each in entries()]
    counted = Counter(kind for kind, _ in facts)
    assert counted["campaign-started"] == counted["campaign-ended"] == 1
    for kind, key in (
        ("manifest", "attempt"),
        ("attempt-decision", "attempt"),
        ("table-opened", "attempt"),
        ("histogram-opened", "attempt"),
        ("bins-opened", "attempt"),
        ("model-registered", "attempt"),
    ):
        named = [str(each[key]) for name, each in facts if name == kind]
        assert len(named) == len(set(named)), (kind, named)
    rounds = [each["round"] for kind, each in facts if kind == "encoder-round"]
    assert rounds == list(range(len(rounds)))
    campaigns = [each.campaign_id for each in world.hub.campaigns.book.all()]
    assert len(campaigns) == len(set(campaigns))
    models = [each for each in world.hub.models.all() if each.campaign_id == done.campaign_id]
    assert len(models) == len({each.model_type for each in models})


def check_all(world: FaultWorld, done: Ended, cells: Sequence[Cell], base: Path) -> None:
    """All of the above."""
    assert done.state["status"] == "succeeded", done.state["failure"]
    assert done.missed == []
    check_attempts(world, done, cells, base)
    check_charges(world, done)
    check_bytes(world, done)
    check_log(world, done)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
