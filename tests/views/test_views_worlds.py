"""Two worlds that differ in one merchant's data: no masked view tells them apart.

Hundreds of campaigns under fixed seeds; a classifier sees one party's view of each and names the world. Right and wrong
guesses at campaigns that it never saw are independent, so the interval of its accuracy is exact; it has to include one
half. The same classifiers find the merchant at once where a mask is left out, is used twice, or is too short.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.supercore.run import Run
from lightgbm import LGBMClassifier
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.codes import ABSENT, UNLABELLED
from tests.federation import World, held_out, make_world, run_scorecard
from tests.views.adjacent import Views, exact, opened, run, worlds
from tests.views.figures import Guesses, guess_worlds
from tests.views.randomness import FixedRandomness, at_fixed_time
from tests.views.recorder import Record
from tests.views.world import record_grid

RUNS = 1000
EMPTY, FULL, TARGET = worlds()
COHORTS = (EMPTY, FULL)
Features = NDArray[np.float64]
View = Callable[[Views], Features]

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)),
    "trees": lambda: LGBMClassifier(n_estimators=40, num_leaves=7, n_jobs=1, random_state=0, verbose=-1),
}


def features(words: NDArray[np.unsignedinteger[Any]]) -> Features:
    """Words as signed fractions of the ring, so that −1 and 1 lie near 0; and their lowest bits."""
    flat = np.ascontiguousarray(words).ravel()
    signed = flat.view(np.int32).astype(np.float64) / 2**31
    return np.concatenate([signed, (flat & np.uint32(1)).astype(np.float64)])


@pytest.fixture(scope="module")
def campaigns() -> tuple[list[Views], NDArray[np.int64]]:
    """Campaigns in either world, in random order."""
    rng = np.random.default_rng(2026)
    which = rng.permutation(np.arange(RUNS) % 2)
    made = [
        run(COHORTS[world], each, number)
        for number, (world, each) in enumerate(zip(which, rng.spawn(RUNS), strict=True))
    ]
    return made, which


def guess(campaigns: tuple[list[Views], NDArray[np.int64]], view: View, name: str) -> Guesses:
    made, which = campaigns
    return guess_worlds(CLASSIFIERS[name](), np.stack([view(each) for each in made]), which)


VIEWS: dict[str, View] = {
    "the merchant's bank: masked rows": lambda views: features(views.rows[own_node("bank")]),
    "the merchant's tax node: masked rows": lambda views: features(views.rows[own_node("tax")]),
    "hub: all terms but one": lambda views: features(views.terms[:-1]),
    "hub: sum of all nodes' terms, without the witness's": lambda views: features(
        views.terms[:-1].sum(axis=0, dtype=np.uint32)
    ),
    "hub: terms of the merchant's own nodes": lambda views: features(views.terms[own_nodes()]),
    "witness: terms less its own masks, but one": lambda views: features((views.terms[:-1] - views.masks)[:-1]),
}


def own_node(kind: str) -> str:
    """The node of a kind that holds the merchant."""
    return next(node for node, sort in FULL.roster if sort == kind and TARGET in FULL.slices[node].positions)


def own_nodes() -> list[int]:
    """Places in the roster of the nodes that hold the merchant."""
    return [at for at, (node, _) in enumerate(FULL.roster) if TARGET in FULL.slices[node].positions]


def test_the_worlds_differ_in_one_merchant_and_in_every_feature_of_it() -> None:
    changed = [np.flatnonzero((EMPTY.joined[kind] != FULL.joined[kind]).any(axis=1)) for kind in FULL.joined]
    assert all(each.tolist() == [TARGET] for each in changed)
    difference = exact(FULL) - exact(EMPTY)
    # Four features: a class count each, and six pairs. An empty row stands in no bin.
    assert np.count_nonzero(difference) == 4 + 6
    assert np.abs(difference).max() == 1


def test_every_campaign_opens_its_worlds_table(campaigns: tuple[list[Views], NDArray[np.int64]]) -> None:
    made, which = campaigns
    for views, world in list(zip(made, which, strict=True))[:20]:
        assert np.array_equal(opened(views), exact(COHORTS[world]))


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("view", VIEWS)
def test_masked_views_tell_nothing(campaigns: tuple[list[Views], NDArray[np.int64]], view: str, name: str) -> None:
    low, high = guess(campaigns, VIEWS[view], name).interval
    assert low <= 0.5 <= high


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_all_terms_together_are_the_table_and_show_the_merchant(
    campaigns: tuple[list[Views], NDArray[np.int64]], name: str
) -> None:
    """What noise is for: without it the opened table tells the worlds apart in every campaign."""
    assert guess(campaigns, lambda views: features(views.terms.sum(axis=0, dtype=np.uint32)), name).interval[0] > 0.95


def sizes(state: Path, *, empty: bool) -> list[tuple[str, str, str, int]]:
    """Receiver, sender, type and size of every message of a noisy campaign; one merchant's rows empty or not."""
    with pytest.MonkeyPatch.context() as patch:
        FixedRandomness(b"sizes").install(patch)
        world = make_world(state, merchants=60, nodes={"bank": 2, "tax": 2, "utility": 2}, absent=0.1, noise_off=False)
        if empty:
            everywhere = np.logical_and.reduce([codes[:, 0] != ABSENT for codes in world.codes.values()])
            target = int(np.flatnonzero(everywhere & ~held_out(world))[0])
            take_away(world, target)
        record = Record()
        record_grid(world, record, workers=1)
        world.federation.grid.set_run(Run.create_empty(run_id=1 << 60))  # its length varies where it is drawn
        run_scorecard(world, at_fixed_time(world.noisy_plan()))
        world.federation.close()
    return [(each.by, each.sender, each.message, each.size) for each in record.seen]


def take_away(world: World, target: int) -> None:
    """Empty rows in place of a merchant's data, at every node that holds it."""
    taken = 0
    for context in world.federation.contexts.values():
        data = context.dataset(world.federation.schema.hash())
        assert data is not None
        row = int(data.rows(world.pseudonyms[[target]])[0])
        if row >= 0:
            data.codes[row] = ABSENT
            taken += 1
            if data.outcome is not None:
                data.outcome[row] = UNLABELLED
    assert taken == 3


def test_messages_are_the_same_in_number_order_and_size(tmp_path: Path) -> None:
    """What is left to see where contents tell nothing."""
    full, empty = sizes(tmp_path / "full", empty=False), sizes(tmp_path / "empty", empty=True)
    assert len(full) > 50
    assert full == empty


@pytest.fixture(scope="module")
def repeated() -> tuple[Features, NDArray[np.int64]]:
    """Rows at the merchant's bank, less those of a campaign with empty rows under the same streams; and the worlds."""
    which = np.random.default_rng(7).permutation(np.arange(120) % 2)
    bank, differences = own_node("bank"), []
    for number, world in enumerate(which):
        now, before = (
            run(cohort, np.random.default_rng([7, number]), number).rows[bank] for cohort in (COHORTS[world], EMPTY)
        )
        differences.append(features(now - before))
    return np.stack(differences), which


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_rows_under_a_stream_that_served_before_show_the_merchant(
    repeated: tuple[Features, NDArray[np.int64]], name: str
) -> None:
    """What the rule of one matrix under one stream is for: a receiver that subtracts two campaigns' rows sees it."""
    assert guess_worlds(CLASSIFIERS[name](), *repeated).interval[0] > 0.9
