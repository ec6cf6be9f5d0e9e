"""The node's journal: is its chain of hashes whole?"""

from __future__ import annotations

from collections.abc import Iterator

from models.findings import Finding, Findings, of_error
from models.said import said
from nodes.errors import JournalError
from nodes.journal import Journal, verify_lines
from nodes.store import Store


def examine_journal(store: Store, party_id: str) -> Iterator[Finding]:
    """Follow the chain from its first entry to its last."""
    found = Findings("journal", party_id)
    try:
        number, last = verify_lines(Journal(store, party_id).lines())
    except JournalError as problem:
        yield found.fault(*of_error(problem))
        return
    yield found.ok(said("{number} entries hold together; the last hash is {last}", number=number, last=last.hex()[:16]))
