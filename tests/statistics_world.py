"""A programme with known facts: merchants of counties, credit in two years, subsidies; counted as the nodes do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from models.codes import ABSENT
from models.rounding import knot_codes
from models.schema import Schema
from models.statistics.choice import ReportFeatures
from models.statistics.table import StatisticsTable, statistics_from_codes, statistics_from_vector

FEATURES = ReportFeatures(
    groups=("county", "region"),
    amount="amount",
    amount_baseline="amount_before",
    rate="rate",
    rate_baseline="rate_before",
    overdue="overdue",
    subsidy="subsidy",
    baseline_year=2022,
)
COUNTIES = ("331102", "331121", "331122", "331123", "331124", "331125", "331126", "331127", "331181")
AMOUNTS = (0.0, 250_000.0, 800_000.0)
RATES = (0.02, 0.06, 0.12)
SUBSIDIES = (0.0, 12_000.0)
Values = NDArray[np.float64]


def statistics_schema() -> Schema:
    def named(zh: str, en: str, **more: object) -> dict[str, object]:
        return {"title": {"zh": zh, "en": en}, "class": "C2", **more}

    return Schema.model_validate(
        {
            "name": "programme",
            "id": {"column": "id", "type": "opaque"},
            "as_of": date(2026, 1, 1),
            "label": {
                "column": "support",
                "kind": "platform",
                "positive": "supermarket",
                "negative": "inn",
                "performance_months": 12,
                "title": {"zh": "小超市", "en": "small supermarkets"},
            },
            "kinds": {
                "platform": {
                    "features": {
                        "county": named("籍贯县（市、区）", "county of origin", categories=COUNTIES),
                        "region": named("经营地区", "region of business", categories=["east", "centre", "west"]),
                    }
                },
                "bank": {
                    "features": {
                        "amount": named("贷款额", "credit", bins=AMOUNTS, rounded=True),
                        "amount_before": named("基期贷款额", "credit in the baseline year", bins=AMOUNTS, rounded=True),
                        "rate": named("年利率", "annual rate", bins=RATES, rounded=True),
                        "rate_before": named(
                            "基期年利率", "annual rate in the baseline year", bins=RATES, rounded=True
                        ),
                        "overdue": named("逾期", "overdue", categories=["overdue", "current"]),
                    }
                },
                "office": {"features": {"subsidy": named("贴息", "interest subsidy", bins=SUBSIDIES, rounded=True)}},
            },
        }
    )


@dataclass
class Programme:
    """Facts of n merchants; NaN where there is no credit or subsidy, −1 where a kind does not hold the merchant."""

    n: int
    seed: int
    schema: Schema = field(default_factory=statistics_schema)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        n = self.n
        self.county = rng.choice(len(COUNTIES), n, p=np.arange(1, 10) / 45)
        self.region = rng.choice(3, n, p=[0.5, 0.3, 0.2])
        self.support = rng.choice(2, n, p=[0.7, 0.3]).astype(np.uint8)
        self.banked = rng.random(n) < 0.8
        self.at_office = rng.random(n) < 0.6
        credit, before = self.banked & (rng.random(n) < 0.6), self.banked & (rng.random(n) < 0.4)
        level = 1 + 0.1 * (self.county % 4)
        self.values: dict[str, Values] = {
            "amount": np.where(credit, np.clip(rng.lognormal(12.4, 0.5, n) * level, 1, 800_000), np.nan),
            "amount_before": np.where(before, np.clip(rng.lognormal(11.8, 0.5, n), 1, 800_000), np.nan),
            "rate": np.where(credit, rng.uniform(0.03, 0.06, n), np.nan),
            "rate_before": np.where(before, rng.uniform(0.05, 0.1, n), np.nan),
            "subsidy": np.where(self.at_office & credit & (rng.random(n) < 0.5), rng.uniform(1, 12_000, n), np.nan),
        }
        self.overdue = np.where(credit, (rng.random(n) >= 0.05).astype(np.int64), 3)

    def codes(self, coins: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
        """Bins per kind, with fresh coins; `ABSENT` where a kind does not hold the merchant."""
        knots = {name: self.schema.feature(name).spec.bins or () for name in self.values}
        rounded = {name: knot_codes(knots[name], values, coins.random(self.n)) for name, values in self.values.items()}
        bank = [rounded[name] for name in ("amount", "amount_before", "rate", "rate_before")]
        codes = {
            "platform": np.stack([self.county, self.region], axis=1).astype(np.uint8),
            "bank": np.stack([*bank, self.overdue], axis=1).astype(np.uint8),
            "office": rounded["subsidy"][:, None],
        }
        codes["bank"][~self.banked] = ABSENT
        codes["office"][~self.at_office] = ABSENT
        return codes

    def table(self, coins: np.random.Generator, noise: float = 0.0) -> StatisticsTable:
        """What is opened: coins fresh, and noise of this σ."""
        codes = self.codes(coins)
        exact = statistics_from_codes(self.schema, FEATURES.choice(2025), codes, self.support)
        if not noise:
            return exact
        vector = exact.to_vector()
        noisy = vector + np.rint(coins.normal(0.0, noise, vector.shape))
        return statistics_from_vector(
            noisy, self.schema, exact.choice, members=exact.members, cohort_size=exact.cohort_size, sigma=noise
        )

    def truth(self, where: NDArray[np.bool_] | None = None) -> dict[str, float]:
        """The figures of a report, of the merchants chosen."""
        here = np.ones(self.n, dtype=np.bool_) if where is None else where
        values = {name: each[here] for name, each in self.values.items()}
        merchants, credit = int(here.sum()), np.isfinite(values["amount"]).sum()
        overdue = self.overdue[here]
        subsidised = np.isfinite(values["subsidy"]).sum()
        mean = {name: float(np.nanmean(each)) for name, each in values.items()}
        return {
            "merchants": merchants,
            "with_credit": float(credit),
            "availability": credit / merchants,
            "mean_amount": mean["amount"],
            "mean_amount_baseline": mean["amount_before"],
            "amount_change": mean["amount"] / mean["amount_before"] - 1,
            "mean_rate": mean["rate"],
            "mean_rate_baseline": mean["rate_before"],
            "rate_change": mean["rate"] / mean["rate_before"] - 1,
            "overdue_rate": float((overdue == 0).sum() / (overdue < 2).sum()),
            "subsidised": float(subsidised),
            "subsidy_share": subsidised / merchants,
            "mean_subsidy": mean["subsidy"],
            "subsidy_total": float(np.nansum(values["subsidy"])),
        }
