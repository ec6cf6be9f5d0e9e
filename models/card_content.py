"""What a model card is made from, and what it is made of: one structure, which templates turn into Markdown or HTML.

A card is a title, figures that stand at its head, and sections of blocks. A figure's block holds the chart's data and
the same data as a table: what a picture says, a reader without it must find too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date as Day  # noqa: N812  (a field is called date)
from datetime import datetime
from typing import Literal, TypeAlias

from models.artefact import MetricsEntry, ModelArtefact
from models.card_charts import Chart
from models.evaluation import CalibrationRow, Interval, ParityRow
from models.evaluation_result import EvaluationResult
from models.stability import NoiseStability
from models.tables import FloatArray, OpenedTable

Conclusion: TypeAlias = Literal["acceptable", "acceptable-with-measures", "not-acceptable"]
Status: TypeAlias = Literal["registered", "evaluation", "release", "rolled-back", "withdrawn"]


@dataclass(frozen=True)
class Training:
    """How a model was trained, as the hub's records have it.

    Attributes:
        name: of the campaign's file; `campaign_id` is the run.
        nodes: kind → nodes whose data are in it.
        members: kind → merchants of the cohort that have a record there; public membership numbers.
        held_out: merchants kept from training, where it is known.
        attempts: of the last stage, the successful one included.
        lost: party → why it dropped out.
    """

    name: str
    nodes: Mapping[str, int]
    members: Mapping[str, int]
    attempts: int
    lost: Mapping[str, str] = field(default_factory=dict)
    held_out: int | None = None


@dataclass(frozen=True)
class Release:
    """Where a model stands.

    Attributes:
        line, version: its place among the models of the same campaigns.
        current: whether it is the one of its line to use.
        signed_at: of the witness's newest word on it.
        witness: who signed.
        reason: of a withdrawal or rollback.
        waiting: a release was asked for, and waits for the word of the witness's owner.
    """

    status: Status
    line: str
    version: int
    current: bool
    signed_at: datetime | None = None
    witness: str | None = None
    reason: str | None = None
    waiting: bool = False


@dataclass(frozen=True)
class Assessment:
    """The impact assessment of a campaign's models (PIPL 55, 56); `sha256` is of the exact report (hex)."""

    title: str
    date: Day
    assessor: str
    conclusion: Conclusion
    retained_until: Day
    sha256: str


@dataclass(frozen=True)
class ExactFigures:
    """Figures on joined held-out rows: they exist in simulations alone and are not private.

    Attributes:
        roc: (share of others, share of defaulters) below each cutoff, from (0, 0) to (1, 1).
        histogram: (bins, 2) of defaulted and performing by the evaluation's score bins; None for an encoder.
        others: name → AUC of other models on the same rows, e.g. one without noise.
    """

    auc: Interval
    ks: Interval
    held_out: int
    roc: tuple[tuple[float, float], ...]
    calibration: tuple[CalibrationRow, ...]
    histogram: FloatArray | None = None
    parity: Mapping[str, tuple[ParityRow, ...]] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CardFacts:
    """All that is known of a model; what is None is left out of the card, or said to be unknown.

    Attributes:
        table: the opened table, for weights of evidence.
        metrics: figures that came after the artefact was made.
        exact: of a simulation.
        evaluation: of the evaluation stage.
        assessment: the newest that is registered for its campaign.
        stability: of the scorecard against its noise, where it was computed.
        complete: False where evaluations are not known here, e.g. at the witness.
    """

    artefact: ModelArtefact
    table: OpenedTable | None = None
    training: Training | None = None
    release: Release | None = None
    metrics: tuple[MetricsEntry, ...] = ()
    exact: ExactFigures | None = None
    evaluation: EvaluationResult | None = None
    assessment: Assessment | None = None
    stability: NoiseStability | None = None
    complete: bool = True


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    strong: bool = False
    block: Literal["text"] = "text"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    items: tuple[tuple[str, str], ...]
    block: Literal["facts"] = "facts"


@dataclass(frozen=True)
class Bullets:
    """Sentences."""

    items: tuple[str, ...]
    block: Literal["bullets"] = "bullets"


@dataclass(frozen=True)
class Commands:
    """Lines for a terminal."""

    lines: tuple[str, ...]
    block: Literal["commands"] = "commands"


@dataclass(frozen=True)
class Table:
    """A table; columns from `numeric` on hold numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: int
    caption: str = ""
    block: Literal["table"] = "table"


@dataclass(frozen=True)
class Figure:
    """A chart and the same as a table.

    Attributes:
        name: of the chart, unique in the card.
        title, text: what it shows, for those who do not see it too.
        table: its numbers; `folded` ones are shown on demand where a page can.
    """

    name: str
    title: str
    text: str
    chart: Chart
    table: Table
    folded: bool = False
    block: Literal["figure"] = "figure"


Block: TypeAlias = Text | Facts | Bullets | Commands | Table | Figure


@dataclass(frozen=True)
class Section:
    """A part of the card with a heading of its own; `level` 3 is a part of the section before."""

    name: str
    heading: str
    blocks: tuple[Block, ...]
    level: Literal[2, 3] = 2


@dataclass(frozen=True)
class Headline:
    """A figure at the head of the card."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Card:
    """A model card in one language.

    Attributes:
        lead: the privacy statement, first of all.
        private: False warns that the model was made without noise.
    """

    lang: Literal["zh", "en"]
    title: str
    subtitle: str
    lead: str
    private: bool
    headlines: tuple[Headline, ...]
    sections: tuple[Section, ...]
