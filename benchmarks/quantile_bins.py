"""Bins from private quantiles against given bins: AUC of the scorecard at the same total ε, central, without a network.

For each data set, split seed and ε: the scorecard on the schema's own bins, and on bins from private quantiles that pay
their share of μ² (the rest goes to the tables). Beside them, on bins from exact quantiles that pay nothing, to tell
what the bins lose from what the noise does. Ranges are those of common knowledge about such columns.

    python -m benchmarks.quantile_bins [--seeds 0 1 2 3 4] [--shares 0.05] [--cache DIR] [--json FILE]

Shares are compared on seeds from 100 on; seeds 0 to 4 are for reports.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.accounting import calibrate_tables, split_budget
from models.bins import encode
from models.datasets import public_table
from models.evaluation import auc
from models.quantile_bins import count_trees, on_grid, settled, settled_codes, tree_counts
from models.schema import Schema
from models.schema_file import load_schema
from models.scorecard_fit import train
from models.stages import BINS_SHARE
from models.tables import feature_bins, from_codes

DELTA = 1e-5
HOLDOUT = 0.3
EPSILONS = (1.0, 3.0, 8.0)
SETS = (("give-me-some-credit", 28_000), ("give-me-some-credit", 150_000), ("pakdd-2009", None))
CONFIGS = Path(__file__).parent.parent / "configs"
COUNT = 10
RANGES: dict[str, tuple[float, float, str]] = {
    "age": (18, 100, "linear"),
    "RevolvingUtilizationOfUnsecuredLines": (0, 1.2, "linear"),
    "NumberOfOpenCreditLinesAndLoans": (0, 40, "linear"),
    "NumberRealEstateLoansOrLines": (0, 10, "linear"),
    "MonthlyIncome": (100, 100_000, "log"),
    "DebtRatio": (0.01, 10_000, "log"),
    "NumberOfDependents": (0, 10, "linear"),
    "NumberOfTime30-59DaysPastDueNotWorse": (0, 20, "linear"),
    "NumberOfTime60-89DaysPastDueNotWorse": (0, 20, "linear"),
    "NumberOfTimes90DaysLate": (0, 20, "linear"),
    "AGE": (16, 100, "linear"),
    "PAYMENT_DAY": (1, 31, "linear"),
    "QUANT_ADDITIONAL_CARDS_IN_THE_APPLICATION": (0, 5, "linear"),
    "PERSONAL_NET_INCOME": (50, 20_000, "log"),
    "HOUSEHOLD_INCOME": (50, 20_000, "log"),
    "MONTHS_IN_THE_JOB": (0, 480, "linear"),
    "MONTHS_IN_RESIDENCE": (0, 480, "linear"),
}
Codes = dict[str, NDArray[np.uint8]]


def with_quantiles(schema: Schema) -> Schema:
    """The schema with all its bins of amounts left to quantiles."""
    plain: dict[str, Any] = schema.model_dump(mode="json", exclude_none=True)
    for kind in plain["kinds"]:
        for feature in kind["features"]:
            if feature.pop("bins", None) is not None:
                low, high, scale = RANGES[feature["name"]]
                feature["quantiles"] = {"count": COUNT, "range": [float(low), float(high)], "scale": scale}
    return Schema.model_validate(plain)


class Table:
    """A data set under its own bins and under the grids of quantiles."""

    def __init__(self, name: str, cache: Path | None) -> None:
        frame = public_table(name, cache)
        self.given = load_schema(CONFIGS / f"{name}.yaml")
        self.open = with_quantiles(self.given)
        self.codes = {kind: encode(self.given, kind, frame).codes for kind in self.given.kinds}
        self.fine = {kind: encode(on_grid(self.open), kind, frame).codes for kind in self.given.kinds}
        outcome = encode(self.given, self.given.label.kind, frame).outcome
        if outcome is None:
            raise SystemExit("the label's kind has no outcomes")
        self.outcome = outcome
        self.trees = count_trees(self.open)


def private_bins(table: Table, rows: NDArray[np.intp], sigma: float, rng: np.random.Generator) -> Schema:
    """The schema that the rows' noisy trees give; σ in counts, 0 for exact quantiles."""
    counts = np.sum([tree_counts(table.open, kind, codes[rows]) for kind, codes in table.fine.items()], axis=0)
    noisy = np.rint(counts + rng.normal(0, sigma, len(counts))).astype(np.int64) if sigma else counts
    return settled(table.open, noisy)


def fitted(
    table: Table,
    schema: Schema,
    codes: Codes,
    split: tuple[NDArray[np.intp], NDArray[np.intp]],
    sigmas: tuple[float, float],
    rng: np.random.Generator,
) -> float:
    """AUC on the test rows of the scorecard on the noisy table of the others."""
    test, rest = split
    exact = from_codes(feature_bins(schema), {kind: each[rest] for kind, each in codes.items()}, table.outcome[rest])
    card = train(exact.with_gaussian_noise(rng, *sigmas))
    return auc(card.score({kind: each[test] for kind, each in codes.items()}), table.outcome[test])


def measure(seeds: Sequence[int], shares: Sequence[float], cache: Path | None) -> dict[str, list[float]]:
    """Figure → its value per seed."""
    results: dict[str, list[float]] = defaultdict(list)
    tables = {name: Table(name, cache) for name in dict.fromkeys(name for name, _ in SETS)}
    for name, size in SETS:
        table = tables[name]
        n_features, touched = len(table.given.all_features()), sum(tree.levels for tree in table.trees)
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(len(table.outcome))[:size]
            held = round(HOLDOUT * len(order))
            split = order[:held], order[held:]
            for epsilon in EPSILONS:
                label = f"{name} {len(order)} eps={epsilon:g}"
                whole = calibrate_tables(n_features, epsilon, DELTA)
                sigmas = whole.sigma_class, whole.sigma_pair

                def stream(what: int, seed: int = seed, epsilon: float = epsilon) -> np.random.Generator:
                    return np.random.default_rng([seed, round(10 * epsilon), what])

                results[f"{label} given"].append(fitted(table, table.given, table.codes, split, sigmas, stream(0)))
                schema = private_bins(table, split[1], 0.0, stream(1))
                codes = {kind: settled_codes(schema, kind, fine) for kind, fine in table.fine.items()}
                results[f"{label} exact quantiles"].append(fitted(table, schema, codes, split, sigmas, stream(0)))
                for share in shares:
                    mu = split_budget(
                        epsilon,
                        DELTA,
                        ("bins", "scorecard"),
                        n_features=n_features,
                        bins_share=share,
                        bins_touched=touched,
                    )
                    schema = private_bins(table, split[1], math.sqrt(touched) / mu["bins"], stream(1))
                    codes = {kind: settled_codes(schema, kind, fine) for kind, fine in table.fine.items()}
                    rest = calibrate_tables(n_features, epsilon, DELTA, mu_budget=mu["scorecard"])
                    paid = rest.sigma_class, rest.sigma_pair
                    results[f"{label} share={share:g}"].append(fitted(table, schema, codes, split, paid, stream(0)))
            print(f"{name} {len(order)} seed {seed} done", flush=True)
    return results


def main() -> None:
    """Print one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--shares", type=float, nargs="+", default=[BINS_SHARE])
    parser.add_argument("--cache", type=Path, help="where the data sets are kept")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    results = measure(chosen.seeds, chosen.shares, chosen.cache)
    for name, values in results.items():
        print(f"{name:52s} mean {np.mean(values):.4f}  [{' '.join(f'{value:.4f}' for value in values)}]")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
