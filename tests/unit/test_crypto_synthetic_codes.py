"""Synthetic codes: valid in form, all different, and none that an authority can have issued."""

from __future__ import annotations

import itertools

import pytest

from crypto.errors import RangeError
from crypto.identifiers import normalise, uscc_check_digit
from crypto.synthetic_codes import CAPACITY, synthetic_usccs

# GB 11714-1997: weights of the eight characters; letters count from A = 10; 10 is written X, 11 as 0.
ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)


def organisation_check(body: str) -> str:
    rest = 11 - sum(weight * int(char, 36) for weight, char in zip(ORGANISATION_WEIGHTS, body, strict=True)) % 11
    return {10: "X", 11: "0"}.get(rest, str(rest))


def test_the_reference_check_fits_genuine_organisation_codes() -> None:
    # State Grid's and Alibaba's published codes
    for code in ("9111000071093123XX", "91330100799655058B"):
        assert uscc_check_digit(code[:-1]) == code[-1]
        assert organisation_check(code[8:16]) == code[16]


def test_codes_are_accepted_and_differ() -> None:
    regions = ["310000", "460000", "330000"] * 700
    codes = synthetic_usccs(regions, 12_345)
    assert [normalise("uscc", code) for code in codes] == codes
    assert len(set(codes)) == len(codes)
    assert [code[2:8] for code in codes] == regions
    assert codes[700:] == synthetic_usccs(regions[700:], 12_345 + 700)


def test_no_code_can_be_genuine() -> None:
    codes = synthetic_usccs(["110000"] * 2000, 0)
    assert all(organisation_check(code[8:16]) != code[16] for code in codes)
    assert {code[16] for code in codes} == set("0123456789X")


def test_neighbours_look_unlike_and_far_numbers_never_meet() -> None:
    near, far = synthetic_usccs(["110000"] * 500, 0), synthetic_usccs(["110000"] * 500, CAPACITY - 500)
    assert not set(near) & set(far)
    assert sum(a[10:16] == b[10:16] for a, b in itertools.pairwise(near)) == 0


@pytest.mark.parametrize(
    ("regions", "first", "field"),
    [(["31"], 0, "regions"), (["31000x"], 0, "regions"), (["³10000"], 0, "regions"), (["310000"], -1, "first"),
     (["310000"], CAPACITY, "first")],
)  # fmt: skip
def test_refusals(regions: list[str], first: int, field: str) -> None:
    with pytest.raises(RangeError) as caught:
        synthetic_usccs(regions, first)
    assert caught.value.field == field
