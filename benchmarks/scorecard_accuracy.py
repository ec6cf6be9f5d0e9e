"""Accuracy of the scorecard stage on Give Me Some Credit: central tables with the protocol's noise, no network.

For each split seed: 30 % held out, the exact table of the rest, noise for ε at δ = 1e-5, fit, integer points, and
the AUC of the integer scores on held-out merchants; beside it logistic regression and LightGBM on the joined rows.

    python benchmarks/scorecard_accuracy.py [--seeds 0 1 2 3 4] [--cache DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.accounting import calibrate_tables
from models.baselines import auc_lightgbm, auc_nonprivate
from models.bins import encode
from models.datasets import give_me_some_credit
from models.evaluation import auc, calibration_table, ks
from models.schema import Schema
from models.schema_file import load_schema
from models.scorecard_fit import train
from models.tables import feature_bins, from_codes

DELTA = 1e-5
HOLDOUT = 0.3
SIZES = (28_000, 150_000)
EPSILONS = (1.0, 3.0, 8.0)
TARGETS = {(28_000, 1.0): 0.840, (28_000, 3.0): 0.847, (150_000, 1.0): 0.855, (150_000, 3.0): 0.857}
GAPS = {(28_000, 1.0): 0.010, (28_000, 3.0): 0.004}
CONFIG = Path(__file__).parent.parent / "configs" / "give-me-some-credit.yaml"


def binned(schema: Schema, frame: pl.DataFrame) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.uint8]]:
    """Codes per kind and outcomes of the label's kind."""
    encoded = {kind: encode(schema, kind, frame) for kind in schema.kinds_in_order()}
    outcome = encoded[schema.label.kind].outcome
    if outcome is None:
        raise SystemExit("the label's kind has no outcomes")
    return {kind: rows.codes for kind, rows in encoded.items()}, outcome


def measure(sizes: Sequence[int], seeds: Sequence[int], cache: Path | None) -> dict[str, list[float]]:
    """Figure → its value per seed, for every size and ε."""
    schema = load_schema(CONFIG)
    codes, outcomes = binned(schema, give_me_some_credit(cache))
    features = feature_bins(schema)
    noise = {epsilon: calibrate_tables(len(features), epsilon, DELTA) for epsilon in EPSILONS}
    results: dict[str, list[float]] = defaultdict(list)
    for size in sizes:
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(len(outcomes))[:size]
            held = round(HOLDOUT * len(order))
            test, rest = order[:held], order[held:]
            test_codes = {kind: rows[test] for kind, rows in codes.items()}
            train_codes = {kind: rows[rest] for kind, rows in codes.items()}
            split = (features, train_codes, outcomes[rest], test_codes, outcomes[test])
            results[f"{size} logistic"].append(auc_nonprivate(*split))
            results[f"{size} lightgbm"].append(auc_lightgbm(*split))
            exact = from_codes(features, train_codes, outcomes[rest])
            for epsilon in EPSILONS:
                rng = np.random.default_rng([seed, size, round(10 * epsilon)])
                sigmas = noise[epsilon].sigma_class, noise[epsilon].sigma_pair
                card = train(exact.with_gaussian_noise(rng, *sigmas))
                scores = card.score(test_codes)
                name = f"{size} eps={epsilon:g}"
                results[name].append(auc(scores, outcomes[test]))
                results[f"{name} ks"].append(ks(scores, outcomes[test]))
                table = calibration_table(card.pd_of(scores), outcomes[test])
                error = sum(row.count * abs(row.predicted - row.observed) for row in table) / held
                results[f"{name} calibration error"].append(error)
                results[f"{name} gap to logistic"].append(results[f"{size} logistic"][-1] - results[name][-1])
    return results


def main() -> None:
    """Print one line per cell, and a verdict on the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--cache", type=Path, help="where the data set is kept")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    results = measure(SIZES, chosen.seeds, chosen.cache)
    for name, values in results.items():
        each = " ".join(f"{value:.4f}" for value in values)
        print(f"{name:38s} mean {np.mean(values):.4f}  [{each}]")
    missed = [f"AUC {n} eps={e:g}" for (n, e), goal in TARGETS.items() if np.mean(results[f"{n} eps={e:g}"]) < goal]
    missed += [
        f"gap {n} eps={e:g}"
        for (n, e), goal in GAPS.items()
        if np.mean(results[f"{n} eps={e:g} gap to logistic"]) > goal
    ]
    print("targets met" if not missed else f"targets MISSED: {', '.join(missed)}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
