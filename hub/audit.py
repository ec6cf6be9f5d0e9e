"""Audit from an export alone: is the log whole, in order, cosigned, and of one history (8).

V1  Every entry line's bytes have the hash beside them; indices run from 0 without a gap.
V2  Every checkpoint is signed by the hub (by the witness too where it says so) and has the root of the entries so far.
V3  The last cosigned checkpoint covers every entry.
V4  Two checkpoints under valid signatures that no single log can have are a fork: the entries agree with one only.

The file is read once, line by line; memory does not grow with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint, Verifiers, verify_note
from crypto.errors import CryptoError
from crypto.key_line import KeyLine
from crypto.merkle import EMPTY_ROOT, HASH_BYTES, leaf_hash, node_hash
from crypto.succession import line_of
from crypto.wire.audit import EntryType, LogEntry
from crypto.wire.base import Hash, Moment, PartyId, WireModel
from hub.errors import AuditFileError

FindingKind = Literal[
    "entry-altered",
    "entry-missing",
    "entry-malformed",
    "root-mismatch",
    "history-forked",
    "checkpoint-invalid",
    "not-cosigned",
]
EXPORT_FORMAT = "digua-log-export-1"
MAX_FINDINGS = 50
MAX_LINE = 1 << 20
_MAX_INTEGER = (1 << 53) - 1
_HASH = re.compile("[0-9a-f]{64}")
_SALVAGE = re.compile(rb'\{"index":([0-9]{1,18}),"hash":"([0-9a-f]{64})"')


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. Entries `first` to `last`, both included, are concerned where that is known."""

    kind: FindingKind
    detail: str
    first: int | None = None
    last: int | None = None


@dataclass
class Verdict:
    """What an export proves; `cosigned` is the size of the last checkpoint of the witness that fits the entries."""

    origin: str
    entries: int = 0
    checkpoints: int = 0
    cosigned: int = 0
    by_type: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def add(self, kind: FindingKind, detail: str, first: int | None = None, last: int | None = None) -> None:
        """Note a finding; beyond 50 they add nothing."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(kind, detail, first, last))


class ExportHeader(BaseModel):
    """First line of an export; its names are trusted as far as keys pinned by the auditor go with them."""

    format: Literal["digua-log-export-1"]
    hub_id: str
    origin: str
    witness: str | None
    size: int
    successions: tuple[str, ...] = ()
    """Which keys of hub and witness follow which; each is signed for itself."""

    def lines(self, hub_key: bytes, witness_key: bytes) -> dict[str, KeyLine]:
        """The keys of hub and witness, from those that the auditor knows, by the names under which they sign notes.

        Raises:
            SignatureError, SuccessionError: the successions are forged or contradict each other.
        """
        witness = self.witness or "witness"
        return {
            self.origin: line_of(hub_key, self.successions, self.hub_id),
            witness: line_of(witness_key, self.successions, witness),
        }


def read_header(path: Path) -> ExportHeader:
    """Read the first line of an export; AuditFileError where it is none."""
    try:
        with path.open("rb") as file:
            return ExportHeader.model_validate_json(file.readline(MAX_LINE))
    except (OSError, ValidationError) as error:
        raise AuditFileError(
            f"{path} is no export of a log ({EXPORT_FORMAT}).",
            field=str(path),
            remedy="Export it again: `digua-hub audit export`, or GET /v1/log/export.",
        ) from error


def verify_export(path: Path, verifiers: Verifiers, *, saved: Sequence[str] = ()) -> Verdict:
    """Verify an export.

    Args:
        path: NDJSON of `LogReader.export`.
        verifiers: the pinned Ed25519 keys, or `ExportHeader.lines` from them, by the names under which they sign
            notes: the log's origin and the witness.
        saved: notes of cosigned checkpoints kept from earlier; the export must extend them.

    Returns:
        What is proved, and what is wrong.

    Raises:
        AuditFileError: the file is no export.
        ProofError: a saved note is not validly cosigned.
    """
    header = read_header(path)
    kept = sorted((verify_note(note, verifiers, required=set(verifiers)) for note in saved), key=lambda c: c.size)
    reading = _Reading(header, verifiers, [checkpoint for checkpoint in kept if checkpoint.size])
    with path.open("rb") as file:
        file.readline(MAX_LINE)
        for raw in iter(lambda: file.readline(MAX_LINE), b""):
            reading.line(raw)
    return reading.end()


class _Peaks:
    """Roots of the whole subtrees read so far: the tree head at any size from O(log n) hashes."""

    def __init__(self) -> None:
        self._peaks: list[tuple[int, bytes]] = []

    def add(self, head: bytes) -> None:
        size = 1
        while self._peaks and self._peaks[-1][0] == size:
            head = node_hash(self._peaks.pop()[1], head)
            size *= 2
        self._peaks.append((size, head))

    def copy(self) -> _Peaks:
        other = _Peaks()
        other._peaks = list(self._peaks)
        return other

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        *left, (_, head) = self._peaks
        for _, peak in reversed(left):
            head = node_hash(peak, head)
        return head


class _Reading:
    """One pass over the lines."""

    def __init__(self, header: ExportHeader, verifiers: Verifiers, kept: list[Checkpoint]) -> None:
        self._verdict = Verdict(header.origin)
        self._header = header
        self._verifiers = verifiers
        self._kept = kept
        # Over the hashes that the file states, and over those of the bytes that it holds: where an entry differs from
        # its hash, one of the two still leads to the signed root, and only that entry is named.
        # Until there is one that differs, both are the same.
        self._stated = self._held = _Peaks()
        self._next = 0
        self._agreed = 0
        self._last: Checkpoint | None = None
        self._disagreed: list[tuple[Checkpoint, int]] = []

    def line(self, raw: bytes) -> None:
        try:
            value = from_json(raw)
        except ValueError:
            value = None
        match value:
            case {"checkpoint": str(note), "cosigned": bool(cosigned)} if len(value) == 2:
                self._checkpoint(note, cosigned=cosigned)
            case {"index": int(index), "hash": str(stated), "entry": str(text)} if _HASH.fullmatch(stated):
                self._entry(index, bytes.fromhex(stated), text)
            case _ if salvaged := _SALVAGE.match(raw):
                self._entry(int(salvaged[1]), bytes.fromhex(salvaged[2].decode()), None)
            case _ if b'"entry":' in raw or b'"hash":' in raw:
                self._verdict.add(
                    "entry-malformed", f"the line of entry {self._next} cannot be read", self._next, self._next
                )
                self._entry(self._next, bytes(HASH_BYTES), None)
            case _:
                self._verdict.add("checkpoint-invalid", f"a line after entry {self._next - 1} cannot be read")

    def _entry(self, index: int, stated: bytes, text: str | None) -> None:
        """V1."""
        verdict = self._verdict
        if index > self._next:
            verdict.add("entry-missing", f"after entry {self._next - 1} comes {index}", self._next, index - 1)
        elif index < self._next:
            verdict.add("entry-malformed", f"entry {index} comes after entry {self._next - 1}", index, index)
        leaf = None if text is None else text.encode("utf-8", "surrogatepass")
        held = stated if leaf is None else leaf_hash(leaf)
        if leaf is None or held != stated:
            verdict.add("entry-altered", f"the bytes of entry {index} do not have the hash beside them", index, index)
        else:
            self._count(index, leaf)
        if held != stated and self._held is self._stated:
            self._held = self._stated.copy()
        self._stated.add(stated)
        if self._held is not self._stated:
            self._held.add(held)
        self._next = index + 1
        verdict.entries += 1
        while self._kept and self._kept[0].size <= self._next:
            self._compare(self._kept.pop(0))

    def _count(self, index: int, leaf: bytes) -> None:
        type = type_of(leaf)
        if type is not None:
            counts = self._verdict.by_type
            counts[type] = counts.get(type, 0) + 1
        else:
            self._verdict.add("entry-malformed", f"entry {index} is no canonical log entry", index, index)

    def _checkpoint(self, note: str, *, cosigned: bool) -> None:
        """V2."""
        required = set(self._verifiers) if cosigned else {self._header.origin}
        try:
            checkpoint = verify_note(note, self._verifiers, required=required)
        except CryptoError as error:
            self._verdict.add("checkpoint-invalid", f"the one after entry {self._next - 1}: {error.message}")
            return
        self._verdict.checkpoints += 1
        if self._compare(checkpoint) and cosigned:
            self._verdict.cosigned = checkpoint.size

    def _compare(self, checkpoint: Checkpoint) -> bool:
        if self._last and self._last.size == checkpoint.size and self._last.root != checkpoint.root:
            self._fork(self._last, checkpoint)
        self._last = checkpoint
        agrees = checkpoint.origin == self._header.origin and checkpoint.size == self._next
        agrees = agrees and checkpoint.root in (self._stated.root(), self._held.root())
        if not agrees:
            self._disagreed.append((checkpoint, self._agreed))
            return False
        # V4: these were signed, and so is this one, to which the entries before them lead.
        for other, _ in self._disagreed:
            if other.size != checkpoint.size:
                self._fork(other, checkpoint)
        self._disagreed.clear()
        self._agreed = checkpoint.size
        return True

    def _fork(self, first: Checkpoint, second: Checkpoint) -> None:
        self._verdict.add(
            "history-forked",
            f"signed checkpoints of sizes {first.size} and {second.size} are not of one log",
            self._agreed,
            max(first.size, second.size) - 1,
        )

    def end(self) -> Verdict:
        """V3."""
        verdict = self._verdict
        if self._disagreed:
            checkpoint, agreed = self._disagreed[0]
            verdict.add(
                "root-mismatch",
                f"the signed checkpoint of size {checkpoint.size} has another root than these entries; "
                f"up to entry {agreed - 1} they agree",
                agreed,
                checkpoint.size - 1,
            )
        if self._next < self._header.size:
            verdict.add(
                "entry-missing",
                f"the export announces {self._header.size} entries and ends after {self._next}",
                self._next,
                self._header.size - 1,
            )
        for kept in self._kept:
            verdict.add(
                "entry-missing",
                f"you kept a checkpoint of size {kept.size}; the export ends after {self._next}",
                self._next,
                kept.size - 1,
            )
        if verdict.cosigned < self._next or not self._next:
            verdict.add(
                "not-cosigned", "no checkpoint of the witness covers these entries", verdict.cosigned, self._next - 1
            )
        return verdict


class EntryInOrder(WireModel):
    """A `LogEntry` whose fields stand in the order of canonical JSON, so that pydantic itself can write that."""

    actor: PartyId
    facts: dict[str, str | int | bool | None] = {}
    subject: Hash | None = None
    time: Moment
    type: EntryType


def type_of(leaf: bytes) -> EntryType | None:
    """Return the type of a canonical entry; None where the bytes are none.

    Nearly every leaf is accepted by the short way: written again it is the same, its facts are in order, and their
    integers are in range. What the short way does not accept is judged by `crypto.canonical`.
    """
    try:
        entry = EntryInOrder.model_validate_json(leaf)
        facts = entry.facts
        if (
            entry.model_dump_json().encode() == leaf
            and all(map(str.isascii, facts))
            and list(facts) == sorted(facts)
            and all(-_MAX_INTEGER <= each <= _MAX_INTEGER for each in facts.values() if isinstance(each, int))
        ):
            return entry.type
        return entry.type if canonical_bytes(entry) == leaf else None
    except (ValidationError, CryptoError):
        return None


def read_entries(path: Path) -> Iterator[LogEntry]:
    """Yield the entries of a hub's or node's export, in order; lines of other kinds are passed over.

    Raises:
        AuditFileError: the file cannot be read, or an entry is malformed.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if isinstance(line.get("entry"), str):
            try:
                yield LogEntry.model_validate_json(line["entry"])
            except ValueError as error:
                raise _no_line(path, number) from error


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of an export as they are, JSON objects.

    Raises:
        AuditFileError: the file cannot be read, or a line is none.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for raw in file:
                number += 1
                value = json.loads(raw)
                if not isinstance(value, dict):
                    raise _no_line(path, number)
                yield value
    except OSError as error:
        raise AuditFileError(
            f"{path} cannot be read ({error.strerror}).", field=str(path), remedy="Check the path."
        ) from error
    except ValueError as error:
        raise _no_line(path, number) from error


def _no_line(path: Path, number: int) -> AuditFileError:
    return AuditFileError(
        f"{path}:{number}: no line of an export.", field=str(path), remedy="Export it again, then verify it first."
    )
