"""Masked words in recorded views are uniform: bytes of at least 10⁶ words each, keys, seeds and data fixed.

Randomness that a party takes from the system (keys of an attempt, the witness's seeds, salts) comes from a fixed stream
here, through the one constructor of keys and the one function that draws bytes; all else is the product as it runs. So
every p-value is the same in each run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crypto.keys import BoxKey, IdentityKey
from crypto.score_masks import RequestMasks, open_points
from crypto.secure_sum import mask_vector, witness_term
from crypto.secure_tables import mask_rows, stream_key
from hub.server_app import CampaignResult
from models.schema import Schema
from tests.federation import World, make_world
from tests.views.figures import P_VALUE, byte_p_value, successive_p_value
from tests.views.opening import masked_rows
from tests.views.randomness import FixedRandomness, at_fixed_time
from tests.views.recorder import HUB, Record
from tests.views.world import Campaign, record_grid

WORDS = 1_000_000
NODES = {"bank": 2, "tax": 2, "utility": 2}
Words = NDArray[np.uint32]


def wide_schema(features: int = 10, bins: int = 19) -> Schema:
    """As many columns as give a million released cells."""
    title = {"zh": "特征", "en": "feature"}
    kinds = {
        kind: {
            "features": {
                f"{kind[0]}{number}": {"title": title, "class": "C2", "bins": list(range(bins))}
                for number in range(features)
            }
        }
        for kind in NODES
    }
    return Schema.model_validate(
        {
            "name": "wide",
            "id": {"column": "id", "type": "opaque"},
            "as_of": date(2026, 1, 1),
            "label": {
                "column": "bad",
                "kind": "bank",
                "performance_months": 12,
                "title": {"zh": "违约", "en": "default"},
            },
            "kinds": kinds,
        }
    )


def run_fixed(base: Path, patch: pytest.MonkeyPatch) -> Campaign:
    """A campaign without noise, so that masks alone hide the counts."""
    FixedRandomness(b"views").install(patch)
    world: World = make_world(base, merchants=8000, nodes=NODES, absent=0.1, schema=wide_schema())
    record = Record()
    held = record_grid(world, record, workers=1)
    plan = at_fixed_time(world.plan())
    result: CampaignResult = world.federation.train(plan, world.events.append)
    return Campaign(world, plan, record, held, result)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    with pytest.MonkeyPatch.context() as patch:
        made = run_fixed(tmp_path_factory.mktemp("fixed"), patch)
    yield made
    made.world.federation.close()


def terms_of(campaign: Campaign, *messages: str) -> Words:
    """All words of masked vectors that the hub received."""
    return np.concatenate([each.parcel.arrays["term"] for each in campaign.record.of(HUB, *messages)])


def check_uniform(words: NDArray[np.unsignedinteger]) -> None:  # type: ignore[type-arg]
    assert words.size >= WORDS
    assert byte_p_value(words) > P_VALUE
    assert successive_p_value(words) > P_VALUE


@pytest.mark.parametrize("party", ["bank-1", "tax-2"])
def test_rows_that_a_node_receives_are_uniform(fixed: Campaign, party: str) -> None:
    check_uniform(masked_rows(fixed, party))


def test_terms_that_the_hub_receives_are_uniform(fixed: Campaign) -> None:
    check_uniform(terms_of(fixed, "train.share", "query.release"))


def test_nodes_terms_added_up_without_the_witnesss_are_uniform(fixed: Campaign) -> None:
    """Until the witness releases its own term the total is hidden too."""
    shares = [np.frombuffer(each, "<u4") for each in fixed.result.table().shares.values()]
    total = np.sum(shares, axis=0, dtype=np.uint32)
    assert byte_p_value(total) > P_VALUE
    assert byte_p_value(fixed.result.table().counts.astype(np.uint32)) < 1e-100


def test_terms_from_which_the_witness_takes_its_own_masks_are_uniform(fixed: Campaign) -> None:
    """What the witness has of the nodes' terms when it makes a model again: pairwise masks still lie on them."""
    check_uniform(np.concatenate([np.frombuffer(each, "<u4") for each in fixed.result.table().shares.values()]))


def test_the_same_bytes_unmasked_are_far_from_uniform(fixed: Campaign) -> None:
    """What the test is for: it fails rows without masks, rows under one stream twice, and opened counts."""
    world = fixed.world
    X = np.eye(20, dtype=np.uint8)[world.codes["tax"][:6000, 0] % 20]
    bare = np.tile(X, (1, 9)).astype(np.uint32)
    assert bare.size >= WORDS
    assert byte_p_value(bare) < 1e-100
    key = stream_key(bytes(32), h=bytes(32), attempt="c1/scorecard/1", node="tax-1")
    twice = mask_rows(np.tile(X, (1, 9)), key) - mask_rows(np.tile(X[::-1], (1, 9)), key)
    assert byte_p_value(twice) < 1e-100
    assert byte_p_value(fixed.result.table().counts.astype(np.uint32)) < 1e-100
    # And a flaw in one byte of 64 alone: the top one of every sixteenth word is always even.
    words = masked_rows(fixed, "bank-1").copy()
    words[::16] &= np.uint32(0xFEFFFFFF)
    assert byte_p_value(words) <= P_VALUE


def test_terms_of_encoder_rounds_are_uniform() -> None:
    """64-bit words, small values in them, as gradients' sums are."""
    boxes = {f"bank-{number}": BoxKey.from_bytes(bytes([number]) * 32) for number in range(1, 5)}
    witness = BoxKey.from_bytes(b"\xee" * 32)
    public, h, attempt, n = (
        {name: box.public for name, box in boxes.items()},
        bytes(range(32)),
        "c1/encoder/1/0.0",
        250_000,
    )
    terms = [
        mask_vector(
            np.arange(n, dtype=np.int64) % 1000,
            None,
            me=name,
            box=box,
            peers={peer: key for peer, key in public.items() if peer != name},
            witness_public=witness.public,
            h=h,
            attempt=attempt,
            width=64,
            bound=1 << 20,
        )
        for name, box in boxes.items()
    ]
    terms.append(witness_term(None, box=witness, nodes=public, h=h, attempt=attempt, n=n, width=64))
    check_uniform(np.concatenate(terms))
    assert byte_p_value(np.sum(terms, axis=0, dtype=np.uint64)) < 1e-100


SOURCES = {"bank-1": 0, "tax-1": 1, "utility-1": 2}


def test_points_in_answers_to_queries_are_uniform_each_and_open_together() -> None:
    """What a requester opens of three sources' answers, in requests of 500 merchants with the same points each.

    A source masks an item at a time (`mask_points`); here a request's words are drawn at once, and compared for some.
    """
    boxes = {name: BoxKey.from_bytes(bytes([number + 1]) * 32) for name, number in SOURCES.items()}
    points = {"bank-1": 40, "tax-1": -70, "utility-1": 25}
    requests, items = 670, np.arange(500, dtype=np.uint32)
    words = np.empty((requests, len(items), len(SOURCES)), dtype=np.uint32)
    for request in range(requests):
        request_hash = hashlib.sha256(request.to_bytes(4, "big")).digest()
        for name, place in SOURCES.items():
            peers = {peer: box.public for peer, box in boxes.items() if peer != name}
            masks = RequestMasks(boxes[name], request_hash=request_hash, me=name)
            words[request, :, place] = np.int64(points[name]).astype(np.uint32)
            for peer, public in peers.items():
                words[request, :, place] += masks.masks(peer, public, items=items)
            if request % 100 == 0:
                one_by_one = [masks.mask_points(points[name], peers, item=int(item)) for item in items]
                assert words[request, :, place].tolist() == one_by_one
    check_uniform(words)
    for place in SOURCES.values():
        assert byte_p_value(words[:, :, place]) > P_VALUE
    assert {open_points(each.tolist()) for each in words[:5].reshape(-1, 3)} == {sum(points.values())}


def test_points_in_an_evaluations_boxes_are_uniform() -> None:
    """As above with masks by cohort position, under keys of one attempt."""
    boxes = {name: BoxKey.from_bytes(bytes([number + 1]) * 32) for name, number in SOURCES.items()}
    positions = np.arange(350_000, dtype=np.uint32)
    sealed = []
    for name in SOURCES:
        masks = RequestMasks(boxes[name], request_hash=bytes(range(32)), me=name)
        words = np.full(len(positions), 37, dtype=np.uint32)
        for peer, box in boxes.items():
            if peer != name:
                words += masks.masks(peer, box.public, items=positions)
        sealed.append(words)
    check_uniform(np.concatenate(sealed))
    assert np.all(np.sum(sealed, axis=0, dtype=np.uint32) == 3 * 37)


def test_randomness_was_fixed_in_the_recorded_run_alone(fixed: Campaign) -> None:
    """The hub's key is the stream's first draw, or the p-values above would be others in every run."""
    assert IdentityKey.from_bytes(FixedRandomness(b"views").bytes()).public == fixed.world.federation.identity.public
    assert IdentityKey.generate().public != IdentityKey.generate().public
