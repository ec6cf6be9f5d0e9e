"""What training needs of its surroundings, at a node and at the witness; handed in, so that the protocol's steps do no
configuration and a whole federation fits in one process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crypto.keys import IdentityKey
from crypto.wire.party import Party
from models.schema import Schema
from nodes.attempts import AttemptStore
from nodes.campaign_rules import CampaignRules
from nodes.clock import Clock, system_clock
from nodes.ledger import Ledger

_LOG = logging.getLogger(__name__)

Codes = NDArray[np.uint8]
Pseudonyms = NDArray[np.uint8]


class RosterLookup(Protocol):
    """Keys that are pinned or signed by the witness; `nodes.roster.RosterBook` is one."""

    @property
    def hub_id(self) -> str: ...
    @property
    def hub_sign_key(self) -> bytes: ...
    @property
    def witness_id(self) -> str: ...
    @property
    def witness_sign_key(self) -> bytes: ...
    def party(self, party_id: str) -> Party: ...


class ConsentBook(Protocol):
    """Consents as a node holds them."""

    def sources(self, pseudonyms: Pseudonyms, schema: Schema) -> Mapping[str, Sequence[str | None]]:
        """By kind, the source that each merchant's consent names, or None.

        Args:
            pseudonyms: (n, 32) merchants of a slice.
            schema: the campaign's, which decides what consents count (see `nodes.consents`).

        Raises:
            PolicyRefusal: a merchant has no active consent with `model-training` that counts and names this node.
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
        pseudonyms: (n, 32).
        codes: (n, F), features in the order of the schema.
        outcome: (n,) 0 defaulted, 1 performing, 2 no label; None where the kind has no label.
    """

    pseudonyms: Pseudonyms
    codes: Codes
    outcome: Codes | None

    @cached_property
    def rows(self) -> dict[bytes, int]:
        """Pseudonym → row."""
        data = np.ascontiguousarray(self.pseudonyms).tobytes()
        return {data[at : at + 32]: at // 32 for at in range(0, len(data), 32)}


@dataclass(frozen=True)
class TrainingContext:
    """A node in training.

    Attributes:
        dataset: schema hash (hex) → the node's table under that schema, or None.
        consents: whose data may be used, and with whom.
        campaigns: what must stay the same in all attempts of a campaign.
        encoder: model id → the released encoder as a feature.
        noise_counts: other nodes whose noise the owner counts on; all where None.
        min_t_collude: least number of colluding nodes that terms must withstand.
        insecure_noise_off: take part in campaigns without noise; for synthetic data only.
    """

    party_id: str
    kind: str
    identity: IdentityKey
    ledger: Ledger
    attempts: AttemptStore
    campaigns: CampaignRules
    roster: RosterLookup
    dataset: Callable[[str], TrainingData | None]
    consents: ConsentBook
    encoder: Callable[[str], EncoderFeature] | None = None
    clock: Clock = system_clock
    min_t_collude: int = 1
    insecure_noise_off: bool = False
    noise_counts: frozenset[str] | None = None


class AssumedConsents:
    """INSECURE stand-in for simulations: takes it that every merchant consented to the sources of this table.

    Args:
        pseudonyms: (N, 32) of the whole simulated cohort.
        sources: kind → (N,) party ids, None where a merchant has no source of that kind.
    """

    def __init__(self, pseudonyms: Pseudonyms, sources: Mapping[str, Sequence[str | None]]) -> None:
        _LOG.warning("consents are assumed, not verified: this is for synthetic data and simulations only")
        data = np.ascontiguousarray(pseudonyms).tobytes()
        self._rows = {data[at : at + 32]: at // 32 for at in range(0, len(data), 32)}
        self._sources = {kind: np.asarray(parties, dtype=object) for kind, parties in sources.items()}

    def sources(self, pseudonyms: Pseudonyms, schema: Schema) -> dict[str, list[str | None]]:
        """As `ConsentBook.sources`; a stranger has no source anywhere."""
        data = np.ascontiguousarray(pseudonyms).tobytes()
        rows = np.array([self._rows.get(data[at : at + 32], -1) for at in range(0, len(data), 32)], dtype=np.int64)
        found: dict[str, list[str | None]] = {}
        for kind, parties in self._sources.items():
            named = np.concatenate([parties, np.array([None], dtype=object)])[rows]
            found[kind] = list(named)
        return found
