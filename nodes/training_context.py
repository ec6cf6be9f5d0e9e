"""What training needs of its surroundings, at a node and at the witness; handed in, so that the protocol's steps do no
configuration and a whole federation fits in one process."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from crypto.key_line import KeyLine
from crypto.keys import Signer
from crypto.pseudonym_index import MerchantRows, PseudonymIndex
from crypto.wire.consent import Purpose
from crypto.wire.party import Party
from models.sampling import Coins
from models.schema import Schema
from nodes.attempts import AttemptStore
from nodes.campaign_rules import CampaignRules
from nodes.clock import Clock, system_clock
from nodes.frozen_counts import FrozenCounts
from nodes.ledger import Ledger
from nodes.points_book import PointsBook

_LOG = structlog.get_logger("nodes.training_context")

Codes = NDArray[np.uint8]
Pseudonyms = NDArray[np.uint8]


class RosterLookup(Protocol):
    """Keys that are pinned or signed by the witness; `nodes.roster.RosterBook` is one."""

    @property
    def hub_id(self) -> str: ...
    @property
    def hub_keys(self) -> KeyLine: ...
    @property
    def witness_id(self) -> str: ...
    @property
    def witness_keys(self) -> KeyLine: ...
    def party(self, party_id: str) -> Party: ...


class ConsentBook(Protocol):
    """Consents as a node holds them."""

    def sources(
        self, pseudonyms: Pseudonyms, schema: Schema, purpose: Purpose = "model-training"
    ) -> Mapping[str, Sequence[str | None]]:
        """By kind, the source that each merchant's consent names, or None.

        Args:
            pseudonyms: (n, 32) merchants of a slice.
            schema: the campaign's, which decides what consents count (see `nodes.consents`).
            purpose: what the campaign is for.

        Raises:
            PolicyRefusal: a merchant has no active consent with this purpose that counts and names this node.
        """


class EncoderFeature(Protocol):
    """A released encoder as one more binned feature of its kind."""

    @property
    def width(self) -> int:
        """Bins."""

    def codes(self, codes: Codes) -> Codes:
        """(n, F) codes of the kind's own features → (n,) codes of the encoder's output."""


@dataclass(frozen=True)
class TrainingData:
    """A node's binned table.

    Attributes:
        pseudonyms: (n, 32), or where they are found.
        codes: (n, F), features in the order of the schema.
        outcome: (n,) 0 defaulted, 1 performing, 2 no label; None where the kind has no label.
    """

    pseudonyms: Pseudonyms | MerchantRows
    codes: Codes
    outcome: Codes | None

    def rows(self, wanted: Pseudonyms) -> NDArray[np.intp]:
        """Row of each of `wanted` (m, 32), −1 where there is none."""
        return self._index.find(wanted)

    @cached_property
    def _index(self) -> MerchantRows:
        return PseudonymIndex(self.pseudonyms) if isinstance(self.pseudonyms, np.ndarray) else self.pseudonyms


@dataclass(frozen=True)
class TrainingContext:
    """A node in training.

    Attributes:
        dataset: schema hash (hex) → the node's table under that schema, or None.
        consents: whose data may be used, and with whom.
        campaigns: what must stay the same in all attempts of a campaign.
        encoder: model id → the released encoder as a feature.
        points: who may be scored in an evaluation; without it the node takes part in none.
        counts: where rows per bin of what was accepted are kept for the owner's report, if anywhere.
        noise_counts: other nodes whose noise the owner counts on; all where None.
        min_t_collude: least number of colluding nodes that terms must withstand.
        insecure_noise_off: take part in campaigns without noise; for synthetic data only.
        device: what gradients are taken on.
        coins: secret randomness that decides which rows take part in a sampled encoder round.
    """

    party_id: str
    kind: str
    identity: Signer
    ledger: Ledger
    attempts: AttemptStore
    campaigns: CampaignRules
    roster: RosterLookup
    dataset: Callable[[str], TrainingData | None]
    consents: ConsentBook
    encoder: Callable[[str], EncoderFeature] | None = None
    points: PointsBook | None = None
    counts: FrozenCounts | None = None
    clock: Clock = system_clock
    min_t_collude: int = 1
    insecure_noise_off: bool = False
    noise_counts: frozenset[str] | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    coins: Coins = secrets.token_bytes


class AssumedConsents:
    """INSECURE stand-in for simulations: takes it that every merchant consented to the sources of this table.

    Args:
        pseudonyms: (N, 32) of the whole simulated cohort.
        sources: kind → parties, and (N,) which of them is each merchant's source, −1 for none.
    """

    def __init__(self, pseudonyms: Pseudonyms, sources: Mapping[str, tuple[Sequence[str], NDArray[np.int32]]]) -> None:
        _LOG.warning("consents-assumed", what="for synthetic data and simulations only")
        self._index = PseudonymIndex(pseudonyms)
        self._sources = dict(sources)

    def sources(
        self, pseudonyms: Pseudonyms, schema: Schema, purpose: Purpose = "model-training"
    ) -> dict[str, list[str | None]]:
        """As `ConsentBook.sources`; a stranger has no source anywhere."""
        rows = self._index.find(pseudonyms)
        found: dict[str, list[str | None]] = {}
        for kind, (parties, holder) in self._sources.items():
            named = np.array([*parties, None], dtype=object)
            found[kind] = list(named[np.where(rows >= 0, holder[rows], -1)])
        return found
