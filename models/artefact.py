"""The model artefact: one canonical JSON file that says everything about a model, named by its hash.

Canonical: UTF-8, sorted keys, no spaces, floats of at most ten significant digits. A reader refuses any other bytes of
the same content, so a model has exactly one id.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.errors import ArtefactError, SchemaError
from models.feature import BinAxis, Direction
from models.fit_options import FitOptions
from models.mechanisms import DiscreteGaussianCells, GaussianRounds, Mechanism
from models.pooling import MOST_EARLIER
from models.schema import Schema
from models.scorecard import BAND_EDGES, Calibration, FeaturePoints, Scorecard, check_bounds, check_monotone
from models.tables import FeatureBins, FloatArray, feature_bins

_FIRST_YEAR, _LAST_YEAR = 1970, 2999
"""Nearer to the ends of the calendar another offset may be no date."""
_REMEDY = "fetch the model again from the hub, and check the witness's release"


def _ten_digits(value: float) -> float:
    return float(f"{value:.10g}")


def _whole_seconds(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset, e.g. 2026-01-31T08:00:00Z")
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"a time lies in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return moment.astimezone(UTC).replace(microsecond=0)


Number = Annotated[float, AfterValidator(_ten_digits)]
Count = Annotated[int, Field(ge=0, strict=True)]
Points = Annotated[int, Field(strict=True)]
Moment = Annotated[datetime, AfterValidator(_whole_seconds)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AxisEntry(_Closed):
    """One side of a product's bins."""

    width: Annotated[int, Field(ge=2, le=255, strict=True)]
    alone: tuple[Count, ...]


class FeatureEntry(_Closed):
    """A feature's block and its points, one a bin."""

    kind: str
    name: str
    width: Annotated[int, Field(ge=2, le=255, strict=True)]
    ordinal: bool
    alone: tuple[Count, ...]
    axes: tuple[AxisEntry, ...]
    monotone: Direction | None
    points: tuple[Points, ...]

    def block(self) -> FeatureBins:
        """The feature's block."""
        axes = tuple(BinAxis(axis.width, axis.alone) for axis in self.axes)
        return FeatureBins(self.kind, self.name, self.width, self.ordinal, self.alone, axes, self.monotone)


class CalibrationEntry(_Closed):
    """logit(PD) = intercept + slope · score; `source` says from which data."""

    intercept: Number
    slope: Number
    points_to_double: Number
    source: Literal["private-table"] = "private-table"


class ScorecardEntry(_Closed):
    """All that scoring needs."""

    features: Annotated[tuple[FeatureEntry, ...], Field(min_length=1)]
    absent_points: dict[str, Points]
    base: Points
    calibration: CalibrationEntry
    band_edges: tuple[Number, ...] = BAND_EDGES

    @classmethod
    def of(cls, card: Scorecard) -> Self:
        """The entry of a scorecard."""
        return cls(
            features=tuple(FeatureEntry(**asdict(entry.feature), points=entry.points) for entry in card.features),
            absent_points=card.absent,
            base=card.base,
            calibration=CalibrationEntry(
                intercept=card.calibration.intercept,
                slope=card.calibration.slope,
                points_to_double=card.points_to_double,
            ),
        )


class CellsEntry(_Closed):
    """`count` cells, one count of each touched, with discrete Gaussian noise on a grid of `scale` units to a count."""

    mechanism: Literal["discrete-gaussian-cells"] = "discrete-gaussian-cells"
    sigma: Number
    count: Count
    scale: Annotated[int, Field(ge=1, le=1 << 20, strict=True)] = 1


class RoundsEntry(_Closed):
    """Charged rounds of Gaussian noise."""

    mechanism: Literal["gaussian-rounds"] = "gaussian-rounds"
    sigma_over_sensitivity: Number
    rounds: Count
    sampling_rate: Number = 1.0


class PrivacyEntry(_Closed):
    """What the campaign's outputs cost each merchant, all stages together.

    Attributes:
        epsilon, delta: the guarantee promised; with noise off there is none and both are None.
        delta_sum: distance of the noise shares from a discrete Gaussian, inside delta.
        epsilon_replace_one: ε when one merchant's data is replaced by any other data.
        t_collude: colluding nodes against which it holds.
        mu: the same as Gaussian differential privacy.
        sigma_class, sigma_pair: total noise on the table, in counts.
    """

    noise: Literal["on", "off"]
    epsilon: Number | None
    delta: Number | None
    delta_sum: Number = 0.0
    adjacency: Literal["replaced-by-empty"] = "replaced-by-empty"
    epsilon_replace_one: Number | None
    t_collude: Annotated[int, Field(ge=1, strict=True)]
    mu: Number | None
    sigma_class: Number | None = None
    sigma_pair: Number | None = None
    stages: Annotated[tuple[Literal["bins", "encoder", "scorecard"], ...], Field(min_length=1)]
    mechanisms: tuple[Annotated[CellsEntry | RoundsEntry, Field(discriminator="mechanism")], ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        stated = (self.epsilon, self.delta, self.epsilon_replace_one, self.mu)
        if (self.noise == "on") != all(value is not None and value > 0 for value in stated):
            raise ValueError("epsilon, delta and mu are stated exactly when noise is on")
        if self.noise == "off" and any(value is not None for value in stated):
            raise ValueError("without noise there is no epsilon to state")
        return self


class MetricsEntry(_Closed):
    """Figures known when the artefact was made, and who computed them from what."""

    computed_by: Annotated[str, Field(min_length=1, max_length=80)]
    on: Annotated[str, Field(min_length=1, max_length=200)]
    values: dict[str, Number]


class EncoderEntry(_Closed):
    """A trained encoder: its specification (canonical JSON) and parameters as base64 of little-endian float32."""

    kind: str
    spec: str
    shape: tuple[Count, ...]
    weights: str
    edges: tuple[Number, ...]

    @classmethod
    def of(cls, kind: str, spec: str, parameters: FloatArray, edges: Sequence[float]) -> Self:
        """The entry of flat parameters."""
        data = base64.b64encode(np.asarray(parameters).astype("<f4").tobytes()).decode("ascii")
        return cls(kind=kind, spec=spec, shape=np.asarray(parameters).shape, weights=data, edges=tuple(edges))

    def parameters(self) -> FloatArray:
        """The parameters in their shape, as float64.

        Raises:
            ArtefactError: if bytes and shape disagree or a value is not finite.
        """
        try:
            flat = np.frombuffer(base64.b64decode(self.weights, validate=True), dtype="<f4")
            values = flat.astype(np.float64).reshape(self.shape)
        except ValueError as problem:
            raise ArtefactError(
                "encoder weights do not have the stated shape", field="encoder.weights", remedy=_REMEDY
            ) from problem
        if not np.isfinite(values).all():
            raise ArtefactError("encoder weights are not finite", field="encoder.weights", remedy=_REMEDY)
        return values


class EarlierEntry(_Closed):
    """An earlier model whose opened table was counted in the fit, and at which weight (`models.pooling`)."""

    model_id: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    table_digest: Digest
    weight: Annotated[Number, Field(ge=0, le=1)]


class ModelArtefact(_Closed):
    """A released model. `model_id` is the hash of its canonical bytes, `content_id` of what does not tell the campaign.

    Attributes:
        campaign_schema: the campaign's schema, canonical JSON; `schema_sha256` is its hash.
        table_digest: digest of the opened table from which the scorecard was fitted.
        encoders_used: kind → id of the encoder artefact whose binned output is a feature.
        earlier: models whose tables were counted with this one's, the newest first.
    """

    suite: Literal["digua-1"] = "digua-1"
    model_type: Literal["scorecard", "encoder"]
    campaign: Annotated[str, Field(min_length=1, max_length=128)]
    created: Moment
    campaign_schema: str
    schema_sha256: Digest
    cohort_size: Count
    privacy: PrivacyEntry
    scorecard: ScorecardEntry | None = None
    table_digest: Digest | None = None
    fit_options: dict[str, Number] = {}
    encoders_used: dict[str, str] = {}
    earlier: Annotated[tuple[EarlierEntry, ...], Field(max_length=MOST_EARLIER)] = ()
    encoder: EncoderEntry | None = None
    metrics: tuple[MetricsEntry, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.model_type == "scorecard") != (self.scorecard is not None and self.table_digest is not None):
            raise ValueError("a scorecard artefact has a scorecard and its table's digest")
        if (self.model_type == "encoder") != (self.encoder is not None):
            raise ValueError("an encoder artefact, and no other, has an encoder")
        if self.earlier and (self.scorecard is None or self.encoders_used):
            raise ValueError("earlier tables are counted in scorecards without an encoder's output alone")
        if hashlib.sha256(self.campaign_schema.encode()).hexdigest() != self.schema_sha256:
            raise ValueError("schema_sha256 is not the hash of campaign_schema")
        return self

    @property
    def model_id(self) -> str:
        """``sha256:`` and the hash of the canonical bytes."""
        return f"sha256:{hashlib.sha256(self.to_bytes()).hexdigest()}"

    @property
    def content_id(self) -> str:
        """As `model_id`, without which campaign made the model and when: campaigns that gave the same model agree."""
        plain = self.model_dump(mode="json", exclude={"campaign", "created"})
        return f"sha256:{hashlib.sha256(_canonical(plain)).hexdigest()}"

    def schema_of(self) -> Schema:
        """The campaign's schema.

        Raises:
            ArtefactError: if it is not a schema.
        """
        try:
            return Schema.from_json(self.campaign_schema)
        except SchemaError as problem:
            raise ArtefactError(
                f"campaign_schema is not a schema: {problem.message}", field="campaign_schema", remedy=_REMEDY
            ) from problem

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return _canonical(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, data: bytes) -> ModelArtefact:
        """Read and check an artefact.

        Raises:
            ArtefactError: if the bytes are malformed or not canonical, points break the bounds, or the features
                are not those of the schema.
        """
        try:
            artefact = cls.model_validate_json(data)
        except ValidationError as problem:
            first = problem.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "artefact"
            raise ArtefactError(f"{field}: {first['msg']}", field=field, remedy=_REMEDY) from problem
        if artefact.to_bytes() != data:
            raise ArtefactError("the artefact is not in canonical form", field="artefact", remedy=_REMEDY)
        artefact.check()
        return artefact

    def check(self) -> None:
        """Check points against the published bounds, features against the schema, weights against their shape.

        Raises:
            ArtefactError: if one of them does not hold.
        """
        schema = self.schema_of()
        if self.scorecard is not None:
            card = self.card()
            check_bounds(card)
            check_monotone(card)
            stated = tuple(entry.feature for entry in card.features)
            widths = {feature.kind: feature.width for feature in stated if feature.name.startswith("encoder:")}
            if set(widths) != set(self.encoders_used) or stated != feature_bins(schema, widths):
                raise ArtefactError(
                    "the features are not those of the schema", field="scorecard.features", remedy=_REMEDY
                )
            slope = card.calibration.slope
            if self.scorecard.band_edges != BAND_EDGES or not (math.isfinite(slope) and slope < 0):
                raise ArtefactError(
                    "calibration or bands are not the published ones", field="scorecard", remedy=_REMEDY
                )
        if self.encoder is not None:
            self.encoder.parameters()

    def card(self) -> Scorecard:
        """The scorecard.

        Raises:
            ArtefactError: if this is no scorecard.
        """
        if self.scorecard is None:
            raise ArtefactError(
                "an encoder artefact has no scorecard", field="model_type", remedy="use a scorecard's id"
            )
        entry = self.scorecard
        return Scorecard(
            features=tuple(FeaturePoints(each.block(), each.points) for each in entry.features),
            absent=dict(entry.absent_points),
            base=entry.base,
            calibration=Calibration(entry.calibration.intercept, entry.calibration.slope),
            points_to_double=entry.calibration.points_to_double,
        )


def _canonical(plain: object) -> bytes:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def mechanism_entries(
    mechanisms: Sequence[DiscreteGaussianCells | GaussianRounds],
) -> tuple[CellsEntry | RoundsEntry, ...]:
    """Mechanisms of the accountant as the artefact states them."""
    return tuple(
        CellsEntry(sigma=mechanism.sigma, count=mechanism.count, scale=mechanism.scale)
        if isinstance(mechanism, DiscreteGaussianCells)
        else RoundsEntry(
            sigma_over_sensitivity=mechanism.sigma_over_sensitivity,
            rounds=mechanism.rounds,
            sampling_rate=mechanism.sampling_rate,
        )
        for mechanism in mechanisms
    )


def mechanisms_of(privacy: PrivacyEntry) -> tuple[Mechanism, ...]:
    """The stated mechanisms, for anyone who accounts again."""
    found: list[Mechanism] = []
    for entry in privacy.mechanisms:
        if isinstance(entry, CellsEntry):
            found.append(DiscreteGaussianCells(entry.sigma, entry.count, entry.scale))
        else:
            found.append(GaussianRounds(entry.sigma_over_sensitivity, entry.rounds, entry.sampling_rate))
    return tuple(found)


def fit_entry(options: FitOptions) -> dict[str, float]:
    """Fit options as the artefact states them."""
    return {name: float(value) for name, value in asdict(options).items()}
