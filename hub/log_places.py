"""Where artefacts about a merchant stand in the log, found by opening the entries' commitments."""

from __future__ import annotations

from collections.abc import Sequence

from crypto.log_index import commit
from crypto.wire.audit import EntryType, LogEntry
from hub.log_reading import LogReader


def places_of(reader: LogReader, pseudonym: bytes, kind: EntryType, hashes: Sequence[bytes]) -> dict[bytes, int | None]:
    """Return the entries' indices by the hash of the artefact's payload.

    Args:
        reader: of the log.
        pseudonym: whose artefacts they are.
        kind: the type of their entries.
        hashes: of their payloads.

    Returns:
        None as an index while an entry waits for its place; artefacts whose link is erased are absent.
    """
    places: dict[bytes, int | None] = {}
    for each in reader.of_merchant(pseudonym) if hashes else []:
        entry = LogEntry.model_validate_json(each.leaf)
        if entry.type == kind:
            committed = entry.facts.get("artefact")
            places.update((value, each.index) for value in hashes if commit(each.salt, value).hex() == committed)
    return places
