"""A model of synthetic rows with noise, and everything that a model card can know of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from models.accounting import calibrate_tables
from models.artefact import ModelArtefact, PrivacyEntry, ScorecardEntry, fit_entry, mechanism_entries
from models.card_content import CardFacts, ExactFigures, Release, Training
from models.card_curves import exact_roc
from models.evaluation import calibration_table, histogram_metrics, parity, score_histogram
from models.evaluation_result import Estimate, EvaluationResult, GroupResult, ScoreBand
from models.fit_options import FitOptions
from models.schema_file import load_schema
from models.scorecard import Scorecard
from models.scorecard_fit import train
from models.tables import OpenedTable, feature_bins, from_codes

CONFIG = Path(__file__).parents[1] / "configs" / "give-me-some-credit.yaml"
CREATED = datetime(2026, 1, 31, 8, 0, 0, tzinfo=UTC)
ROWS = 4_000


class CardWorld:
    """One model and what is known of it."""

    def __init__(self) -> None:
        self.schema = load_schema(CONFIG)
        features = feature_bins(self.schema)
        rng = np.random.default_rng(1)
        self.codes = {
            kind: np.stack([rng.integers(0, f.width, ROWS) for f in features if f.kind == kind], axis=1).astype(
                np.uint8
            )
            for kind in self.schema.kinds_in_order()
        }
        risk = -2.5 + 0.25 * (self.codes["bank"][:, 1] - 5) + 0.3 * (self.codes["utility"][:, 0] - 3)
        self.outcomes = np.where(rng.random(ROWS) < 1 / (1 + np.exp(-risk)), 0, 1).astype(np.uint8)
        self.noise = calibrate_tables(len(features), 3.0, 1e-5, scale_of=lambda sigma: 2 if sigma < 10 else 1)
        exact = from_codes(features, self.codes, self.outcomes)
        self.table: OpenedTable = exact.with_gaussian_noise(
            np.random.default_rng(2), self.noise.sigma_class, self.noise.sigma_pair
        )
        self.scorecard: Scorecard = train(self.table)
        self.artefact = ModelArtefact(
            model_type="scorecard",
            campaign="cross-source-1",
            created=CREATED,
            campaign_schema=self.schema.canonical_json().decode(),
            schema_sha256=self.schema.hash(),
            cohort_size=ROWS,
            privacy=PrivacyEntry(
                noise="on",
                epsilon=3.0,
                delta=1e-5,
                epsilon_replace_one=self.noise.epsilon_replace_one,
                t_collude=1,
                mu=self.noise.mu,
                sigma_class=self.noise.sigma_class,
                sigma_pair=self.noise.sigma_pair,
                stages=("scorecard",),
                mechanisms=mechanism_entries(self.noise.mechanisms),
            ),
            scorecard=ScorecardEntry.of(self.scorecard),
            table_digest=self.table.digest(),
            fit_options=fit_entry(FitOptions()),
        )
        self.scores = self.scorecard.score(self.codes)

    def exact(self) -> ExactFigures:
        """What a simulation measures."""
        pd = self.scorecard.pd_of(self.scores)
        histogram = score_histogram(self.scores, self.outcomes)
        figures = histogram_metrics(histogram, 0.0)
        groups = np.where(np.arange(ROWS) % 3 == 0, "shop", "inn")
        return ExactFigures(
            auc=figures.auc,
            ks=figures.ks,
            held_out=ROWS,
            roc=exact_roc(self.scores, self.outcomes),
            calibration=tuple(calibration_table(pd, self.outcomes)),
            histogram=histogram.astype(np.float64),
            parity={"sector": tuple(parity(pd, self.outcomes, groups))},
            others={"AUC of LightGBM on joined rows": 0.81},
        )

    def evaluation(self, *, sigma: float = 6.0, seed: int = 3) -> EvaluationResult:
        """What an evaluation stage opens, without a stage."""
        counts = score_histogram(self.scores, self.outcomes).astype(np.float64)
        counts = counts + np.random.default_rng(seed).normal(0.0, sigma, counts.shape).round()
        figures = histogram_metrics(counts, sigma)
        lows = range(300, 850, 25)
        bands = []
        for low, (bad, good) in zip(lows, counts, strict=True):
            rate = min(max(bad, 0.0) / max(bad + good, 1.0), 1.0)
            known = bad + good > 60
            bands.append(
                ScoreBand(
                    score_low=low,
                    score_high=low + 25,
                    count_good=good,
                    count_bad=bad,
                    predicted_pd=float(self.scorecard.pd_of(low + 12)),
                    observed=Estimate(value=rate, low=0.6 * rate, high=min(1.4 * rate, 1.0)) if known else None,
                )
            )
        shop = GroupResult(
            group="shop",
            count_good=2000.0,
            count_bad=400.0,
            mean_pd=Estimate(value=0.17, low=0.165, high=0.175),
            default_rate=Estimate(value=0.166, low=0.15, high=0.18),
            approved=Estimate(value=0.62, low=0.60, high=0.64),
            auc=Estimate(value=0.81, low=0.78, high=0.84),
        )
        inn = GroupResult(
            group="inn",
            count_good=900.0,
            count_bad=300.0,
            mean_pd=Estimate(value=0.24, low=0.23, high=0.25),
            default_rate=Estimate(value=0.25, low=0.22, high=0.28),
            approved=Estimate(value=0.41, low=0.37, high=0.45),
        )
        return EvaluationResult(
            model_id=self.artefact.model_id,
            campaign="cross-source-1",
            attempt="cross-source-1/evaluation/1",
            noise="on",
            sigma=sigma,
            epsilon=1.5,
            delta=1e-5,
            auc=Estimate(value=figures.auc.value, low=figures.auc.low, high=figures.auc.high),
            ks=Estimate(value=figures.ks.value, low=figures.ks.low, high=figures.ks.high),
            bands=tuple(bands),
            groups={"sector": (shop, inn)},
            nodes=12,
        )

    def facts(self, **changes: object) -> CardFacts:
        """Everything at once; `changes` replace parts."""
        parts: dict[str, object] = {
            "table": self.table,
            "training": Training(
                name="cross-source",
                nodes={"bank": 12, "tax": 6, "utility": 6},
                members={"bank": ROWS, "tax": 3100, "utility": 2900},
                attempts=2,
                lost={"tax-04": "budget-exceeded"},
                held_out=1700,
            ),
            "release": Release("release", "cross-source", 2, current=True, signed_at=CREATED, witness="witness-zj"),
            "exact": self.exact(),
            "evaluation": self.evaluation(),
        }
        return CardFacts(self.artefact, **{**parts, **changes})  # type: ignore[arg-type]
