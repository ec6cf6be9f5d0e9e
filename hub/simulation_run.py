"""`digua-hub simulate`: split a joined table over nodes, train for real in one process, measure on the joined rows.

What it measures on joined rows (AUC, KS, comparisons) is exact and not private: it exists in simulations only.
"""

from __future__ import annotations

import hashlib
import json
import resource
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from crypto.manifest import holdout_mask
from crypto.wire.campaign import Stage, Terms
from hub.campaign_errors import SimulationError
from hub.campaign_plan import ProgressCallback, ReleasedTable
from hub.encoder_model import encoder_logits_of, with_encoder_column
from hub.evaluation_cohort import OTHERS
from hub.model_cards import training_of
from hub.opened_tables import opened_table
from hub.scorecard_model import make_scorecard
from hub.server_app import CampaignResult, EncoderResult
from hub.simulated_card import exact_figures, write_cards
from hub.simulated_data import SplitTable, read_folder, read_joined, split_table
from hub.simulated_explanation import example_of, write_example
from hub.simulation import Budget, Federation, NodeData, load_nodes
from models.artefact import ModelArtefact
from models.baselines import auc_lightgbm, auc_nonprivate
from models.card_content import CardFacts
from models.codes import ABSENT, UNLABELLED
from models.encoder_scores import ENCODER_FEATURE_WIDTH
from models.evaluation import auc, ks
from models.evaluation_result import EvaluationResult
from models.explanation import Explanation
from models.fit_options import FitOptions
from models.quantile_bins import on_grid, settled_codes
from models.schema import Schema, unsettled
from models.schema_file import load_schema
from models.scorecard import Scorecard
from models.stability import stability_of
from models.tables import FeatureBins, feature_bins, from_codes

Codes = NDArray[np.uint8]
_OTHERS = {
    "AUC of a logistic regression on joined rows": "auc_nonprivate",
    "AUC of LightGBM on joined rows": "auc_lightgbm",
}


@dataclass(frozen=True)
class SimulationOptions:
    """What to simulate.

    Attributes:
        nodes: kind → number of nodes; 3 of each where left out.
        merchants: rows to sample, all if None.
        absent: kind → share of merchants without a record there.
        bands, parity: of an evaluation stage's histogram.
        noise_on: False only to compare tables bit for bit.
        baselines: also fit what needs all joined rows in one place, to compare with.
        out: where files go; a temporary folder if None.
    """

    schema: Path
    table: Path
    epsilon: float
    delta: float = 1e-5
    nodes: Mapping[str, int] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ("scorecard",)
    bands: int = 20
    parity: tuple[str, ...] = ()
    holdout: float = 0.3
    seed: int = 0
    merchants: int | None = None
    absent: Mapping[str, float] = field(default_factory=dict)
    noise_on: bool = True
    baselines: bool = True
    out: Path | None = None


@dataclass(frozen=True)
class Simulated:
    """What came out: the report, the model, and what one merchant would be told of it; None without a scorecard."""

    report: dict[str, Any]
    artefact: ModelArtefact
    own_ids: bool
    example: Explanation | None


@dataclass(frozen=True)
class _Joined:
    """All rows joined again, from the nodes' own codes: for measuring only."""

    pseudonyms: NDArray[np.uint8]
    codes: dict[str, Codes]
    outcome: Codes

    def where(self, kept: NDArray[np.bool_]) -> _Joined:
        return _Joined(self.pseudonyms[kept], {k: c[kept] for k, c in self.codes.items()}, self.outcome[kept])

    def under(self, schema: Schema) -> _Joined:
        """The same rows, read in cells of grids, under the schema whose bins came of them."""
        codes = {
            kind: np.where(fine[:, :1] == ABSENT, np.uint8(ABSENT), settled_codes(schema, kind, fine))
            for kind, fine in self.codes.items()
        }
        return _Joined(self.pseudonyms, codes, self.outcome)


@dataclass(frozen=True)
class _Model:
    """What the stages gave: an encoder, a scorecard, or a scorecard with an encoder's output as a feature."""

    encoder: EncoderResult | None
    released: ReleasedTable | None
    card: Scorecard | None
    artefact: ModelArtefact

    @classmethod
    def of(cls, result: CampaignResult, created: datetime) -> _Model:
        if result.released is not None:
            card, artefact = make_scorecard(result.released, created)
            return cls(result.encoder, result.released, card, artefact)
        if result.encoder is None:
            raise SimulationError("no stage was run", field="stages", remedy="name encoder, scorecard, or both")
        return cls(result.encoder, None, None, result.encoder.artefact)

    def features(self, schema: Schema) -> tuple[FeatureBins, ...]:
        """Blocks of the table, the encoder's among them."""
        used = self.artefact.encoders_used
        return feature_bins(schema, dict.fromkeys(used, ENCODER_FEATURE_WIDTH) if used else None)

    def codes(self, schema: Schema, codes: Mapping[str, Codes]) -> dict[str, Codes]:
        """Codes as the model takes them."""
        if self.encoder is None or self.card is None:
            return dict(codes)
        kind = schema.label.kind
        return {**codes, kind: with_encoder_column(self.encoder.artefact, codes[kind])}

    def scores(self, schema: Schema, codes: Mapping[str, Codes]) -> NDArray[np.float64]:
        """(n,) scores, higher is safer."""
        if self.card is None:
            return -encoder_logits_of(self.artefact, codes[schema.label.kind])
        return self.card.score(self.codes(schema, codes)).astype(np.float64)

    def example(self, schema: Schema, rows: _Joined) -> Explanation | None:
        """What one of these merchants would be told."""
        if self.card is None or not len(rows.outcome):
            return None
        encoders = {}
        if self.encoder is not None:
            artefact = self.encoder.artefact
            encoders[schema.label.kind] = lambda codes: with_encoder_column(artefact, codes)[:, -1]
        return example_of(schema, self.card, rows.codes, self.scores(schema, rows.codes), encoders)

    @property
    def terms(self) -> Terms:
        """Of the last stage."""
        if self.released is not None:
            return self.released.terms
        if self.encoder is None:
            raise SimulationError("no stage was run", field="stages", remedy="name encoder, scorecard, or both")
        return self.encoder.trained.terms

    @property
    def attempts(self) -> int:
        """Of the last stage."""
        if self.released is not None:
            return self.released.attempts
        return 0 if self.encoder is None else self.encoder.trained.attempts

    @property
    def lost(self) -> dict[str, str]:
        """Parties that were lost in any stage, and why."""
        encoder = {} if self.encoder is None else self.encoder.trained.lost
        return {**encoder, **({} if self.released is None else self.released.lost)}

    @property
    def steps(self) -> dict[str, float]:
        """Seconds of each step; those of both stages add up."""
        encoder = {} if self.encoder is None else dict(self.encoder.trained.seconds)
        table = {} if self.released is None else dict(self.released.seconds)
        return {name: encoder.get(name, 0.0) + table.get(name, 0.0) for name in (*encoder, *table)}

    def seconds(self, trained: float) -> dict[str, float]:
        """Seconds per stage of the `trained` that both took."""
        encoder = 0.0 if self.encoder is None else sum(self.encoder.trained.seconds.values())
        if self.released is None:
            return {"encoder": trained}
        return {"scorecard": trained} if self.encoder is None else {"encoder": encoder, "scorecard": trained - encoder}


def simulate(options: SimulationOptions, progress: ProgressCallback) -> Simulated:
    """Runs the simulation; files go to `out` where one is given.

    Raises:
        HubError, ModelsError, CryptoError: options, table or schema do not fit, or the campaign fails.
    """
    schema = load_schema(options.schema)
    if "encoder" in options.stages and unsettled(schema):
        raise SimulationError(
            f"schema {schema.name} leaves bins to quantiles, and an encoder needs them given",
            field="stages",
            remedy="take the schema.json that a simulation with a scorecard alone has written",
        )
    with tempfile.TemporaryDirectory(prefix="digua-simulate-") as scratch:
        folder = options.out if options.out is not None else Path(scratch) / "out"
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        split = _tables(options, schema, folder)
        nodes, pseudonyms, sources = load_nodes(schema, split.files)
        federation = Federation(
            schema,
            nodes,
            sources,
            pseudonyms,
            Path(scratch) / "state",
            budget=Budget(options.epsilon, options.delta),
            insecure_noise_off=not options.noise_on,
        )
        loaded = time.monotonic() - began
        try:
            return _run(options, schema, split, nodes, federation, loaded, progress, folder)
        finally:
            federation.close()


def _tables(options: SimulationOptions, schema: Schema, folder: Path) -> SplitTable:
    if not options.table.is_dir():
        return split_table(
            schema,
            read_joined(options.table),
            options.nodes or dict.fromkeys(schema.kinds_in_order(), 3),
            folder / "nodes",
            seed=options.seed,
            merchants=options.merchants,
            absent=options.absent,
        )
    for name in ("nodes", "merchants", "absent"):
        if getattr(options, name):
            raise SimulationError(
                f"{options.table} holds the nodes' own tables; {name} cannot be chosen",
                field=name,
                remedy="leave it out, or give one joined table",
            )
    return read_folder(schema, options.table)


def _run(
    options: SimulationOptions,
    schema: Schema,
    split: SplitTable,
    nodes: list[NodeData],
    federation: Federation,
    loaded: float,
    progress: ProgressCallback,
    folder: Path,
) -> Simulated:
    salt = hashlib.sha256(f"simulated hold-out {options.seed}".encode()).digest()
    plan = federation.plan(
        epsilon=options.epsilon,
        delta=options.delta,
        holdout_salt=salt,
        holdout_fraction=options.holdout,
        noise_on=options.noise_on,
        stages=options.stages,
    )
    plan = replace(plan, bands=options.bands, parity=options.parity)
    began, worked = time.monotonic(), time.process_time()
    result = federation.train(plan, progress)
    trained = time.monotonic() - began
    model = _Model.of(result, plan.clock())
    artefact = model.artefact
    fitted = time.monotonic() - began - trained
    worked = time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    joined = _join(schema, nodes, plan.cohort.pseudonyms)
    if result.bins is not None:
        schema = artefact.schema_of()
        joined = joined.under(schema)
        (folder / "schema.json").write_bytes(schema.canonical_json() + b"\n")
    held = holdout_mask(joined.pseudonyms, salt, options.holdout)
    evaluation = federation.evaluate(plan, result, artefact, progress) if "evaluation" in options.stages else None
    measured = _measure(options, schema, model, joined.where(~held), joined.where(held))
    spent = federation.spent()
    traffic = federation.traffic()
    report: dict[str, Any] = {
        **measured,
        **_private(schema, model, joined.where(held), evaluation),
        "epsilon": max(each.epsilon for each in spent.values()) if options.noise_on else None,
        "delta": options.delta if options.noise_on else None,
        "epsilon_budget": options.epsilon,
        "epsilon_replace_one": artefact.privacy.epsilon_replace_one,
        "noise": "on" if options.noise_on else "off",
        "sigma_class": artefact.privacy.sigma_class,
        "sigma_pair": artefact.privacy.sigma_pair,
        "stages": list(plan.stages),
        "table_equals_joined": None if options.noise_on else _equals(schema, model, joined.where(~held)),
        "seed": options.seed,
        "merchants": len(joined.pseudonyms),
        "held_out": int(held.sum()),
        "nodes": {kind: len(plan.cohort.nodes_of(kind)) for kind in schema.kinds_in_order()},
        "attempts": model.attempts,
        "lost": model.lost,
        "seconds": {"load": loaded, **model.seconds(trained), "fit": fitted, "steps": model.steps},
        "cpu_seconds": worked,
        "peak_mib": peak,
        "bytes_per_node": {party: sent + received for party, (sent, received, _) in traffic.items()},
        "trips": max(trips for party, (_, _, trips) in traffic.items() if party in federation.contexts),
        "model_id": artefact.model_id,
        "content_id": artefact.content_id,
        "encoder_model_id": None if model.encoder is None else model.encoder.artefact.model_id,
        "table_digest": artefact.table_digest,
    }
    _write(folder, report, artefact)
    example = model.example(schema, joined.where(held if held.any() else ~held))
    if options.out is not None:
        if example is not None:
            write_example(folder, example)
        write_cards(folder, _card_facts(schema, model, joined.where(held), report, evaluation))
    return Simulated(report, artefact, split.own_ids, example)


def _join(schema: Schema, nodes: list[NodeData], pseudonyms: NDArray[np.uint8]) -> _Joined:
    """The cohort's rows at every kind, in order of `pseudonyms`; absent where a kind has no record."""
    size = len(pseudonyms)
    codes = {
        kind: np.full((size, len(on_grid(schema).features(kind))), ABSENT, dtype=np.uint8)
        for kind in schema.kinds_in_order()
    }
    outcome = np.full(size, UNLABELLED, dtype=np.uint8)
    for node in nodes:
        rows = node.data.rows(pseudonyms)
        kept = rows >= 0
        codes[node.kind][kept] = node.data.codes[rows[kept]]
        if node.data.outcome is not None:
            outcome[kept] = node.data.outcome[rows[kept]]
    return _Joined(pseudonyms, codes, outcome)


def _measure(
    options: SimulationOptions, schema: Schema, model: _Model, train: _Joined, test: _Joined
) -> dict[str, float | None]:
    """AUC and KS of the model and of what joined rows would give, on held-out merchants."""
    names = ("auc", "ks", "auc_nonprivate", "auc_lightgbm")
    if options.holdout == 0:
        return dict.fromkeys(names)
    features = feature_bins(schema)
    scores = model.scores(schema, test.codes)
    values = (
        auc(scores, test.outcome),
        ks(scores, test.outcome),
        *(
            compare(features, train.codes, train.outcome, test.codes, test.outcome) if options.baselines else None
            for compare in (auc_nonprivate, auc_lightgbm)
        ),
    )
    return dict(zip(names, values, strict=True))


def _private(schema: Schema, model: _Model, test: _Joined, found: EvaluationResult | None) -> dict[str, Any]:
    """The evaluation stage's AUC with its interval, and the exact one of the very merchants that it counted."""
    if found is None:
        return dict.fromkeys(("auc_private", "auc_private_interval", "auc_counted", "counted"))
    kept = np.ones(len(test.outcome), dtype=np.bool_)
    if model.card is not None and len(model.card.kinds) > 1:
        others = [codes[:, 0] != ABSENT for kind, codes in test.codes.items() if kind != schema.label.kind]
        kept = np.sum(others, axis=0) >= OTHERS
    counted = test.where(kept)
    return {
        "auc_private": found.auc.value,
        "auc_private_interval": [found.auc.low, found.auc.high],
        "auc_counted": auc(model.scores(schema, counted.codes), counted.outcome),
        "counted": int((counted.outcome != UNLABELLED).sum()),
    }


def _equals(schema: Schema, model: _Model, train: _Joined) -> bool | None:
    """Whether the opened table is the joined rows' table, count for count; None where no table was opened."""
    if model.released is None:
        return None
    exact = from_codes(model.features(schema), model.codes(schema, train.codes), train.outcome)
    return bool(np.array_equal(opened_table(model.released).to_vector(), exact.to_vector()))


def _write(folder: Path, report: Mapping[str, Any], artefact: ModelArtefact) -> None:
    (folder / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "model.json").write_bytes(artefact.to_bytes())


def _card_facts(
    schema: Schema, model: _Model, test: _Joined, report: Mapping[str, Any], evaluation: EvaluationResult | None
) -> CardFacts:
    """What the model card of a simulation says."""
    exact = None
    if len(test.outcome):
        scores = model.scores(schema, test.codes)
        pd = expit(-scores) if model.card is None else model.card.pd_of(scores.astype(np.int64))
        others = {title: report[name] for title, name in _OTHERS.items() if report[name] is not None}
        exact = exact_figures(scores, pd, test.outcome, others=others, scorecard=model.card is not None)
    table = None if model.released is None else opened_table(model.released)
    stability = None
    if table is not None and model.card is not None:
        stability = stability_of(table, model.card, FitOptions(**model.artefact.fit_options))
    return CardFacts(
        model.artefact,
        table=table,
        stability=stability,
        training=training_of(model.terms, schema.name, lost=model.lost, held_out=len(test.outcome)),
        exact=exact,
        evaluation=evaluation,
    )
