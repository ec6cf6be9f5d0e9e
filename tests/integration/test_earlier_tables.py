"""A second campaign that counts the first one's table: what the witness makes again, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from crypto.canonical import canonical_bytes
from crypto.errors import AttemptError
from crypto.jws import verify_model
from crypto.wire.campaign import ModelRelease
from crypto.wire.link import EarlierTable, ReleaseProposal, WithdrawalProposal
from hub.campaign_plan import ReleasedTable
from hub.opened_tables import opened_table
from hub.scorecard_model import make_scorecard
from hub.simulation import Budget
from models.artefact import ModelArtefact, ScorecardEntry
from models.campaign_file import CampaignFile
from models.pooling import MOST_EARLIER, pooled
from models.scorecard_fit import train
from nodes.errors import PolicyRefusal
from nodes.journal import Journal
from nodes.store import Store
from nodes.witness.release import ReleaseDesk
from tests.assessments import assessed
from tests.federation import World, make_world, run_scorecard
from tests.scoring_world import NOW


@dataclass
class Years:
    """Two campaigns of one federation, really trained; the second one's terms name the first one's model."""

    world: World
    tables: tuple[ReleasedTable, ReleasedTable]
    first: ModelArtefact
    second: ModelArtefact

    def proposal(self, year: int, **changes: object) -> ReleaseProposal:
        released, artefact = self.tables[year], (self.first, self.second)[year]
        plain = ReleaseProposal(
            artefact=artefact.to_bytes().decode(),
            attempt=released.terms.attempt,
            scope="release",
            shares=dict(released.shares),
            assessment=assessed(released.terms.campaign_id),
            earlier=(self.earlier(),) if year else (),
        )
        return plain.model_copy(update=changes)

    def earlier(self, **changes: object) -> EarlierTable:
        released = self.tables[0]
        plain = EarlierTable(
            artefact=self.first.to_bytes().decode(), attempt=released.terms.attempt, shares=dict(released.shares)
        )
        return plain.model_copy(update=changes)


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Years]:
    world = make_world(
        tmp_path_factory.mktemp("federation"), merchants=400, absent=0.1, unlabelled=0.0, budget=Budget(100.0, 1e-4)
    )
    last = run_scorecard(world, world.noisy_plan(12.0))
    _, first = make_scorecard(last, NOW)
    now = run_scorecard(world, world.noisy_plan(12.0, campaign_id="c2", earlier=(first.model_id,)))
    _, second = make_scorecard(now, NOW, earlier={first.model_id: opened_table(last)})
    yield Years(world, (last, now), first, second)
    world.federation.grid.close()


@pytest.fixture
def desk(years: Years, tmp_path: Path) -> Iterator[ReleaseDesk]:
    """The witness, which released the first model."""
    store = Store.open(tmp_path / "node.db")
    made = ReleaseDesk(store, years.world.federation.witness_context, Journal(store, "witness", clock=lambda: NOW))
    made.release(canonical_bytes(years.proposal(0)))
    yield made
    store.close()


def refusal(desk: ReleaseDesk, proposal: ReleaseProposal) -> PolicyRefusal:
    with pytest.raises(PolicyRefusal) as caught:
        desk.release(canonical_bytes(proposal))
    return caught.value


def test_the_witness_makes_the_fit_on_both_tables_again_and_releases_it(years: Years, desk: ReleaseDesk) -> None:
    (entry,) = years.second.earlier
    assert (entry.model_id, entry.table_digest) == (years.first.model_id, years.first.table_digest)
    assert 0 < entry.weight <= 0.5
    assert years.tables[1].terms.earlier == (years.first.model_id,)
    token = desk.release(canonical_bytes(years.proposal(1))).decode()
    key = years.world.federation.identity_of("witness").public
    signed = verify_model(token, key, ModelRelease, typ="model-release", kid="witness")
    assert signed.model_id == years.second.model_id
    assert signed.table_sha256 == bytes.fromhex(years.second.table_digest or "")
    # The artefact states the new campaign's table alone, and its points are those of both.
    total, _ = pooled(opened_table(years.tables[1]), [opened_table(years.tables[0])])
    assert ScorecardEntry.of(train(total)) == years.second.scorecard
    assert ScorecardEntry.of(train(opened_table(years.tables[1]))) != years.second.scorecard


def test_counting_a_table_again_charges_nobody(years: Years) -> None:
    one, two = (table.terms.privacy for table in years.tables)
    assert one == two
    assert years.second.privacy == years.first.privacy


def test_another_weight_is_refused(years: Years, desk: ReleaseDesk) -> None:
    (entry,) = years.second.earlier
    heavier = years.second.model_copy(update={"earlier": (entry.model_copy(update={"weight": 0.75}),)})
    caught = refusal(desk, years.proposal(1, artefact=heavier.to_bytes().decode()))
    assert (caught.reason, caught.field) == ("model-not-reproduced", "earlier")
    silent = years.second.model_copy(update={"earlier": ()})
    caught = refusal(desk, years.proposal(1, artefact=silent.to_bytes().decode(), earlier=()))
    assert (caught.reason, caught.field) == ("model-not-reproduced", "scorecard")


def test_a_table_that_was_not_brought_or_is_another_is_refused(years: Years, desk: ReleaseDesk) -> None:
    assert refusal(desk, years.proposal(1, earlier=())).field == "earlier"
    party, share = next(iter(years.tables[0].shares.items()))
    bent = np.frombuffer(share, dtype="<u4").copy()
    bent[0] += 1
    shares = dict(years.tables[0].shares) | {party: bent.tobytes()}
    with pytest.raises(AttemptError, match="receipts"):
        desk.release(canonical_bytes(years.proposal(1, earlier=(years.earlier(shares=shares),))))
    own = years.earlier(attempt=years.tables[1].terms.attempt, shares=dict(years.tables[1].shares))
    assert "another table" in str(refusal(desk, years.proposal(1, earlier=(own,))))
    swapped = years.earlier(artefact=years.second.to_bytes().decode())
    assert refusal(desk, years.proposal(1, earlier=(swapped,))).field == "earlier"


def test_a_model_that_the_terms_do_not_name_is_refused(years: Years, desk: ReleaseDesk) -> None:
    released = years.tables[0]
    _, made = make_scorecard(released, NOW, earlier={years.second.model_id: opened_table(years.tables[1])})
    caught = refusal(desk, years.proposal(0, artefact=made.to_bytes().decode()))
    assert (caught.reason, caught.field) == ("model-not-reproduced", "earlier")


def test_a_model_that_was_never_released_or_was_withdrawn_is_not_counted(years: Years, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "node.db")
    desk = ReleaseDesk(store, years.world.federation.witness_context, Journal(store, "witness", clock=lambda: NOW))
    assert refusal(desk, years.proposal(1)).reason == "model-unknown"
    desk.release(canonical_bytes(years.proposal(0)))
    desk.withdraw(canonical_bytes(WithdrawalProposal(model_id=years.first.model_id, reason="drift")))
    assert refusal(desk, years.proposal(1)).reason == "model-withdrawn"
    # Without it the campaign still has a model: the terms allow the earlier table, they do not demand it.
    _, alone = make_scorecard(years.tables[1], NOW)
    assert desk.release(canonical_bytes(years.proposal(1, artefact=alone.to_bytes().decode(), earlier=())))
    store.close()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stages": ("encoder",)}, "earlier"),
        ({"stages": ("encoder", "scorecard")}, "earlier"),
        ({"earlier": ("sha256:" + "0" * 64,) * 2}, "distinct"),
        ({"earlier": tuple(f"sha256:{n:064x}" for n in range(MOST_EARLIER + 1))}, "at most"),
        ({"earlier": ("the last one",)}, "pattern"),
    ],
)
def test_orders_that_make_no_sense_are_refused(changes: dict[str, object], sentence: str) -> None:
    plain = {"name": "c", "schema": "s.yaml", "stages": ("scorecard",), "epsilon": 1.0}
    good = plain | {"earlier": tuple(f"sha256:{n:064x}" for n in range(MOST_EARLIER))}
    assert len(CampaignFile.model_validate(good).earlier) == MOST_EARLIER
    with pytest.raises(ValueError, match=sentence):
        CampaignFile.model_validate(good | changes)
