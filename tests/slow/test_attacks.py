"""The attack suite at more trials, and all faults (a few are in tests/unit/test_benchmarks_attacks_releases.py too)."""

from __future__ import annotations

import pytest

from benchmarks.attacks.controls import CONTROLS
from benchmarks.attacks.releases import Setting
from benchmarks.attacks.suite import RELEASES, attack

pytestmark = pytest.mark.slow
TRIALS = 400


@pytest.mark.parametrize("name", list(RELEASES))
def test_every_released_thing_keeps_its_claims(name: str) -> None:
    for result in attack(name, Setting(8.0), TRIALS):
        assert result.verdict.broken == ()
        assert result.one_run <= result.claims.epsilon


@pytest.mark.parametrize("name", list(CONTROLS))
def test_a_fault_in_the_product_is_found(name: str) -> None:
    assert any(each.verdict.broken for each in CONTROLS[name].found(1000))
