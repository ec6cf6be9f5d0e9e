"""Encoder stage on Give Me Some Credit: twelve banks that hold all columns against central DP-SGD at the same ε.

Run: ``python benchmarks/encoder_accuracy.py [--rows 28000] [--epsilon 1 3] [--seeds 0 1 2 3 4]``. Splits are paired:
per seed both train on the same 70 % and are judged on the same 30 %. Banks get uneven shares of the rows. Noise is
drawn in process with the shares of the protocol (t_collude = 1). Target: mean difference of AUC at most .004.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from models.bins import encode, one_hot
from models.central import train_over
from models.datasets import give_me_some_credit
from models.encoder_scores import default_probability, encoder_logits
from models.encoder_spec import EncoderSpec, calibrate_rounds, spec_for
from models.schema_file import load_schema

SCHEMA = Path(__file__).parent.parent / "configs" / "gmsc-bank-consortium.yaml"
BANKS = 12
TARGET = 0.004
Codes = NDArray[np.uint8]


def split_rows(n_rows: int, total: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training and held-out rows (70/30) of `n_rows` sampled from `total`."""
    order = np.random.default_rng(seed).permutation(total)[:n_rows]
    cut = int(n_rows * 0.7)
    return order[:cut], order[cut:]


def uneven_parts(codes: Codes, outcome: Codes, seed: int) -> list[tuple[Codes, Codes]]:
    """Rows over the banks with shares 1 : 2 : … : 12."""
    owner = np.random.default_rng(seed).choice(BANKS, size=len(codes), p=np.arange(1, BANKS + 1) / 78)
    return [(codes[owner == bank], outcome[owner == bank]) for bank in range(BANKS)]


def compare(
    spec: EncoderSpec, codes: Codes, outcome: Codes, *, n_rows: int, epsilon: float, seed: int
) -> dict[str, float]:
    """AUC of banks, of the central run and of non-private logistic regression on one split."""
    train, held = split_rows(n_rows, len(codes), seed)
    sigma = calibrate_rounds(spec, epsilon, 1e-5).sigma_grid
    bad = outcome[held] == 0
    runs = {
        "banks": (uneven_parts(codes[train], outcome[train], seed), 1),
        "central": ([(codes[train], outcome[train])], 0),
    }
    result: dict[str, float] = {}
    for number, (name, (parts, colluding)) in enumerate(runs.items()):
        started = time.perf_counter()
        parameters = train_over(
            spec,
            parts,
            sigma_grid=sigma,
            noise=np.random.default_rng([seed, number]),
            n_public=len(train),
            t_collude=colluding,
        )
        logits = encoder_logits(spec, parameters, codes[held])
        result[name] = float(roc_auc_score(bad, logits))
        result[f"{name}_mean_pd"] = float(default_probability(spec, logits).mean())
        result[f"{name}_seconds"] = time.perf_counter() - started
    plain = LogisticRegression(C=1.0, max_iter=500).fit(one_hot(codes[train], spec.widths), outcome[train] == 0)
    result["logistic"] = float(roc_auc_score(bad, plain.decision_function(one_hot(codes[held], spec.widths))))
    result["default_rate"] = float(bad.mean())
    return result


def measure(
    sizes: Sequence[int], epsilons: Sequence[float], seeds: Sequence[int], cache: Path | None, rounds: int | None = None
) -> Iterator[dict[str, float]]:
    """Means over the seeds, per size and ε."""
    schema = load_schema(SCHEMA)
    spec = spec_for(schema, "bank", rounds=rounds)
    encoded = encode(schema, "bank", give_me_some_credit(cache))
    if encoded.outcome is None:
        raise SystemExit("the schema's label is not at kind bank")
    for n_rows, epsilon in product(sizes, epsilons):
        runs = [
            compare(spec, encoded.codes, encoded.outcome, n_rows=n_rows, epsilon=epsilon, seed=seed) for seed in seeds
        ]
        means = {name: round(float(np.mean([run[name] for run in runs])), 4) for name in runs[0]}
        difference = round(float(np.mean([run["central"] - run["banks"] for run in runs])), 4)
        yield {
            "rows": n_rows,
            "epsilon": epsilon,
            "rounds": spec.rounds,
            **means,
            "central_minus_banks": difference,
        }


def main() -> int:
    """Print one JSON line per setting; exit status 1 if a mean difference misses the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[28_000])
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--cache", type=Path)
    chosen = parser.parse_args()
    missed = False
    for line in measure(chosen.rows, chosen.epsilon, chosen.seeds, chosen.cache, chosen.rounds):
        missed |= line["central_minus_banks"] > TARGET
        print(json.dumps(line), flush=True)
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
