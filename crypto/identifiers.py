"""Identifiers of merchants: one spelling per identifier, check digits verified before anything leaves the node.

A message never shows a whole identifier: its middle is masked.
"""

from __future__ import annotations

import unicodedata
from datetime import date
from operator import mul
from typing import Literal, NoReturn, TypeAlias

from crypto.errors import IdentifierError

IdentifierType: TypeAlias = Literal["uscc", "resident-id", "opaque"]

LENGTH = 18
MAX_OPAQUE_BYTES = 256
# GB 32100-2015: ten digits and the capital letters without I, O, S, V and Z; weights 3^i mod 31.
USCC_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_VALUES = {char: value for value, char in enumerate(USCC_ALPHABET)}
_USCC_CHARS = frozenset(USCC_ALPHABET)
USCC_WEIGHTS = tuple(pow(3, i, 31) for i in range(LENGTH - 1))
# GB 11643-1999, after ISO 7064 MOD 11-2.
_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_CHECKS = "10X98765432"
_DIGITS = frozenset("0123456789")


def masked(value: str) -> str:
    """Show an identifier's first and last two characters at most; nothing of a short one."""
    if len(value) < 8:
        return "*" * len(value)
    return value[:2] + "*" * (len(value) - 4) + value[-2:]


def _refuse(id_type: str, value: str, wrong: str, remedy: str, *, number: int = 0) -> NoReturn:
    message = f"{id_type} {masked(value)}: {wrong.format(number=number)}."
    raise IdentifierError(message, field=id_type, remedy=remedy, wrong=wrong, number=number)


def _canonical_text(value: str) -> str:
    if value.isascii():  # NFKC leaves ASCII alone
        return value.upper().strip()
    # Upper-casing can undo NFKC and the other way round; a few passes reach the fixed point.
    previous = ""
    while value != previous:
        previous = value
        value = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).upper()).strip()
    return value


def uscc_check_digit(body: str) -> str:
    """Return the check character of a unified social credit code's first 17 characters (GB 32100-2015)."""
    if len(body) != len(USCC_WEIGHTS):
        raise ValueError(f"a code without its check character has 17 characters, not {len(body)}")
    # A node checks every row of its table: no generator, no search in the alphabet.
    total = sum(map(mul, USCC_WEIGHTS, map(_USCC_VALUES.__getitem__, body)))
    return USCC_ALPHABET[-total % 31]


def resident_check_digit(body: str) -> str:
    """Return the check character of a resident identity number's first 17 digits (GB 11643-1999)."""
    return _RESIDENT_CHECKS[sum(weight * int(char) for weight, char in zip(_RESIDENT_WEIGHTS, body, strict=True)) % 11]


def _check_uscc(code: str) -> None:
    if len(code) != LENGTH:
        _refuse("uscc", code, "has {number} characters, not 18", "Enter all 18 characters.", number=len(code))
    if not _USCC_CHARS.issuperset(code):
        _refuse("uscc", code, "has a character that the code never has", "I, O, S, V and Z do not occur.")
    if not _DIGITS.issuperset(code[2:8]):
        _refuse("uscc", code, "characters 3 to 8 (the region) are not digits", "Check the region's digits.")
    if uscc_check_digit(code[:-1]) != code[-1]:
        _refuse("uscc", code, "its check character does not fit", "Compare with the business licence.")


def _check_resident(number: str) -> None:
    if len(number) != LENGTH:
        _refuse(
            "resident-id", number, "has {number} characters, not 18", "Enter the 18-digit number.", number=len(number)
        )
    if not (set(number[:-1]) <= _DIGITS and number[-1] in _RESIDENT_CHECKS):
        _refuse("resident-id", number, "is not 17 digits and a digit or X", "Compare with the card.")
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        _refuse("resident-id", number, "has no valid date of birth", "Compare digits 7 to 14 with the card.")
    if not 1800 <= born.year < 2200:
        _refuse("resident-id", number, "has no valid date of birth", "Compare digits 7 to 14 with the card.")
    if resident_check_digit(number[:-1]) != number[-1]:
        _refuse("resident-id", number, "its check character does not fit", "Compare with the card.")


def _check_opaque(value: str) -> None:
    if not value:
        _refuse("opaque", value, "is empty", "Enter an identifier.")
    if len(value.encode("utf-8", "surrogatepass")) > MAX_OPAQUE_BYTES:
        _refuse("opaque", value, "is longer than {number} bytes", "Use a shorter identifier.", number=MAX_OPAQUE_BYTES)
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in value):
        _refuse("opaque", value, "has a control character", "Take control characters out.")


def normalise(id_type: IdentifierType, value: str) -> str:
    """Bring an identifier to its one spelling (NFKC, upper case, no outer blanks) and check it.

    Args:
        id_type: ``uscc`` (统一社会信用代码, GB 32100-2015), ``resident-id`` (GB 11643-1999) or ``opaque`` (a
            number of another system, unchecked).
        value: as a person or a database spells it; full-width characters are fine.

    Raises:
        IdentifierError: wrong length, character, date of birth or check digit; an unknown type.
    """
    text = _canonical_text(value)
    if id_type == "uscc":
        _check_uscc(text)
    elif id_type == "resident-id":
        _check_resident(text)
    elif id_type == "opaque":
        _check_opaque(text)
    else:
        raise IdentifierError(
            "The identifier is of an unknown type.",
            field="id_type",
            remedy="Use uscc, resident-id or opaque.",
        )
    return text
