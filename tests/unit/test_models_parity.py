"""Groups side by side: ratios hold the truth as often as they say; noise neither accuses nor acquits."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from models.card import model_card
from models.card_fairness import FINDINGS
from models.evaluation_result import Estimate, GroupResult
from models.evaluation_table import Evaluated, evaluation_result
from models.i18n import catalogue
from models.parity import Finding, difference, parity_of, ratio
from tests.card_world import CardWorld

EDGES = tuple(range(450, 800, 25))
BANDS = len(EDGES) + 1
PDS = tuple(np.geomspace(0.5, 0.005, BANDS))


def group(name: str, approved: float, half: float = 0.01, size: float = 1000.0) -> GroupResult:
    around = Estimate(value=approved, low=approved - half, high=approved + half)
    return GroupResult(group=name, count_good=0.9 * size, count_bad=0.1 * size, approved=around)


def counted(shift: float, size: int) -> np.ndarray:
    """(bands, 2) expected counts of a group whose scores lie higher or lower."""
    at = np.exp(-0.5 * ((np.arange(BANDS) - 8 - shift) / 3) ** 2)
    merchants = size * at / at.sum()
    return np.stack([merchants * np.array(PDS), merchants * (1 - np.array(PDS))], axis=1)


def test_ratios_and_differences_of_evaluations_hold_the_truth() -> None:
    parts = np.stack([counted(0.0, 6000), counted(-4.0, 3000)], axis=2)
    sizes, approved = parts.sum(axis=(0, 1)), np.array(PDS) < 0.10
    shares = parts.sum(axis=1)[approved].sum(axis=0) / sizes
    means = np.array(PDS) @ parts.sum(axis=1) / sizes
    due = shares[1] / shares[0], means[1] - means[0]
    rng, sigma = np.random.default_rng(31), 6.0
    about = Evaluated("sha256:" + "0" * 64, "c", "a", "on", EDGES, PDS, {"size": ("x", "y")}, sigma, 1.0, 1e-5, 3)
    held = np.zeros(2)
    findings = []
    for _ in range(150):
        noisy = rng.poisson(parts) + rng.normal(0, sigma, parts.shape)
        first, second = parity_of(evaluation_result(about, noisy.sum(axis=2), [noisy]).groups["size"])
        assert first.finding == "reference"
        assert second.impact is not None
        assert second.pd_difference is not None
        assert second.surplus is not None
        assert second.surplus.low < 0 < second.surplus.high or abs(second.surplus.value) < 0.05
        held += [
            each.low <= true <= each.high for each, true in zip((second.impact, second.pd_difference), due, strict=True)
        ]
        findings.append(second.finding)
    assert (held / 150 >= 0.90).all()
    assert (held / 150 <= 0.99).all()
    assert due[0] < 0.7
    assert set(findings) == {"adverse"}


def test_a_ratio_is_judged_by_its_whole_interval() -> None:
    found = parity_of(
        [
            group("most", 0.80),
            group("near", 0.78),
            group("far", 0.50),
            group("noisy", 0.60, 0.10),
            group("tiny", 1, 0, 9),
        ]
    )
    assert [each.finding for each in found] == ["reference", "alike", "adverse", "unclear", "alike"]
    unknown = GroupResult(group="none", count_good=5.0, count_bad=-2.0)
    assert [each.finding for each in parity_of([group("most", 0.8), unknown])] == ["reference", "unknown"]
    assert parity_of([unknown])[0].finding == "unknown"


def test_intervals_of_ratios_and_differences_by_hand() -> None:
    one, two = Estimate(value=0.4, low=0.3, high=0.5), Estimate(value=0.8, low=0.7, high=0.9)
    apart = difference(one, two)
    assert apart is not None
    assert (apart.value, apart.low, apart.high) == pytest.approx((-0.4, -0.4 - 0.02**0.5, -0.4 + 0.02**0.5))
    by = ratio(one, two)
    assert by is not None
    assert by.value == pytest.approx(0.5)
    assert 0.35 < by.low < by.value < by.high < 0.66
    assert ratio(one, Estimate(value=0.1, low=0.0, high=0.2)) is None
    assert difference(None, two) is None


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("en", ("### Groups of merchants", "Below four fifths: inn.", "reference group", "pp (")),
        ("zh", ("### 分组公平性", "低于五分之四的组：inn。", "参照组", "个百分点")),
    ],
)
def test_the_card_says_who_is_below_four_fifths(lang: str, words: tuple[str, ...]) -> None:
    text = model_card(CardWorld().facts(), lang)
    for word in words:
        assert word in text


def test_every_finding_is_said_in_chinese() -> None:
    assert set(FINDINGS) == set(get_args(Finding))
    assert not [text for text in FINDINGS.values() if not catalogue("models").has("zh", text)]
