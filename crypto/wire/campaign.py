"""What a campaign's parties exchange (docs/protocol.md, 3 to 6). Bulk arrays travel beside these as arrays."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crypto.wire.base import (
    Code,
    Hash,
    Identifier,
    Key,
    KindName,
    ModelId,
    Moment,
    PartyId,
    Sha256Hex,
    Suite,
    WireModel,
)
from crypto.wire.bins import BinsTerms
from crypto.wire.evaluation import EvaluationTerms
from crypto.wire.statistics import StatisticsTerms

Stage = Literal["bins", "encoder", "scorecard", "evaluation", "statistics"]


class RosterEntry(WireModel):
    """A node of this attempt. The order of entries is the index used in slices."""

    party_id: PartyId
    kind: KindName
    sign_key: Key
    box_key: Key


class KindTerms(WireModel):
    """A kind's one-hot blocks; `members` is how many cohort merchants have a node of this kind."""

    kind: KindName
    widths: tuple[Annotated[int, Field(ge=2, le=255)], ...]
    members: Annotated[int, Field(ge=0)]


class PairMembership(WireModel):
    """How many cohort merchants have nodes at both kinds."""

    first: KindName
    second: KindName
    members: Annotated[int, Field(ge=0)]


class TablesMechanism(WireModel):
    """`count` cells, one count of each touched, with discrete Gaussian noise of `sigma` (in counts).

    Noise is drawn on an integer grid with `scale` units to a count.
    """

    mechanism: Literal["discrete-gaussian-cells"]
    stage: Stage
    sigma: Annotated[float, Field(gt=0)]
    count: Annotated[int, Field(ge=1)]
    scale: Annotated[int, Field(ge=1, le=1 << 20)] = 1


class RoundsMechanism(WireModel):
    """`rounds` charged rounds of Gaussian noise, `sigma_over_sensitivity` each.

    Each row takes part in a round with probability `sampling_rate`, by coins that stay at its node.
    """

    mechanism: Literal["gaussian-rounds"]
    stage: Stage
    sigma_over_sensitivity: Annotated[float, Field(gt=0)]
    rounds: Annotated[int, Field(ge=1)]
    sampling_rate: Annotated[float, Field(gt=0, le=1)] = 1.0


MechanismTerms = Annotated[TablesMechanism | RoundsMechanism, Field(discriminator="mechanism")]


class PrivacyTerms(WireModel):
    """The whole campaign's privacy: what every node charges, over all kinds and stages."""

    epsilon: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, lt=0.1)]
    delta_sum: Annotated[float, Field(ge=0)]
    """Distance of the summed noise shares from the discrete Gaussian, already inside `delta`."""
    t_collude: Annotated[int, Field(ge=1)]
    noise: Literal["on", "off"]
    mechanisms: tuple[MechanismTerms, ...]
    adjacency: Literal["replaced-by-empty"] = "replaced-by-empty"
    epsilon_replace_one: Annotated[float, Field(gt=0)]


class TablesTerms(WireModel):
    """Scorecard and statistics stages: standard deviations of the total noise, in counts."""

    sigma_class: Annotated[float, Field(ge=0)]
    sigma_pair: Annotated[float, Field(ge=0)]


class EncoderTerms(WireModel):
    """Encoder stage: `spec` is the canonical JSON of models.encoder_spec.EncoderSpec."""

    kind: KindName
    spec: str
    parameters: Annotated[int, Field(ge=1)]
    rounds: Annotated[int, Field(ge=1)]
    charged_attempts: Annotated[int, Field(ge=1)]
    sigma_grid: Annotated[float, Field(ge=0)]
    """Standard deviation of the total noise in grid units."""
    grid: Annotated[float, Field(gt=0)]
    clip: Annotated[float, Field(gt=0)]


class HoldoutRule(WireModel):
    """A merchant is held out when SHA-256(salt ‖ pseudonym)[:8] / 2^64 < fraction."""

    salt: Annotated[bytes, Field(min_length=16, max_length=32)]
    fraction: Annotated[float, Field(ge=0, lt=1)]


class Terms(WireModel):
    """JWS type `terms`, by the hub. Holds no campaign keys; `h` is the root over it and the salted slice hashes."""

    suite: Suite
    campaign_id: Identifier
    attempt: Identifier
    """`<campaign>/<stage>/<number>`; an attempt's id is never used twice."""
    stage: Stage
    schema_document: str
    schema_sha256: Sha256Hex
    label_kind: KindName
    kinds: tuple[KindTerms, ...]
    pairs: tuple[PairMembership, ...]
    cohort_size: Annotated[int, Field(ge=1)]
    block_rows: Annotated[int, Field(ge=1, le=1 << 24)]
    """Cohort positions per block: slices and masked rows travel, and are counted, one block after the other."""
    roster: tuple[RosterEntry, ...]
    witness: RosterEntry
    holdout: HoldoutRule
    privacy: PrivacyTerms
    tables: TablesTerms | None = None
    encoder: EncoderTerms | None = None
    evaluation: EvaluationTerms | None = None
    bins: BinsTerms | None = None
    statistics: StatisticsTerms | None = None
    bins_attempt: Identifier | None = None
    """Of a later stage: the released attempt of this campaign whose opened counts gave the schema its bins."""
    evaluation_due: bool = False
    """The model that this stage gives is released for scoring only after an evaluation stage of it."""
    encoders_used: dict[KindName, ModelId] = {}
    """Scorecard and evaluation: encoder artefacts whose binned output is one more feature of that kind."""
    earlier: Annotated[tuple[ModelId, ...], Field(max_length=4)] = ()
    """Scorecard: released models, the newest first, whose opened tables are counted with this one in the fit."""
    issued_at: Moment
    deadline: Moment


class Cosignature(WireModel):
    """T0, JWS type `cosignature`, by the witness: one h per attempt."""

    suite: Suite
    attempt: Identifier
    h: Hash
    witness_key: Key
    """The witness's X25519 key of this attempt."""


class Acceptance(WireModel):
    """T1, JWS type `acceptance`, by a node. `matrix_hash` freezes its matrix."""

    suite: Suite
    attempt: Identifier
    h: Hash
    party_id: PartyId
    key: Key
    """The node's X25519 key of this attempt; masks and sealed rows use it."""
    matrix_hash: Hash


class Refusal(WireModel):
    """JWS type `refusal`, by a node: a fixed code, the owner-facing numbers, and never data."""

    suite: Suite
    attempt: Identifier
    party_id: PartyId
    code: Code
    detail: Annotated[str, Field(max_length=500)] = ""


class RowsHeader(WireModel):
    """T2, JWS type `rows`, by the sender, inside the sealed box, before the rows themselves."""

    suite: Suite
    attempt: Identifier
    h: Hash
    sender: PartyId
    receiver: PartyId
    block: Annotated[int, Field(ge=0)]
    blocks: Annotated[int, Field(ge=1)]
    positions_sha256: Hash
    rows_sha256: Hash
    rows: Annotated[int, Field(ge=0)]
    columns: Annotated[int, Field(ge=1)]


class Receipt(WireModel):
    """T3, JWS type `receipt`, by a node: it sent exactly these bytes in this attempt."""

    suite: Suite
    attempt: Identifier
    h: Hash
    party_id: PartyId
    sha256: Hash


class RoundReceipt(Receipt):
    """E2, JWS type `round-receipt`, by a node: it took its gradients at exactly these parameters and sent these bytes.

    `attempt` is the try's, `<run>/<round>.<try>`.
    """

    parameters_sha256: Hash


class Decision(WireModel):
    """T4, JWS type `decision`, by the witness: released or void, one only. `term_sha256` binds its own term."""

    suite: Suite
    attempt: Identifier
    h: Hash
    decision: Literal["released", "void"]
    term_sha256: Hash | None = None


class RoundOrder(WireModel):
    """Encoder stage, JWS type `round`, by the hub: try `number` of round `round` on these parameters."""

    suite: Suite
    attempt: Identifier
    h: Hash
    round: Annotated[int, Field(ge=0)]
    number: Annotated[int, Field(ge=0)]
    parameters_sha256: Hash


class ModelRelease(WireModel):
    """JWS type `model-release`, by the witness, after it made the model again from what was opened."""

    suite: Suite
    model_id: ModelId
    campaign_id: Identifier
    scope: Literal["evaluation", "release"]
    table_sha256: Hash | None = None
    assessment_sha256: Hash | None = None
    """Of the impact assessment that it was let out under (PIPL 55); scope `release`."""
    issued_at: Moment


class ModelWithdrawal(WireModel):
    """JWS type `model-withdrawal`, by the witness: nodes stop answering with this model."""

    suite: Suite
    model_id: ModelId
    reason: Annotated[str, Field(max_length=200)]
    issued_at: Moment


class ModelRollback(WireModel):
    """JWS type `model-rollback`, by the witness: of a line of models this one is in use from now on, those `over` not.

    They are not withdrawn: a later rollback to one of them brings it back. Of two rollbacks the one with the greater
    `serial` counts, so that an older one cannot be played again.
    """

    suite: Suite
    serial: Annotated[int, Field(ge=1)]
    """Counted by the witness over all lines, from 1."""
    line: Annotated[str, Field(min_length=1, max_length=160)]
    model_id: ModelId
    over: tuple[ModelId, ...]
    reason: Annotated[str, Field(max_length=200)]
    issued_at: Moment
