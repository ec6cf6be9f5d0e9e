"""A campaign as its operator writes it: what is trained, on which schema, within which privacy budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from models.errors import SchemaError
from models.schema import KindName, Schema, unsettled
from models.schema_base import Name
from models.stages import BINS_SHARE, EngineName, Stage
from models.statistics.choice import StatisticsChoice

Count = Annotated[int, Field(ge=1, le=10_000, strict=True)]
ModelId = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class SamplingOptions(BaseModel):
    """Who takes part in a round.

    Attributes:
        poisson: probability with which each row does, by a secret coin at its node.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    poisson: Annotated[float, Field(ge=0.001, lt=1, allow_inf_nan=False)]


class EncoderOptions(BaseModel):
    """Options of the encoder stage; what is left out takes the default of the encoder's own specification.

    Attributes:
        kind: the kind whose nodes train it; the label's kind when left out.
        rounds: steps of DP-SGD.
        hidden: widths of the hidden layers; an empty list is a linear encoder.
        clip: bound C of a row's gradient.
        retries: further charged attempts, at least 3.
        start: id of a released model to start from: an encoder of the same shape or, for a linear one, a scorecard.
        sampling: of the rows in each round; all take part in every round when left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: KindName | None = None
    rounds: Annotated[int, Field(ge=1, le=1000, strict=True)] | None = None
    hidden: tuple[Annotated[int, Field(ge=1, le=1024, strict=True)], ...] | None = Field(default=None, max_length=4)
    clip: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    retries: Annotated[int, Field(ge=3, le=100, strict=True)] | None = None
    start: ModelId | None = None
    sampling: SamplingOptions | None = None


class EvaluationOptions(BaseModel):
    """Options of the evaluation stage.

    Attributes:
        bands: bands of the score, about equally many merchants in each.
        parity: features of the label's kind; their public bins are the groups that are compared. Each costs noise: all
            counts get √(1 + number) times as much.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: Annotated[int, Field(ge=2, le=50, strict=True)] = 20
    parity: tuple[Name, ...] = Field(default=(), max_length=8)


class CampaignFile(BaseModel):
    """One campaign.

    Attributes:
        schema_path: the schema file (``schema`` in the file), relative to the campaign's file.
        stages: in order; an encoder's output becomes a feature of the scorecard after it. An evaluation comes last, on
            held-out merchants; the model is released for scoring only after it. Where the schema leaves bins to
            quantiles, a bins stage comes first, named or not.
        epsilon: what all published results of the campaign may cost each merchant, in all.
        holdout: fraction of the cohort kept for evaluation.
        t_collude: colluding nodes that the promise withstands.
        noise: ``off`` is for synthetic data alone; nodes refuse it unless they allow it themselves.
        quorum: least number of nodes per kind; below it the campaign does not start.
        pair_share: part of μ² spent on pair tables, the rest on class counts.
        encoder_share: part of μ² spent on the encoder when both stages run.
        statistics: the cells that programme statistics release.
        earlier: ids of released scorecards of the same bins, the newest first, at most four; their tables are counted
            in the fit, which costs no privacy (`models.pooling`).
        bins_share: part of μ² spent on the bins stage, where there is one.
        nodes: ids of the nodes invited; all enrolled ones when left out.
        engine: how messages reach the nodes; the hub must offer it.
        block_rows: most merchants of the cohort that travel at a time in the scorecard stage; the hub's default when
            left out. Fewer need less memory and more trips; the table is the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    name: Name
    schema_path: Path = Field(alias="schema")
    stages: tuple[Stage, ...] = Field(min_length=1)
    epsilon: float = Field(gt=0, le=100, allow_inf_nan=False)
    delta: float = Field(default=1e-5, gt=0, lt=1e-3)
    holdout: float = Field(default=0.3, ge=0, le=0.9)
    t_collude: Count = 1
    noise: Literal["on", "off"] = "on"
    quorum: dict[KindName, Count] = Field(default_factory=dict)
    encoder: EncoderOptions | None = None
    evaluation: EvaluationOptions | None = None
    statistics: StatisticsChoice | None = None
    pair_share: float = Field(default=0.4, ge=0.05, le=0.95)
    encoder_share: float = Field(default=0.5, ge=0.05, le=0.95)
    earlier: tuple[ModelId, ...] = Field(default=(), max_length=4)
    bins_share: float = Field(default=BINS_SHARE, ge=0.005, le=0.5)
    nodes: tuple[Name, ...] | None = Field(default=None, min_length=1)
    engine: EngineName = "agent"
    block_rows: Annotated[int, Field(ge=64, le=1 << 20, strict=True)] | None = None

    @field_validator("epsilon", "delta", "holdout", "pair_share", "encoder_share", "bins_share", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        if isinstance(value, (bool, str)):
            raise ValueError("must be a number")  # noqa: TRY004
        return value

    @field_validator("schema_path", mode="after")
    @classmethod
    def _resolve(cls, path: Path, info: ValidationInfo) -> Path:
        base = (info.context or {}).get("base")
        return path if base is None else Path(base) / path

    @field_validator("stages", mode="after")
    @classmethod
    def _ordered(cls, stages: tuple[str, ...]) -> tuple[str, ...]:
        training = stages[:-1] if stages[-1] == "evaluation" else stages
        if training[:1] == ("bins",):
            training = training[1:]
        if stages == ("statistics",):
            return stages
        if training not in {("encoder",), ("scorecard",), ("encoder", "scorecard")}:
            raise ValueError(
                "must be [statistics]; or [encoder], [scorecard] or [encoder, scorecard], bins before and evaluation "
                "after them if any"
            )
        return stages

    @field_validator("nodes", mode="after")
    @classmethod
    def _distinct(cls, nodes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if nodes is not None and len(set(nodes)) != len(nodes):
            raise ValueError("node ids must be distinct")
        return nodes

    @field_validator("earlier", mode="after")
    @classmethod
    def _once(cls, earlier: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(earlier)) != len(earlier):
            raise ValueError("model ids must be distinct")
        return earlier

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.earlier and ("encoder" in self.stages or "scorecard" not in self.stages):
            raise ValueError("earlier: tables are counted in scorecards without an encoder before them alone")
        if self.encoder is not None and "encoder" not in self.stages:
            raise ValueError("encoder: options are given but stages has no encoder")
        if self.evaluation is not None and "evaluation" not in self.stages:
            raise ValueError("evaluation: options are given but stages has no evaluation")
        if "evaluation" in self.stages and self.holdout == 0:
            raise ValueError("holdout: an evaluation needs merchants that are held out")
        if (self.statistics is not None) != (self.stages == ("statistics",)):
            raise ValueError(
                "statistics: says what is counted in a campaign of the one stage statistics, and only there"
            )
        if self.statistics is not None and "holdout" in self.model_fields_set and self.holdout:
            raise ValueError("holdout: statistics are of all merchants who agreed; leave it out")
        return self

    @property
    def held_out(self) -> float:
        """Fraction of the cohort that is held out: nobody where nothing is trained."""
        return 0.0 if self.statistics is not None else self.holdout

    def check_against(self, schema: Schema) -> list[tuple[str, str]]:
        """Contradictions with the schema, as (field, sentence)."""
        found = [
            (f"quorum.{kind}", f"kind {kind!r} is not in schema {schema.name!r}")
            for kind in self.quorum
            if kind not in schema.kinds
        ]
        if self.encoder is not None and self.encoder.kind not in (None, *schema.kinds):
            found.append(("encoder.kind", f"kind {self.encoder.kind!r} is not in schema {schema.name!r}"))
        if "evaluation" in self.stages:
            found += self._check_evaluation(schema)
        found += self._check_bins(schema)
        knots = [each.name for each in schema.all_features() if each.spec.rounded]
        if knots and self.statistics is None:
            found.append(
                ("stages", f"{knots[0]!r} is rounded at random, for statistics alone: a model needs plain bins")
            )
        if self.statistics is not None:
            found += self._check_statistics(self.statistics, schema)
        return found

    def stages_on(self, schema: Schema) -> tuple[Stage, ...]:
        """The stages that run on this schema: with a bins stage first where it leaves bins to quantiles."""
        return ("bins", *self.stages) if unsettled(schema) and "bins" not in self.stages else self.stages

    def _check_bins(self, schema: Schema) -> list[tuple[str, str]]:
        """An encoder is made for bins that are known before its terms are."""
        if "bins" in self.stages and not unsettled(schema):
            return [("stages", f"schema {schema.name!r} gives all its bins: there is nothing for a bins stage to find")]
        if self.earlier and unsettled(schema):
            return [("earlier", "tables of earlier campaigns are on other bins than those that are still to come")]
        if "encoder" in self.stages and unsettled(schema):
            name = next(each.name for each in schema.all_features() if each.spec.unsettled)
            return [
                (
                    "stages",
                    f"the bins of {name!r} are still to come from quantiles, and an encoder needs them given: take the "
                    "schema that a campaign with a scorecard alone has settled",
                )
            ]
        return []

    def _check_statistics(self, choice: StatisticsChoice, schema: Schema) -> list[tuple[str, str]]:
        if unsettled(schema):
            return [("stages", f"schema {schema.name!r} leaves bins to quantiles, and statistics count in public bins")]
        try:
            choice.numbers(schema)
        except SchemaError as unknown:
            return [("statistics", str(unknown))]
        return []

    def _check_evaluation(self, schema: Schema) -> list[tuple[str, str]]:
        label = schema.label.kind
        own = {feature.name for feature in schema.features(label)}
        found = [
            ("evaluation.parity", f"{name!r} is no feature of kind {label!r} in schema {schema.name!r}")
            for name in (self.evaluation.parity if self.evaluation else ())
            if name not in own
        ]
        if "scorecard" in self.stages and len(schema.kinds) == 2:
            found.append(
                (
                    "stages",
                    f"an evaluation needs two kinds besides {label!r}: one alone would show its points",
                )
            )
        return found
