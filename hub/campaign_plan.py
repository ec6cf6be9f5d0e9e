"""What a campaign is to do, what it reports on its way, and how it ended; plain values without Flower or database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from crypto.canonical import digest
from crypto.key_line import KeyLine
from crypto.keys import Signer
from crypto.wire.campaign import RosterEntry, Stage, Terms
from crypto.wire.link import RoundShares
from hub.clock import Clock, utc_now
from hub.cohort import Cohort
from hub.witness_seat import WitnessSeat
from models.encoder_step import StepState
from models.schema import Schema
from models.stages import BINS_SHARE
from models.statistics.choice import StatisticsChoice

Step = Literal[
    "cosign",
    "accept",
    "seeds",
    "exchange",
    "share",
    "points",
    "count",
    "release",
    "outcome",
    "open",
    "void",
    "round",
    "wait",
    "engine",
]
"""`wait`: for parties that are not there. `engine`: what happens to the campaign's run on a SuperLink."""


BLOCK_ROWS = 1 << 17
"""Some 16 to 32 MiB of masked rows a node: up to here a cohort goes in one block, which takes the fewest trips."""


@dataclass(frozen=True)
class SettledBins:
    """What a bins stage gave.

    Attributes:
        attempt: the released one.
        schema: with its bins.
        release: the witness's JWS `bins-release`.
        counts: (Σ nodes,) opened, in units of the noise's grid: nodes make the bins from them again.
    """

    attempt: str
    schema: Schema
    release: str
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class CampaignPlan:
    """A campaign ready to run.

    Attributes:
        cohort: all merchants, held-out ones too; each attempt takes the training part.
        holdout_salt, holdout_fraction: the hold-out rule.
        quorum: kind → least number of nodes, 1 where not given.
        pair_share: part of μ² spent on pair tables.
        bins_share: part of μ² spent on the bins stage, where there is one.
        encoder_share: part of μ² spent on the encoder when both stages run.
        identity: the hub's key, which signs terms.
        bands, parity: of an evaluation's histogram: bands of the score, and features of the label's kind whose bins are
            groups.
        encoders: kind → artefact of an encoder whose binned output is a further feature of that kind; nodes get these
            bytes with the terms, which name their hashes.
        encoder_releases: the witness's JWS `model-release` of each of these, which nodes demand.
        start: artefact of the model from which the encoder starts, where its specification names one.
        earlier: ids of released scorecards whose tables are counted with this one's in the fit.
        bins: what the bins stage gave, from then on; `schema` is its schema.
        statistics: the cells that programme statistics release.
        reform: the cohort of the same nodes by the consents of now, or None where consents do not change.
        attempts_before: stage → number of the last attempt of an earlier run of this campaign, whose ids are used up.
        max_attempts: attempts per stage that may lose nodes; see `hub.cohort_course` for others.
        block_rows: most cohort positions that travel at a time; see `crypto.blocks`.
        deadline: how long an attempt's terms can be accepted.
        witness_keys: gives the witness's signing keys; without it the one of `witness` is its only one.
    """

    campaign_id: str
    schema: Schema
    stages: tuple[Stage, ...]
    epsilon: float
    delta: float
    cohort: Cohort
    witness: RosterEntry
    hub_id: str
    identity: Signer
    holdout_salt: bytes
    holdout_fraction: float
    t_collude: int = 1
    noise: Literal["on", "off"] = "on"
    quorum: Mapping[str, int] = field(default_factory=dict)
    pair_share: float = 0.4
    encoder_share: float = 0.5
    bins_share: float = BINS_SHARE
    bands: int = 20
    parity: tuple[str, ...] = ()
    encoders: Mapping[str, bytes] = field(default_factory=dict)
    encoder_releases: tuple[str, ...] = ()
    start: bytes | None = None
    earlier: tuple[str, ...] = ()
    bins: SettledBins | None = None
    statistics: StatisticsChoice | None = None
    reform: Callable[[], Cohort] | None = None
    attempts_before: Mapping[str, int] = field(default_factory=dict)
    max_attempts: int = 5
    block_rows: int = BLOCK_ROWS
    deadline: timedelta = timedelta(hours=1)
    clock: Clock = utc_now
    witness_keys: Callable[[], KeyLine] | None = None

    @property
    def seat(self) -> WitnessSeat:
        """The witness, with the keys that it has at the moment."""
        return WitnessSeat(self.witness, self.witness_keys or (lambda: KeyLine.of(self.witness.sign_key)), self.clock)

    @property
    def encoders_used(self) -> dict[str, str]:
        """Kind → model id."""
        return {kind: f"sha256:{digest(data).hex()}" for kind, data in self.encoders.items()}


@dataclass(frozen=True)
class Progress:
    """One event for whoever watches: step `step` of an attempt, k of n parties done, seconds since the stage began."""

    stage: Stage
    attempt: str
    step: Step
    done: int
    total: int
    seconds: float
    detail: str = ""


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True)
class ReleasedTable:
    """The scorecard stage's result: the noisy table and everything needed to prove and re-fit it. Also an evaluation's
    histogram, and a bins stage's trees.

    Attributes:
        counts: (n_cells,) noisy counts in the order of the layout, of the table, the histogram or the trees.
        shares: party → exact bytes that it sent; the witness re-fits from them.
        seconds: per step.
        lost: nodes of earlier attempts and why they are not in this one.
    """

    terms: Terms
    h: bytes
    counts: NDArray[np.float64]
    shares: Mapping[str, bytes]
    receipts: Mapping[str, str]
    decision: str
    attempts: int
    seconds: Mapping[str, float]
    lost: Mapping[str, str]


@dataclass(frozen=True)
class EncoderCheckpoint:
    """Where an encoder run stands after its last opened round: all that a restarted hub needs to go on.

    Attributes:
        terms: the signed terms.
        acceptances: of all nodes, in order of the roster, separated by spaces.
        parameters, state: after `state.step` rounds.
        retries: further tries that were needed so far.
        lost: nodes of earlier attempts, and why they are not in this one.
    """

    attempt: str
    terms: str
    h: bytes
    acceptances: str
    parameters: NDArray[np.float64]
    state: StepState
    retries: int
    lost: Mapping[str, str]


@dataclass(frozen=True)
class TrainedEncoder:
    """The encoder stage's result.

    Attributes:
        parameters: (P,) to be published.
        retries: further charged tries that were used.
        seconds: per step.
        lost: as in `ReleasedTable`.
    """

    terms: Terms
    h: bytes
    parameters: NDArray[np.float64]
    rounds: int
    retries: int
    attempts: int
    seconds: Mapping[str, float]
    lost: Mapping[str, str]


class CampaignStore(Protocol):
    """Where a campaign records what must survive the hub: for its log, and for nodes that were away."""

    def manifest(self, attempt: str, h: bytes, terms: str) -> None:
        """The witness cosigned this manifest; `terms` is the signed document."""

    def decision(self, attempt: str, h: bytes, token: str, undelivered: tuple[str, ...]) -> None:
        """The witness decided; these nodes have not heard it yet and are to be told when they are back."""

    def lost(self, attempt: str, parties: Mapping[str, str]) -> None:
        """These parties refused or were lost, and so ended the attempt: party → code and numbers."""

    def points_passed(self, terms: Terms, boxes: Mapping[str, Mapping[str, str]]) -> None:
        """Points in an evaluation are about to be passed on: bank → source → SHA-256 of the sealed box."""

    def opened(self, result: ReleasedTable) -> None:
        """The table, or an evaluation's histogram, was opened."""

    def round_opened(self, checkpoint: EncoderCheckpoint, opened: RoundShares | None) -> None:
        """An encoder run began (step 0), or a round of it was opened from these shares."""


class NoStore:
    """Records nothing: for simulations, which end with their process."""

    def manifest(self, attempt: str, h: bytes, terms: str) -> None:
        """Nothing to keep."""

    def decision(self, attempt: str, h: bytes, token: str, undelivered: tuple[str, ...]) -> None:
        """Nothing to keep."""

    def lost(self, attempt: str, parties: Mapping[str, str]) -> None:
        """Nothing to keep."""

    def points_passed(self, terms: Terms, boxes: Mapping[str, Mapping[str, str]]) -> None:
        """Nothing to keep."""

    def opened(self, result: ReleasedTable) -> None:
        """Nothing to keep."""

    def round_opened(self, checkpoint: EncoderCheckpoint, opened: RoundShares | None) -> None:
        """Nothing to keep."""
