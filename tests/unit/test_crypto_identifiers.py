"""Identifiers: spellings, check digits, and messages that do not disclose them."""

from __future__ import annotations

import pytest

from crypto.errors import IdentifierError
from crypto.identifiers import masked, normalise, resident_check_digit, uscc_check_digit

USCC = "91350100M000100Y43"  # example of GB 32100-2015
RESIDENT = "11010519491231002X"  # example of GB 11643-1999


def test_the_standards_own_examples_pass() -> None:
    assert normalise("uscc", USCC) == USCC
    assert normalise("resident-id", RESIDENT) == RESIDENT
    assert normalise("resident-id", "440524188001010014") == "440524188001010014"


def test_all_spellings_become_one() -> None:
    wide = "".join(chr(ord(char) + 0xFEE0) for char in USCC)
    assert normalise("uscc", f"　{wide.lower()}\t") == USCC
    assert normalise("resident-id", RESIDENT.lower() + " ") == RESIDENT
    assert normalise("opaque", " ab-１２ ") == "AB-12"


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("", "characters"),
        (USCC[:-1], "17 characters"),
        (USCC + "0", "19 characters"),
        (USCC[:-1] + "4", "check character"),
        (USCC[:2] + "530100" + USCC[8:], "check character"),
        ("I" + USCC[1:], "never has"),
        (USCC[:8] + "O" + USCC[9:], "never has"),
        (USCC[:5] + " " + USCC[6:], "never has"),
        (USCC[:2] + "3501A0" + USCC[8:], "region"),
        ("٩" + USCC[1:], "never has"),
    ],
)
def test_bad_codes_are_refused(value: str, wrong: str) -> None:
    with pytest.raises(IdentifierError, match=wrong) as caught:
        normalise("uscc", value)
    assert caught.value.field == "uscc"
    assert caught.value.remedy


def with_birth(digits: str) -> str:
    body = "110105" + digits + "002"
    return body + resident_check_digit(body)


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("110105491231002", "15 characters"),
        (RESIDENT[:-1] + "0", "check character"),
        ("120105" + RESIDENT[6:], "check character"),
        (RESIDENT[:-1] + "Y", "digit or X"),
        ("X" + RESIDENT[1:], "digit or X"),
        (with_birth("19491331"), "date of birth"),
        (with_birth("19490230"), "date of birth"),
        (with_birth("00000101"), "date of birth"),
        (with_birth("17000101"), "date of birth"),
        (with_birth("29990101"), "date of birth"),
        ("１" * 16 + "٣X", "digit or X"),
    ],
)
def test_bad_resident_numbers_are_refused(value: str, wrong: str) -> None:
    with pytest.raises(IdentifierError, match=wrong) as caught:
        normalise("resident-id", value)
    assert caught.value.field == "resident-id"


def test_leap_days_are_dates() -> None:
    assert normalise("resident-id", with_birth("20000229"))
    with pytest.raises(IdentifierError):
        normalise("resident-id", with_birth("19000229"))


@pytest.mark.parametrize("value", ["", "  ", "a\x00b", "a\nb", "\ud800", "x" * 257])
def test_opaque_identifiers_have_limits(value: str) -> None:
    with pytest.raises(IdentifierError):
        normalise("opaque", value)


def test_unknown_types_are_refused() -> None:
    with pytest.raises(IdentifierError):
        normalise("passport", "X")  # type: ignore[arg-type]


def test_messages_mask_the_middle() -> None:
    for id_type, value in (("uscc", USCC[:-1] + "4"), ("resident-id", RESIDENT[:-1] + "0")):
        with pytest.raises(IdentifierError) as caught:
            normalise(id_type, value)  # type: ignore[arg-type]
        shown = caught.value.message + str(caught.value.remedy)
        assert value not in shown
        assert not any(value[i : i + 5] in shown for i in range(len(value) - 4))
    assert masked("1234567") == "*******"


def test_a_single_wrong_character_never_passes() -> None:
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    for position in range(18):
        for char in alphabet:
            if char != USCC[position]:
                with pytest.raises(IdentifierError):
                    normalise("uscc", USCC[:position] + char + USCC[position + 1 :])
    assert uscc_check_digit(USCC[:-1]) == "3"
