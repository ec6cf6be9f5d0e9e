"""A campaign's cohort as arrays: which merchants, and which node of each kind holds them (docs/protocol.md, 4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crypto.manifest import NO_COUNTERPART, NodeSlice, ascending, holdout_mask
from crypto.wire.campaign import RosterEntry

Pseudonyms = NDArray[np.uint8]
Holders = NDArray[np.int32]


class Holding(NamedTuple):
    """Who holds the merchants at one kind.

    Attributes:
        parties: ids.
        holders: (n,) which of them holds each merchant, −1 for none.
    """

    parties: tuple[str, ...]
    holders: Holders

    @classmethod
    def of(cls, named: Sequence[str | None]) -> Holding:
        """From a party's id, or None, per merchant."""
        parties = tuple(sorted({party for party in named if party is not None}))
        place = {party: index for index, party in enumerate(parties)}
        return cls(
            parties, np.array([NO_COUNTERPART if each is None else place[each] for each in named], dtype=np.int32)
        )


@dataclass(frozen=True)
class Cohort:
    """Merchants that the label kind holds, in order of their pseudonyms (so that positions tell nothing else).

    Attributes:
        nodes: the attempt's nodes; their order is the index in `holders`.
        kinds: in the order of the schema.
        label_kind: every merchant has a node of this kind.
        pseudonyms: (N, 32).
        holders: kind → (N,) index into `nodes`, or −1.
    """

    nodes: tuple[RosterEntry, ...]
    kinds: tuple[str, ...]
    label_kind: str
    pseudonyms: Pseudonyms
    holders: Mapping[str, Holders]

    @classmethod
    def form(
        cls,
        nodes: Sequence[RosterEntry],
        kinds: Sequence[str],
        label_kind: str,
        pseudonyms: Pseudonyms,
        sources: Mapping[str, Holding],
    ) -> Cohort:
        """A cohort from consents.

        Args:
            nodes: whom the campaign invites.
            kinds: of the schema, in order.
            label_kind: merchants without a node of this kind are left out.
            pseudonyms: (n, 32), one per merchant.
            sources: kind → who holds each merchant; a party that is not invited counts as none.
        """
        place = {(entry.party_id, entry.kind): index for index, entry in enumerate(nodes)}
        holders: dict[str, Holders] = {}
        for kind in kinds:
            parties, index = sources[kind]
            places = [place.get((party, kind), NO_COUNTERPART) for party in parties]
            holders[kind] = np.array([*places, NO_COUNTERPART], dtype=np.int32)[index]
        if not ascending(pseudonyms).all():
            order = np.argsort(np.ascontiguousarray(pseudonyms).view("V32").ravel())
            pseudonyms, holders = pseudonyms[order], {kind: index[order] for kind, index in holders.items()}
        whole = cls(tuple(nodes), tuple(kinds), label_kind, pseudonyms, holders)
        return whole._where(holders[label_kind] != NO_COUNTERPART)

    @property
    def size(self) -> int:
        """N."""
        return len(self.pseudonyms)

    def training(self, salt: bytes, fraction: float) -> Cohort:
        """Without the merchants that the rule holds out."""
        return self._where(~holdout_mask(self.pseudonyms, salt, fraction))

    def without(self, parties: Collection[str]) -> Cohort:
        """The cohort of the next attempt: without these nodes, and the merchants whose label they hold."""
        kept = [index for index, entry in enumerate(self.nodes) if entry.party_id not in parties]
        renumbered = np.full(len(self.nodes) + 1, NO_COUNTERPART, dtype=np.int32)
        renumbered[kept] = np.arange(len(kept), dtype=np.int32)
        holders = {kind: renumbered[index] for kind, index in self.holders.items()}
        nodes = tuple(self.nodes[index] for index in kept)
        remaining = Cohort(nodes, self.kinds, self.label_kind, self.pseudonyms, holders)
        return remaining._where(holders[self.label_kind] != NO_COUNTERPART)

    def only(self, kind: str) -> Cohort:
        """The cohort of the label kind's nodes alone, for a stage that the others take no part in."""
        kept = [index for index, entry in enumerate(self.nodes) if entry.kind == kind]
        renumbered = np.full(len(self.nodes) + 1, NO_COUNTERPART, dtype=np.int32)
        renumbered[kept] = np.arange(len(kept), dtype=np.int32)
        holders = {kind: renumbered[self.holders[kind]]}
        nodes = tuple(self.nodes[index] for index in kept)
        return Cohort(nodes, (kind,), kind, self.pseudonyms, holders)

    def members(self) -> dict[str, int]:
        """Per kind, merchants that have a node of it."""
        return {kind: int((self.holders[kind] != NO_COUNTERPART).sum()) for kind in self.kinds}

    def pairs(self) -> dict[tuple[str, str], int]:
        """Per two kinds, merchants that have nodes of both."""
        return {
            (first, second): int(
                ((self.holders[first] != NO_COUNTERPART) & (self.holders[second] != NO_COUNTERPART)).sum()
            )
            for first, second in combinations(self.kinds, 2)
        }

    def nodes_of(self, kind: str) -> list[str]:
        """Ids of a kind's nodes."""
        return [entry.party_id for entry in self.nodes if entry.kind == kind]

    def slice_of(self, index: int, span: tuple[int, int] | None = None) -> NodeSlice:
        """The slice of the node at `index`, or its piece of the positions from `span[0]` to below `span[1]`."""
        start, stop = span or (0, self.size)
        kind = self.nodes[index].kind
        positions = np.flatnonzero(self.holders[kind][start:stop] == index) + start
        return NodeSlice(
            kind=kind,
            positions=positions.astype(np.uint32),
            pseudonyms=self.pseudonyms[positions],
            counterparts={other: self.holders[other][positions] for other in self.kinds if other != kind},
        )

    def _where(self, kept: NDArray[np.bool_]) -> Cohort:
        if kept.all():
            return self
        holders = {kind: index[kept] for kind, index in self.holders.items()}
        return Cohort(self.nodes, self.kinds, self.label_kind, self.pseudonyms[kept], holders)
