"""The benchmark of financings counts what it says, at a size that says nothing about speed; so does its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import financings_page
from benchmarks.platform_financings import BANKS, Bank, Market, expected, measure, opening, year

MACHINE = {"processor": "AMD EPYC", "cores": 2, "python": "3.11.7"}


def test_the_orders_of_whole_lives_are_counted() -> None:
    sent = sum(len(opening("L", "a")) + len(year("L", number)) for number in range(26))
    assert expected(range(26)) == (sent, {"closed": 24, "defaulted": 2})
    assert expected(range(1, 3)) == (34, {"closed": 2})


def test_whole_lives_over_http_leave_an_entry_an_order(tmp_path: Path) -> None:
    found = measure(tmp_path, 36, 12, say=lambda _: None)
    assert found["audit"]["entries"] == expected(range(48))[0]
    assert found["states"] == {"closed": 46, "defaulted": 2}
    assert found["singles"]["calls"] == found["singles"]["orders"] > 10 * len(BANKS)  # so that some were sent twice
    text = financings_page.section({"machine": MACHINE, "date": "2026-11-29", **found})
    assert f"| Whole lives, one order a call | 12 | {found['singles']['orders']} |" in text
    assert f"| Whole lives a second, in batches | 100 | {found['lives']['per_s']:,.1f} |" in text


def test_a_call_that_is_refused_ends_the_measurement(tmp_path: Path) -> None:
    """The checks can fail: an order too many, and a key that comes with another body."""
    market = Market(tmp_path / "two-small", 1)
    with market.served(tmp_path / "logs"):
        bank = Bank(market, BANKS[0])
        bank.send(opening("L-0", market.accounts[0]), "first")
        with pytest.raises(SystemExit, match="was refused"):
            bank.send(opening("L-0", market.accounts[0])[1:2], "second")
        with pytest.raises(SystemExit, match="idempotency-key-reused"):
            bank.send(opening("L-1", market.accounts[0]), "first")
    assert market.found()[0] == 5
