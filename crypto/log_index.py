"""What a log is searched by: terms of each entry, and bitmaps of where they stand (docs/protocol.md, 8).

I1  `indexed` takes from an entry what it is found by; everything is in the entry, so hub and witness index alike.
I2  Entries stand in blocks of 4096. For each term and block one bitmap says which entries of the block have it. Any
    conjunction is an AND of bitmaps, its exact count their population: no search reads an entry that it does not give.
I3  Commitments are as good as unique and get no bitmaps; they are looked up by `commitment_key`, then compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from crypto.wire.audit import LogEntry

BLOCK = 4096
"""Entries a bitmap stands for."""
_PARTY_FACTS = ("party_id", "party", "source", "sources", "recipient", "recipients", "countersigner", "node")
"""Facts that name a party, or several with commas between."""
_COMMITTED_FACTS = ("consent", "artefact")
"""Facts that are commitments where the entry has a subject."""
_PARTY = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class IndexedEntry:
    """What one entry is found by.

    Attributes:
        type: of the entry.
        time: Unix seconds.
        parties: the actor, and whoever the facts name.
        campaign, model: ids, or None.
        commitments: 32 bytes each; that of the subject comes first.
    """

    type: str
    time: int
    parties: tuple[str, ...]
    campaign: str | None
    model: str | None
    commitments: tuple[bytes, ...]

    def terms(self) -> tuple[str, ...]:
        """Return the terms that get bitmaps, each once."""
        found = [term("type", self.type), *(term("party", party) for party in self.parties)]
        if self.campaign is not None:
            found.append(term("campaign", self.campaign))
        if self.model is not None:
            found.append(term("model", self.model))
        return tuple(found)


def commit(salt: bytes, value: bytes) -> bytes:
    """Return SHA-256(salt ‖ value), 32 bytes; without the salt it says nothing about the value."""
    return hashlib.sha256(salt + value).digest()


def term(field: str, value: str) -> str:
    """Return the term of a field: ``type``, ``party``, ``campaign`` or ``model``; at most 160 characters."""
    return f"{field}:{value}"


def indexed(entry: LogEntry) -> IndexedEntry:
    """I1: return what an entry is found by. A fact that is no well-formed name is not indexed."""
    facts = entry.facts
    parties = {entry.actor: None}
    for name in _PARTY_FACTS:
        value = facts.get(name)
        if isinstance(value, str):
            parties.update((party, None) for party in value.split(",") if _PARTY.fullmatch(party))
    commitments: list[bytes] = []
    if entry.subject is not None:
        commitments.append(entry.subject)
        values = (facts.get(name) for name in _COMMITTED_FACTS)
        commitments += [bytes.fromhex(each) for each in values if isinstance(each, str) and _HASH.fullmatch(each)]
    return IndexedEntry(
        type=entry.type,
        time=int(entry.time.timestamp()),
        parties=tuple(parties),
        campaign=_name(facts.get("campaign_id")),
        model=_name(facts.get("model_id")),
        commitments=tuple(commitments),
    )


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def postings(start: int, entries: Iterable[IndexedEntry]) -> dict[tuple[str, int], int]:
    """I2: return the bits that entries from index ``start`` on set, by term and block; to be ORed to those stored.

    Bit i of block b stands for entry 4096·b + i.
    """
    found: dict[tuple[str, int], int] = {}
    for index, entry in enumerate(entries, start):
        block, place = divmod(index, BLOCK)
        bit = 1 << place
        for each in entry.terms():
            found[each, block] = found.get((each, block), 0) | bit
    return found


def bits_to_bytes(bits: int) -> bytes:
    """Return a bitmap as it is stored: little-endian, without the empty end."""
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def bits_from_bytes(data: bytes) -> int:
    """Return a stored bitmap as an integer."""
    return int.from_bytes(data, "little")


def places(bits: int) -> Iterable[int]:
    """Yield the places of the set bits of a bitmap, the highest first."""
    while bits:
        place = bits.bit_length() - 1
        yield place
        bits ^= 1 << place


def commitment_key(commitment: bytes) -> int:
    """I3: return the first 8 bytes of a commitment as a signed integer, to look it up by."""
    return int.from_bytes(commitment[:8], "big", signed=True)
