"""What an earlier campaign's published results are worth in the next one, at the same ε each year (δ = 1e-5).

Rows of a split are dealt to last year's campaign, this year's, and those held out; nobody is in two of them. This
year's scorecard is fitted alone, and with last year's table counted in (`models.pooling`); then again with tables of a
world that changed: outcomes of 30 % of last year's merchants, or of all, are dealt anew. With `--encoders` banks that
hold all columns train a linear encoder from nothing, from last year's encoder and from last year's scorecard.

Run: ``python -m benchmarks.second_year [--sets gmsc …] [--epsilon 1 3] [--seeds 0 1 2 3 4] [--encoders]``. One JSON
line per set and ε: mean AUC, and paired differences to the first of its kind with standard errors over the splits.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.accuracy.sets import CONFIGS, one_kind
from models.accounting import calibrate_tables
from models.artefact import ModelArtefact, PrivacyEntry, ScorecardEntry
from models.bins import encode
from models.central import train_over
from models.codes import ABSENT, UNLABELLED
from models.datasets import give_me_some_credit, pakdd2009
from models.encoder_scores import encoder_logits
from models.encoder_spec import calibrate_rounds, spec_for
from models.encoder_start import first_parameters
from models.evaluation import auc
from models.fit import fit
from models.lishui.blocks import blocks
from models.pooling import pooled
from models.schema import Schema
from models.schema_file import load_schema
from models.scorecard import Scorecard
from models.scorecard_fit import train
from models.tables import OpenedTable, feature_bins, from_codes, joined_codes

DELTA = 1e-5
_WORLDS = 63_000
"""World seeds of synthetic merchants begin here."""
Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Rows:
    """Merchants: bins per kind, and outcomes."""

    codes: dict[str, Codes]
    outcome: Codes

    def part(self, chosen: NDArray[np.int64]) -> Rows:
        """Some of them."""
        return Rows({kind: codes[chosen] for kind, codes in self.codes.items()}, self.outcome[chosen])

    def dealt_anew(self, share: float, rng: np.random.Generator) -> Rows:
        """The outcomes of a share of them exchanged at random."""
        outcome = self.outcome.copy()
        chosen = np.flatnonzero(rng.random(len(outcome)) < share)
        outcome[chosen] = outcome[rng.permutation(chosen)]
        return Rows(self.codes, outcome)


@dataclass(frozen=True)
class YearSet:
    """A data set and how many merchants each year's campaign trains on; the rest are held out."""

    schema_file: str
    frame: Callable[[int, Path | None], pl.DataFrame]
    a_year: int


@lru_cache(maxsize=1)
def _gmsc(cache: Path | None) -> pl.DataFrame:
    return give_me_some_credit(cache)


@lru_cache(maxsize=1)
def _pakdd(cache: Path | None) -> pl.DataFrame:
    return pakdd2009(cache)


def _lishui(seed: int, _: Path | None) -> pl.DataFrame:
    return pl.concat([block.joined().head(rows) for block, rows in blocks(_WORLDS + seed, 70_000)])


SETS = {
    "gmsc": YearSet("give-me-some-credit.yaml", lambda _, cache: _gmsc(cache), 19_600),
    "gmsc-large": YearSet("give-me-some-credit.yaml", lambda _, cache: _gmsc(cache), 55_000),
    "pakdd": YearSet("pakdd-2009.yaml", lambda _, cache: _pakdd(cache), 14_000),
    "lishui": YearSet("lishui-merchants.yaml", _lishui, 19_600),
}


def binned(schema: Schema, frame: pl.DataFrame) -> Rows:
    """All rows; who has no value at all at a kind is absent there."""
    codes: dict[str, Codes] = {}
    outcome: Codes | None = None
    for kind in schema.kinds_in_order():
        encoded = encode(schema, kind, frame)
        absent = frame.select(pl.all_horizontal(pl.col(*schema.columns(kind)).is_null())).to_series().to_numpy()
        codes[kind] = np.where(absent[:, None], np.uint8(ABSENT), encoded.codes)
        outcome = outcome if encoded.outcome is None else encoded.outcome
    if outcome is None:
        raise SystemExit(f"{schema.name}: no outcomes")
    return Rows(codes, outcome)


def years(rows: Rows, a_year: int, seed: int) -> tuple[Rows, Rows, Rows]:
    """Last year's, this year's, and held-out merchants with a known outcome."""
    order = np.random.default_rng(seed).permutation(len(rows.outcome))
    held = order[2 * a_year :]
    held = held[rows.outcome[held] != UNLABELLED]
    return rows.part(order[:a_year]), rows.part(order[a_year : 2 * a_year]), rows.part(held)


def noisy_table(schema: Schema, rows: Rows, epsilon: float, coins: list[int]) -> OpenedTable:
    """A campaign's opened table."""
    features = feature_bins(schema)
    noise = calibrate_tables(len(features), epsilon, DELTA)
    exact = from_codes(features, rows.codes, rows.outcome)
    return exact.with_gaussian_noise(np.random.default_rng(coins), noise.sigma_class, noise.sigma_pair)


def accuracy(table: OpenedTable, held: Rows) -> float:
    """AUC of the fit on held-out merchants."""
    columns = joined_codes(table.features, held.codes, len(held.outcome))
    risk = sum(np.append(part, 0.0)[columns[:, index]] for index, part in enumerate(fit(table).weights))
    return float(auc(-np.asarray(risk), held.outcome))


def scorecards(schema: Schema, rows: Rows, a_year: int, epsilon: float, seed: int) -> dict[str, float]:
    """AUC of this year's scorecard alone, and with last year's table of the same and of changed worlds."""
    last, now, held = years(rows, a_year, seed)
    table = noisy_table(schema, now, epsilon, [seed, 2])
    found = {"scorecard": accuracy(table, held)}
    for name, share in (("+ last year", 0.0), ("+ 30 % dealt anew", 0.3), ("+ all dealt anew", 1.0)):
        changed = last.dealt_anew(share, np.random.default_rng([seed, 7]))
        total, (agreed,) = pooled(table, [noisy_table(schema, changed, epsilon, [seed, 1])])
        found[name] = accuracy(total, held)
        found[f"weight {name}"] = agreed.weight
    return found


def artefact_of(schema: Schema, card: Scorecard, table: OpenedTable) -> ModelArtefact:
    """Last year's scorecard as an encoder's start reads it; the privacy entry is not looked at there."""
    return ModelArtefact(
        model_type="scorecard",
        campaign="last-year",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        campaign_schema=schema.canonical_json().decode(),
        schema_sha256=schema.hash(),
        cohort_size=table.cohort_size,
        privacy=PrivacyEntry(
            noise="off",
            epsilon=None,
            delta=None,
            epsilon_replace_one=None,
            t_collude=1,
            mu=None,
            stages=("scorecard",),
            mechanisms=(),
        ),
        scorecard=ScorecardEntry.of(card),
        table_digest=table.digest(),
    )


def encoders(schema: Schema, rows: Rows, a_year: int, epsilon: float, seed: int) -> dict[str, float]:
    """AUC of a linear encoder of banks that hold all columns: from nothing, and from each of last year's models."""
    last, now, held = years(rows, a_year, seed)
    kind = schema.label.kind
    spec = spec_for(schema, kind)
    sigma = calibrate_rounds(spec, epsilon, DELTA).sigma_grid

    def trained(year: Rows, coins: int, start: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        rng = np.random.default_rng([seed, coins])
        part = [(year.codes[kind], year.outcome)]
        return train_over(spec, part, sigma_grid=sigma, noise=rng, n_public=len(year.outcome), start=start)

    def judged(parameters: NDArray[np.float64]) -> float:
        return float(auc(-encoder_logits(spec, parameters, held.codes[kind]), held.outcome))

    before = trained(last, 1)
    table = noisy_table(schema, last, epsilon, [seed, 1])
    card = artefact_of(schema, train(table), table)
    of_card = first_parameters(spec.model_copy(update={"start": card.model_id}), schema, card.to_bytes())
    return {
        "encoder": judged(trained(now, 2)),
        "from last year's encoder": judged(trained(now, 2, before)),
        "from last year's scorecard": judged(trained(now, 2, of_card)),
        "last year's encoder": judged(before),
        "last year's scorecard": accuracy(table, held),
        "this year's scorecard": accuracy(noisy_table(schema, now, epsilon, [seed, 2]), held),
    }


def summary(runs: Sequence[dict[str, float]]) -> dict[str, object]:
    """Mean per name; of AUCs the paired difference to the first name, and its standard error over the splits."""
    first = next(iter(runs[0]))
    found: dict[str, object] = {}
    for name in runs[0]:
        values = np.array([run[name] for run in runs])
        if name.startswith("weight"):
            found[name] = round(float(values.mean()), 3)
            continue
        differences = values - np.array([run[first] for run in runs])
        error = float(differences.std(ddof=1)) / math.sqrt(len(runs)) if len(runs) > 1 else math.nan
        found[name] = [round(float(values.mean()), 4), round(float(differences.mean()), 4), round(error, 4)]
    return found


def measure(
    names: Sequence[str], epsilons: Sequence[float], seeds: Sequence[int], cache: Path | None, *, of_encoders: bool
) -> Iterator[dict[str, object]]:
    """One line per set and ε."""
    for name in names:
        chosen = SETS[name]
        schema = load_schema(CONFIGS / chosen.schema_file)
        schema = one_kind(schema) if of_encoders else schema
        run = encoders if of_encoders else scorecards
        runs: dict[float, list[dict[str, float]]] = {epsilon: [] for epsilon in epsilons}
        for seed in seeds:
            rows = binned(schema, chosen.frame(seed, cache))
            for epsilon in epsilons:
                runs[epsilon].append(run(schema, rows, chosen.a_year, epsilon, seed))
        for epsilon, found in runs.items():
            yield {"set": name, "a_year": chosen.a_year, "epsilon": epsilon, "seeds": len(found), **summary(found)}


def main() -> None:
    """Print one JSON line per set and ε."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=list(SETS))
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--encoders", action="store_true", help="encoders instead of scorecards")
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    for line in measure(given.sets, given.epsilon, given.seeds, given.cache, of_encoders=given.encoders):
        print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
