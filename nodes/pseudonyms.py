"""The node's map from its own identifiers to pseudonyms (docs/protocol.md, 1).

Identifiers stay here; only blinded elements travel, and an answer counts only with a proof under the key that the
roster pins. Each side must be one-to-one: two identifiers with one pseudonym would mix two merchants' rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, bindparam, func, insert, select
from sqlalchemy.exc import IntegrityError

from crypto.errors import PseudonymError
from crypto.identifiers import IdentifierType, masked
from crypto.pseudonym import PSEUDONYM_BYTES, BlindedBatch, pseudonym, voprf_input
from crypto.wire.party import VoprfAnswer
from models.said import said
from nodes.errors import SourceError
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.roster import PseudonymRow

BATCH = 5_000
_OF_TYPE = select(PseudonymRow.identifier, PseudonymRow.pseudonym).where(PseudonymRow.id_type == bindparam("of"))
_THESE = _OF_TYPE.where(PseudonymRow.identifier.in_(bindparam("ids", expanding=True)))
_LOOKUP = 500  # SQLite binds a limited number of values

Progress = Callable[[int, int], None]


class Evaluations(Protocol):
    """Who asks a key holder to evaluate blinded elements; `nodes.hub_client.HubClient` does."""

    def voprf(self, target: str, blinded: Sequence[bytes]) -> VoprfAnswer:
        """Have the `hub` or the `witness` evaluate a batch."""


class PseudonymMap:
    """Identifier → pseudonym, stored once evaluated."""

    def __init__(self, store: Store, roster: RosterBook, evaluations: Evaluations) -> None:
        self._store = store
        self._roster = roster
        self._evaluations = evaluations

    def ensure(
        self, ids: Sequence[str], *, id_type: IdentifierType = "opaque", progress: Progress | None = None
    ) -> int:
        """Have pseudonyms for all these identifiers; only new ones are evaluated.

        Args:
            ids: normalised identifiers.
            id_type: their type, part of what is evaluated.
            progress: called with (done, of how many) after each batch of 5,000, which is then stored.

        Returns:
            How many were evaluated.

        Raises:
            PseudonymError: an answer does not verify against the pinned key.
            PeerError: hub or witness refused, e.g. as the quota is used up; batches done so far are kept.
        """
        known = self._known(ids, id_type)
        missing = [each for each in dict.fromkeys(ids) if each not in known]
        done = 0
        if progress is not None and missing:
            progress(0, len(missing))
        for batch in _parts(missing, BATCH):
            self._add(batch, self._evaluate(batch, id_type), id_type)
            done += len(batch)
            if progress is not None:
                progress(done, len(missing))
        return done

    def pseudonym_of(self, identifier: str, *, id_type: IdentifierType = "opaque") -> bytes:
        """The pseudonym of one identifier, 32 bytes.

        Raises:
            SourceError: it has none yet.
        """
        return self.pseudonyms([identifier], id_type=id_type).tobytes()

    def pseudonyms(self, ids: Sequence[str], *, id_type: IdentifierType = "opaque") -> NDArray[np.uint8]:
        """(n, 32) pseudonyms in the order of the identifiers.

        Raises:
            SourceError: an identifier has none yet.
        """
        known = self._known(ids, id_type)
        absent = next((each for each in ids if each not in known), None)
        if absent is not None:
            raise SourceError(
                said("identifier {masked} has no pseudonym yet", masked=masked(absent)),
                field="id",
                remedy=said("run digua-node run, which evaluates new identifiers first"),
            )
        joined = b"".join(known[each] for each in ids)
        return np.frombuffer(joined, dtype=np.uint8).reshape(len(ids), PSEUDONYM_BYTES).copy()

    def obtain(self, ids: Sequence[str], *, id_type: IdentifierType = "opaque") -> list[bytes]:
        """Pseudonyms in the order of the identifiers; raises as `ensure`, which evaluates those that are new."""
        known = self._known(ids, id_type)
        if any(each not in known for each in ids):
            self.ensure(ids, id_type=id_type)
            known = self._known(ids, id_type)
        return [known[each] for each in ids]

    def identifier_of(self, merchant: bytes) -> str | None:
        """The identifier behind a pseudonym, if it is one of the node's own."""
        with self._store.reading() as session:
            return session.scalars(
                select(PseudonymRow.identifier).where(PseudonymRow.pseudonym == merchant)
            ).one_or_none()

    def merchant_of(self, identifier: str) -> bytes | None:
        """The pseudonym of an identifier of any type, if it is one of the node's own."""
        query = select(PseudonymRow.pseudonym).where(PseudonymRow.identifier.in_((identifier, identifier.upper())))
        with self._store.reading() as session:
            return session.scalars(query.limit(1)).first()

    def count(self) -> int:
        """How many identifiers have a pseudonym."""
        with self._store.reading() as session:
            return session.scalar(select(func.count()).select_from(PseudonymRow)) or 0

    def _evaluate(self, ids: Sequence[str], id_type: IdentifierType) -> list[bytes]:
        first = BlindedBatch.blind([voprf_input(id_type, each) for each in ids])
        answer = self._evaluations.voprf("hub", first.elements)
        outputs = first.finalize(answer.evaluated, self._roster.hub_voprf_key)
        second = BlindedBatch.blind(outputs)
        answer = self._evaluations.voprf("witness", second.elements)
        return [pseudonym(each) for each in second.finalize(answer.evaluated, self._roster.witness_voprf_key)]

    def _add(self, ids: Sequence[str], merchants: Sequence[bytes], id_type: IdentifierType) -> None:
        rows = [
            {"id_type": id_type, "identifier": identifier, "pseudonym": merchant}
            for identifier, merchant in zip(ids, merchants, strict=True)
        ]
        try:
            with self._store.session() as session:
                session.execute(insert(PseudonymRow), rows)
        except IntegrityError as problem:
            raise PseudonymError(
                "two identifiers got one pseudonym, or one was stored twice",
                field="pseudonym",
                remedy="run it again; if it recurs, report it: the store and the key holders disagree",
            ) from problem

    def _known(self, ids: Sequence[str], id_type: IdentifierType) -> dict[str, bytes]:
        with self._store.reading() as session:
            connection = session.connection()
            if len(ids) > 20 * _LOOKUP:  # the whole table is quicker
                return _mapping(connection.execute(_OF_TYPE, {"of": id_type}).all())
            found: dict[str, bytes] = {}
            for part in _parts(ids, _LOOKUP):
                found.update(_mapping(connection.execute(_THESE, {"of": id_type, "ids": list(part)}).all()))
            return found


def _mapping(rows: Sequence[Row[str, bytes]]) -> dict[str, bytes]:
    return {row.identifier: row.pseudonym for row in rows}


def _parts(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
