"""Score masks cancel over all sources of an item, and only then."""

from __future__ import annotations

import pytest

from crypto.errors import KeyFormatError, RangeError
from crypto.keys import BoxKey
from crypto.score_masks import MODULUS, RequestMasks, mask_points, open_points, score_mask

KEYS = {name: BoxKey.from_bytes(bytes([n]) * 32) for n, name in enumerate(("bank", "tax", "utility"), 1)}
HASH = b"\x07" * 32


def peers_of(me: str, names: tuple[str, ...] = tuple(KEYS)) -> dict[str, bytes]:
    return {name: KEYS[name].public for name in names if name != me}


def answers(points: dict[str, int], item: int = 0, request_hash: bytes = HASH) -> dict[str, int]:
    return {
        me: mask_points(value, peers_of(me, tuple(points)), box=KEYS[me], request_hash=request_hash, item=item, me=me)
        for me, value in points.items()
    }


def test_a_pair_of_masks_cancels() -> None:
    ours = score_mask(KEYS["bank"], KEYS["tax"].public, request_hash=HASH, item=3, me="bank", peer="tax")
    theirs = score_mask(KEYS["tax"], KEYS["bank"].public, request_hash=HASH, item=3, me="tax", peer="bank")
    assert (ours + theirs) % MODULUS == 0
    assert ours != 0


def test_the_sum_of_all_answers_is_the_score() -> None:
    points = {"bank": 120, "tax": -45, "utility": 0}
    assert open_points(list(answers(points).values())) == 75
    assert open_points(list(answers({"bank": -5, "tax": 2}).values())) == -3


def test_masks_depend_on_request_item_pair_and_key() -> None:
    def one(request_hash: bytes = HASH, item: int = 0, peer: str = "tax", public: str = "tax") -> int:
        key = KEYS[public].public
        return score_mask(KEYS["bank"], key, request_hash=request_hash, item=item, me="bank", peer=peer)

    values = {one(), one(request_hash=b"\x08" * 32), one(item=1), one(peer="utility"), one(public="utility")}
    assert len(values) == 5


def test_many_items_agree_with_single_ones() -> None:
    for items in (0, 1, 18, 100):
        masks = RequestMasks(KEYS["tax"], request_hash=HASH, me="tax", items=items)
        for item in (0, 1, 17, 99):
            single = mask_points(item, peers_of("tax"), box=KEYS["tax"], request_hash=HASH, item=item, me="tax")
            assert masks.mask_points(item, peers_of("tax"), item=item) == single


def test_a_missing_or_foreign_answer_gives_no_score() -> None:
    good = answers({"bank": 1, "tax": 2, "utility": 3})
    other = answers({"bank": 1, "tax": 2, "utility": 3}, request_hash=b"\x08" * 32)
    shifted = answers({"bank": 1, "tax": 2, "utility": 3}, item=1)
    for masked in (
        [good["bank"], good["tax"]],
        [good["bank"], good["tax"], other["utility"]],
        [good["bank"], good["tax"], shifted["utility"]],
        [good["bank"], good["tax"], good["utility"], good["utility"]],
    ):
        with pytest.raises(RangeError):
            open_points(masked)


def test_ranges_are_checked() -> None:
    box = KEYS["bank"]
    for points, peers, item in (
        ((1 << 20) + 1, peers_of("bank"), 0),
        (1, {}, 0),
        (1, peers_of("bank") | {"bank": box.public}, 0),
        (1, peers_of("bank"), -1),
        (1, peers_of("bank"), MODULUS),
    ):
        with pytest.raises(RangeError):
            mask_points(points, peers, box=box, request_hash=HASH, item=item, me="bank")
    for masked in ([], [5], [-1, 1], [MODULUS, 0], [(1 << 20), 1]):
        with pytest.raises(RangeError):
            open_points(masked)
    with pytest.raises(KeyFormatError):
        mask_points(1, {"tax": bytes(32)}, box=box, request_hash=HASH, item=0, me="bank")


def test_range_ends_are_open() -> None:
    assert open_points([1 << 20, 0]) == 1 << 20
    assert open_points([MODULUS - (1 << 20), 0]) == -(1 << 20)
