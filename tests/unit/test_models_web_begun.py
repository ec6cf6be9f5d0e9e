"""Streamed answers begin once their first part is made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.web.begun import begun


def test_only_the_first_part_is_made_before_it_is_asked_for() -> None:
    made: list[int] = []

    def parts() -> Iterator[str]:
        for number in range(3):
            made.append(number)
            yield str(number)

    going = begun(parts())
    assert made == [0]
    assert "".join(going) == "012"
    assert made == [0, 1, 2]


def test_what_cannot_begin_is_an_error_at_once() -> None:
    def parts() -> Iterator[bytes]:
        raise OSError("away")
        yield b""

    with pytest.raises(OSError, match="away"):
        begun(parts())


def test_nothing_stays_nothing() -> None:
    assert list(begun([""])) == [""]
    assert list(begun(iter(()))) == []
