"""The rows of the comparison: Give Me Some Credit over bank, tax bureau and utility, in every system's own form."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.rivals.environment import OUT
from crypto.manifest import holdout_mask
from hub.simulated_data import simulated_pseudonyms
from models.bins import encode, one_hot
from models.codes import DEFAULTED
from models.datasets import give_me_some_credit
from models.schema import Schema
from models.schema_file import load_schema

SCHEMA = Path(__file__).parent.parent.parent / "configs" / "give-me-some-credit.yaml"
HOLDOUT = 0.3
SEED = 0  # of `digua-hub simulate`: its hold-out follows from it and from the identifiers
_MISSING = -1.0  # trees set it apart; no column has a value below 0


@dataclass(frozen=True)
class Rows:
    """What was written, and what judges it.

    Attributes:
        folder: `joined.parquet`; per kind `<kind>.npy`, (n, d) 0/1 in our public bins; `outcome.npy`, 1 = defaulted;
            `train.npy`; and `sites/<site>/{train,valid}.csv` with the raw columns.
        columns: one-hot columns of all kinds.
        train: (n,) rows that are not held out, the same ones as in `digua-hub simulate`.
        outcome: (n,) 1 = defaulted.
    """

    folder: Path
    columns: int
    train: NDArray[np.bool_]
    outcome: NDArray[np.uint8]

    def auc(self, risk: NDArray[np.float64]) -> float:
        """AUC of (n,) risks on the held-out rows."""
        held = ~self.train
        return round(float(roc_auc_score(self.outcome[held], risk[held])), 4)

    def one_hot(self) -> NDArray[np.uint8]:
        """(n, columns), kinds in order of the schema."""
        kinds = load_schema(SCHEMA).kinds_in_order()
        return np.concatenate([np.load(self.folder / f"{kind}.npy") for kind in kinds], axis=1)


def prepare(merchants: int, cache: Path | None) -> Rows:
    """Writes the rows of so many merchants, sampled with a fixed seed."""
    schema = load_schema(SCHEMA)
    frame = give_me_some_credit(cache)
    chosen = np.sort(np.random.default_rng(SEED).choice(frame.height, merchants, replace=False))
    frame = frame[chosen.tolist()]
    folder = OUT / f"rows-{merchants}"
    folder.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(folder / "joined.parquet")
    columns = 0
    for kind in schema.kinds_in_order():
        codes = encode(schema, kind, frame).codes
        block = one_hot(codes, schema.widths(kind))
        np.save(folder / f"{kind}.npy", block)
        columns += block.shape[1]
    outcome = encode(schema, schema.label.kind, frame).outcome
    if outcome is None:
        raise SystemExit("the label's kind has no outcomes")
    defaulted = (outcome == DEFAULTED).astype(np.uint8)
    salt = hashlib.sha256(f"simulated hold-out {SEED}".encode()).digest()
    train = ~holdout_mask(simulated_pseudonyms(frame[schema.id.column].to_list()), salt, HOLDOUT)
    np.save(folder / "outcome.npy", defaulted)
    np.save(folder / "train.npy", train)
    _write_sites(schema, frame, defaulted, train, folder / "sites")
    (folder / "rows.json").write_text(json.dumps({"rows": merchants, "columns": columns}), encoding="utf-8")
    return Rows(folder, columns, train, defaulted)


def _write_sites(
    schema: Schema, frame: pl.DataFrame, defaulted: NDArray[np.uint8], train: NDArray[np.bool_], folder: Path
) -> None:
    """CSV files without header as NVIDIA FLARE's own loader reads them; the label is the first site's first column."""
    for number, kind in enumerate(schema.kinds_in_order(), start=1):
        site = folder / f"site-{number}"
        site.mkdir(parents=True, exist_ok=True)
        table = frame.select(pl.col(name).cast(pl.Float64).fill_null(_MISSING) for name in schema.columns(kind))
        if kind == schema.label.kind:
            table.insert_column(0, pl.Series("label", defaulted))
        table.filter(pl.Series(train)).write_csv(site / "train.csv", include_header=False)
        table.filter(pl.Series(~train)).write_csv(site / "valid.csv", include_header=False)
