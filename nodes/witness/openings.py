"""A merchant's entries in the witness's mirror, found with the salts that it handed over (docs/protocol.md, 8).

The log names no merchant. Whoever has the salt of an entry and the pseudonym can show that the entry is about this
merchant; the merchant's own record (its download, or the hub's reply) holds both. Nothing of it is kept here.

O1  An entry of the record is the merchant's if SHA-256(salt ‖ pseudonym) is the entry's commitment.
O2  It is in the log if the mirror has exactly these bytes; what the record has and the mirror lacks is named.
O3  A consent's history are the entries whose commitment its record id opens; a signed artefact is the logged one if its
    SHA-256 opens the entry's other commitment.

Not shown: entries that the hub left out of the record. The merchant has the receipts that show these (`reconcile`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from crypto.errors import CryptoError
from crypto.jws import peek_payload
from crypto.log_index import commit
from crypto.wire.audit import LogEntry
from crypto.wire.service import MerchantRecords, OpenedEntry
from nodes.errors import NodeError
from nodes.witness.mirror_index import parsed
from nodes.witness.mirror_search import MirrorSearch

MAX_RECORD_BYTES = 16 * 1024 * 1024
DOWNLOAD_FORMAT = "digua-own-record-1"

Place = Literal["verified", "not-yet", "absent", "foreign"]
"""In the mirror; newer than it; not in the log though the record says so; not about this merchant."""


class RecordUnreadable(NodeError):  # noqa: N818
    """A file that should be a merchant's record is none."""

    code = "record-unreadable"


@dataclass(frozen=True)
class OpenedPlace:
    """An entry of the merchant's record and what the mirror knows of it; `index` where it was found."""

    entry: LogEntry
    place: Place
    index: int | None
    record_id: str | None
    signed: bool
    """Whether a signed consent or event of the record is the one that was logged."""


@dataclass(frozen=True)
class History:
    """All of one consent, in the order of the log."""

    record_id: str
    state: str
    steps: tuple[OpenedPlace, ...]


@dataclass(frozen=True)
class Opened:
    """What a merchant's record opens."""

    pseudonym: bytes
    entries: tuple[OpenedPlace, ...]
    histories: tuple[History, ...]

    def number(self, place: Place) -> int:
        """How many entries are in this case."""
        return sum(each.place == place for each in self.entries)


def read_record(data: bytes) -> MerchantRecords:
    """A merchant's download, or the hub's reply to the merchant.

    Raises:
        RecordUnreadable: it is neither, or too large.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise _unreadable("the file is larger than a merchant's record can be")
    try:
        document = json.loads(data)
        if isinstance(document, dict) and document.get("format") == DOWNLOAD_FORMAT:
            document = document["records"]
        return MerchantRecords.model_validate_json(json.dumps(document))
    except (ValueError, KeyError, RecursionError, ValidationError) as problem:
        raise _unreadable("the file is not a merchant's record") from problem


def open_record(records: MerchantRecords, search: MirrorSearch) -> Opened:
    """Look a merchant's entries up in the mirror, O1 to O3."""
    artefacts = set(_artefacts(records))
    names = [each.record_id for each in records.consents]
    found = [
        _opened(each, entry, records.pii_principal_id, names, artefacts, search)
        for each in records.entries
        if (entry := parsed(each.entry.encode())) is not None
    ]
    if len(found) != len(records.entries):
        raise _unreadable("an entry of the record is no entry of a log")
    ordered = sorted(found, key=lambda each: (each.index is None, each.index or 0, each.entry.time))
    histories = [
        History(each.record_id, each.state, tuple(step for step in ordered if step.record_id == each.record_id))
        for each in records.consents
    ]
    return Opened(records.pii_principal_id, tuple(ordered), tuple(histories))


def _opened(
    opened: OpenedEntry,
    entry: LogEntry,
    pseudonym: bytes,
    names: list[str],
    artefacts: set[bytes],
    search: MirrorSearch,
) -> OpenedPlace:
    subject = commit(opened.salt, pseudonym)
    if entry.subject != subject:
        return OpenedPlace(entry, "foreign", None, None, signed=False)
    leaf = opened.entry.encode()
    index = next((each.index for each in search.with_commitment(subject) if each.leaf == leaf), None)
    newer = opened.log_index is None or opened.log_index >= search.size()
    place: Place = "verified" if index is not None else "not-yet" if newer else "absent"
    committed = entry.facts.get("consent")
    record_id = next((name for name in names if commit(opened.salt, name.encode()).hex() == committed), None)
    logged = entry.facts.get("artefact")
    signed = any(commit(opened.salt, artefact).hex() == logged for artefact in artefacts) if logged else False
    return OpenedPlace(entry, place, index, record_id, signed)


def _artefacts(records: MerchantRecords) -> Iterator[bytes]:
    """SHA-256 of what was signed: consents and events."""
    for consent in records.consents:
        for token in (consent.consent, *(event.token for event in consent.events)):
            try:
                yield hashlib.sha256(peek_payload(token)).digest()
            except CryptoError as problem:
                raise _unreadable("a signed consent of the record cannot be read") from problem


def _unreadable(what: str) -> RecordUnreadable:
    return RecordUnreadable(
        what,
        field="record",
        remedy="ask the merchant for the file that its own page gives under “My record”, unchanged",
    )
