"""Which stages are worth their budget: [scorecard], [encoder, scorecard] and, where banks hold all columns, [encoder].

All at the same total ε (δ = 1e-5), on Give Me Some Credit, with in-process noise of the protocol's size. The encoder is
trained by the banks on their own columns; its binned log-odds are one more bank feature of the scorecard.

Run: ``python benchmarks/stages.py [--rows 28000] [--epsilon 1 3] [--seeds 0 1 2 3 4] [--encoder-share .25 .5]``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from models.accounting import calibrate_tables, split_budget
from models.bins import encode
from models.central import train_over
from models.datasets import give_me_some_credit
from models.encoder_scores import ENCODER_FEATURE_WIDTH, encode_feature, encoder_logits, log_odds
from models.encoder_spec import EncoderSpec, calibrate_rounds, spec_for
from models.fit import fit
from models.schema import Schema
from models.schema_file import load_schema
from models.tables import feature_bins, from_codes, joined_codes

CONFIGS = Path(__file__).parent.parent / "configs"
SCHEMAS = ("give-me-some-credit", "gmsc-bank-consortium")
DELTA = 1e-5
Codes = NDArray[np.uint8]


def scorecard_auc(
    schema: Schema,
    codes: dict[str, Codes],
    outcome: Codes,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    epsilon: float,
    mu: float | None,
    encoders: dict[str, int],
    seed: int,
) -> float:
    """AUC on the held-out rows of a scorecard fitted on the noisy table of the training rows."""
    train, held = rows
    features = feature_bins(schema, encoders)
    noise = calibrate_tables(len(features), epsilon, DELTA, mu_budget=mu)
    exact = from_codes(features, {kind: block[train] for kind, block in codes.items()}, outcome[train])
    table = exact.with_gaussian_noise(np.random.default_rng([seed, 3]), noise.sigma_class, noise.sigma_pair)
    weights = fit(table).weights
    columns = joined_codes(features, {kind: block[held] for kind, block in codes.items()}, len(held))
    score = sum(weight[columns[:, index]] for index, weight in enumerate(weights))
    return float(roc_auc_score(outcome[held] == 0, score))


def train_encoder(
    spec: EncoderSpec, codes: Codes, outcome: Codes, *, epsilon: float, mu: float | None, seed: int
) -> NDArray[np.float64]:
    """Published parameters of the banks' encoder within (ε, δ), or within μ of it."""
    noise = calibrate_rounds(spec, epsilon, DELTA, mu_budget=mu)
    rng = np.random.default_rng([seed, 4])
    return train_over(spec, [(codes, outcome)], sigma_grid=noise.sigma_grid, noise=rng, n_public=len(codes))


def compare(
    schema: Schema,
    codes: dict[str, Codes],
    outcome: Codes,
    *,
    n_rows: int,
    epsilon: float,
    shares: list[float],
    seed: int,
) -> dict[str, float]:
    """AUC per choice of stages on one split."""
    order = np.random.default_rng(seed).permutation(len(outcome))[:n_rows]
    rows = order[: int(n_rows * 0.7)], order[int(n_rows * 0.7) :]
    train, held = rows
    kind = schema.label.kind
    spec = spec_for(schema, kind)
    result = {
        "scorecard": scorecard_auc(schema, codes, outcome, rows, epsilon=epsilon, mu=None, encoders={}, seed=seed)
    }
    if len(codes) == 1:
        parameters = train_encoder(spec, codes[kind][train], outcome[train], epsilon=epsilon, mu=None, seed=seed)
        logits = encoder_logits(spec, parameters, codes[kind][held])
        result["encoder"] = float(roc_auc_score(outcome[held] == 0, logits))
    for share in shares:
        budget = split_budget(
            epsilon,
            DELTA,
            ["encoder", "scorecard"],
            share,
            n_features=len(feature_bins(schema)) + 1,
            charged_attempts=spec.charged_attempts,
        )
        parameters = train_encoder(
            spec, codes[kind][train], outcome[train], epsilon=epsilon, mu=budget["encoder"], seed=seed
        )
        extra = encode_feature(log_odds(spec, encoder_logits(spec, parameters, codes[kind])))
        joined = {**codes, kind: np.column_stack([codes[kind], extra])}
        result[f"encoder {share:g} + scorecard"] = scorecard_auc(
            schema,
            joined,
            outcome,
            rows,
            epsilon=epsilon,
            mu=budget["scorecard"],
            encoders={kind: ENCODER_FEATURE_WIDTH},
            seed=seed,
        )
    return result


def summary(runs: list[dict[str, float]]) -> dict[str, object]:
    """Mean AUC per choice; beside it the paired difference to the scorecard alone, and its standard error."""
    found: dict[str, object] = {}
    for key in runs[0]:
        differences = np.array([run[key] - run["scorecard"] for run in runs])
        error = float(differences.std(ddof=1) / np.sqrt(len(runs))) if len(runs) > 1 else float("nan")
        found[key] = {
            "auc": round(float(np.mean([run[key] for run in runs])), 4),
            "minus_scorecard": round(float(differences.mean()), 4),
            "standard_error": round(error, 4),
        }
    return found


def measure(
    sizes: Sequence[int],
    epsilons: Sequence[float],
    seeds: Sequence[int],
    shares: list[float],
    cache: Path | None,
    schemas: Sequence[str] = SCHEMAS,
) -> Iterator[dict[str, object]]:
    """Mean AUCs and paired differences per schema, size and ε."""
    frame = give_me_some_credit(cache)
    for name in schemas:
        schema = load_schema(CONFIGS / f"{name}.yaml")
        encoded = {kind: encode(schema, kind, frame) for kind in schema.kinds_in_order()}
        codes = {kind: part.codes for kind, part in encoded.items()}
        outcome = encoded[schema.label.kind].outcome
        if outcome is None:
            raise SystemExit(f"{name}: no outcome at kind {schema.label.kind}")
        for n_rows, epsilon in product(sizes, epsilons):
            runs = [
                compare(schema, codes, outcome, n_rows=n_rows, epsilon=epsilon, shares=shares, seed=seed)
                for seed in seeds
            ]
            yield {"schema": name, "rows": n_rows, "epsilon": epsilon, "seeds": len(runs), **summary(runs)}


def main() -> None:
    """Print one JSON line of mean AUCs and paired differences per schema, size and ε."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[28_000])
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--encoder-share", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument("--cache", type=Path)
    chosen = parser.parse_args()
    for line in measure(chosen.rows, chosen.epsilon, chosen.seeds, chosen.encoder_share, chosen.cache):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
