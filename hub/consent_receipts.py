"""Receipts that the hub gives for consents and their events (2): signed promises of a log entry and of feeds.

Whoever submitted an artefact keeps its receipt; `digua-hub audit reconcile` then shows what was acknowledged and is not
in the log, or never reached a node that the consent names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crypto.consent_receipts import RECEIPT_TYPE
from crypto.jws import peek_payload, sign_model
from crypto.keys import Signer
from crypto.log_index import commit
from crypto.merkle import leaf_hash
from crypto.wire.audit import LogEntry
from crypto.wire.base import SUITE
from crypto.wire.consent import Acknowledgement, ArtefactKind, ConsentReceipt
from hub.clock import Clock
from hub.log_reading import LogReader, MerchantEntry


@dataclass(frozen=True)
class Artefact:
    """A stored artefact.

    Attributes:
        sha256: of its payload.
        pseudonym: whose it is.
        parties: in whose feeds it is.
    """

    sha256: bytes
    pseudonym: bytes
    parties: frozenset[str]

    @classmethod
    def of(cls, token: str, pseudonym: bytes, parties: frozenset[str]) -> Artefact:
        """Return the artefact that a stored token is."""
        return cls(hashlib.sha256(peek_payload(token)).digest(), pseudonym, parties)


class ReceiptDesk:
    """Signs receipts with the hub's key."""

    def __init__(self, reader: LogReader, key: Signer, *, hub_id: str, clock: Clock) -> None:
        self._reader = reader
        self._key = key
        self._hub_id = hub_id
        self._clock = clock

    def acknowledge(
        self,
        kind: ArtefactKind,
        tokens: Sequence[str],
        artefacts: Sequence[Artefact],
        entries: Mapping[bytes, MerchantEntry],
    ) -> tuple[Acknowledgement | None, ...]:
        """A receipt for each token.

        Args:
            kind: of all of them.
            tokens: as they were submitted; one may come twice, under two signatures even.
            artefacts: all that these tokens are, stored now or earlier.
            entries: log entries of those that were stored now, by payload hash; others are looked up.

        Returns:
            In order of the tokens; None where the artefact was stored earlier and its link to the log is erased.
        """
        receipts: dict[bytes, Acknowledgement | None] = {}
        for artefact in artefacts:
            entry = entries.get(artefact.sha256) or self._find(artefact, kind)
            receipts[artefact.sha256] = None if entry is None else self._sign(kind, artefact, entry)
        return tuple(receipts[hashlib.sha256(peek_payload(token)).digest()] for token in tokens)

    def _find(self, artefact: Artefact, kind: ArtefactKind) -> MerchantEntry | None:
        for entry in self._reader.of_merchant(artefact.pseudonym):
            body = LogEntry.model_validate_json(entry.leaf)
            if body.type == kind and body.facts.get("artefact") == commit(entry.salt, artefact.sha256).hex():
                return entry
        return None

    def _sign(self, kind: ArtefactKind, artefact: Artefact, entry: MerchantEntry) -> Acknowledgement:
        receipt = ConsentReceipt(
            suite=SUITE,
            kind=kind,
            sha256=artefact.sha256,
            leaf=leaf_hash(entry.leaf.encode()),
            parties=tuple(sorted(artefact.parties)),
            time=self._clock(),
        )
        token = sign_model(receipt, self._key, typ=RECEIPT_TYPE, kid=self._hub_id)
        return Acknowledgement(receipt=token, entry=entry.leaf, salt=entry.salt)
