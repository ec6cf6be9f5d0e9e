"""The inspection file: what a regulator's search found, with all that proves it, signed by the witness; it verifies
offline (docs/protocol.md, 8).

It is one JSON document, ``{"content": …, "signature": "…"}``. The signature is a detached JWS (RFC 7515, appendix F)
over the canonical bytes (RFC 8785) of the content, so that the file is read with any tool and altered with none.

Y1  The signature is the witness's, whose key the reader has from elsewhere.
Y2  The roster in it is signed by the witness and names the hub's key.
Y3  The checkpoint is signed by hub and witness.
Y4  Every entry is in the tree of that checkpoint.
Y5  Every entry fits the search; they are in order, and none stands there twice.

What it does not prove: that the search found all there is. That is the witness's word, checkable against the whole log.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint, Verifiers, parse_note, verify_note
from crypto.dated import verify_dated
from crypto.errors import CryptoError, ProofError, SignatureError
from crypto.jws import peek_kid, sign, verify
from crypto.key_line import KeyLine
from crypto.keys import Signer
from crypto.log_index import indexed
from crypto.merkle import leaf_hash, verify_inclusion
from crypto.succession import line_of
from crypto.wire.audit import LogEntry
from crypto.wire.base import Hash, Moment, PartyId, Token, WireModel
from crypto.wire.party import Roster
from nodes.errors import NodeError

FORMAT: Literal["digua-inspection-1"] = "digua-inspection-1"
JWS_TYPE = "inspection"
MAX_FILE_BYTES = 64 * 1024 * 1024
Index = Annotated[int, Field(ge=0)]
Term = Annotated[str, Field(min_length=1, max_length=160)]


class InspectionError(NodeError):
    """An inspection file does not hold what it says; `step` is the check (Y1 to Y5) that failed."""

    code = "inspection-invalid"

    def __init__(self, step: str, message: str, *, field: str | None = None) -> None:
        super().__init__(
            f"{step}: {message}",
            field=field,
            remedy="do not rely on this file; ask the witness for it again, and check the key that you were given",
        )
        self.step = step


class InspectedSearch(WireModel):
    """What was searched for."""

    party: Term | None = None
    campaign: Term | None = None
    model: Term | None = None
    type: Term | None = None
    since: Moment | None = None
    until: Moment | None = None


class InspectedEntry(WireModel):
    """An exact leaf, its place, and its path to the checkpoint's root."""

    index: Index
    entry: str
    hashes: tuple[Hash, ...]


class Inspection(WireModel):
    """The content of an inspection file."""

    format: Literal["digua-inspection-1"]
    witness: PartyId
    inspector: Annotated[str, Field(min_length=1, max_length=120)]
    made_at: Moment
    search: InspectedSearch
    found: Index
    """How many entries fit in all; `entries` may hold fewer, the newest."""
    checkpoint: str
    roster: str
    entries: tuple[InspectedEntry, ...]
    successions: tuple[Token, ...] = ()
    """Which keys of hub and witness follow which; each is signed for itself."""


def sign_inspection(content: Inspection, key: Signer) -> bytes:
    """The file's bytes."""
    payload = canonical_bytes(content)
    header, _, signature = sign(payload, key, typ=JWS_TYPE, kid=content.witness).split(".")
    document = {"content": json.loads(payload), "signature": f"{header}..{signature}"}
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def verify_inspection(data: bytes, witness_key: bytes) -> Inspection:
    """Check a file, Y1 to Y5, with nothing but the witness's public key.

    Args:
        data: the file.
        witness_key: 32 bytes, from the regulator and not from the file.

    Raises:
        InspectionError: the first check that fails.
    """
    content = _signed_content(data, witness_key)
    try:
        witnesses = line_of(witness_key, content.successions, content.witness)
        roster = verify_dated(content.roster, witnesses, Roster, typ="roster", kid=content.witness)
    except CryptoError as problem:
        raise InspectionError("Y2", problem.message, field="roster") from problem
    checkpoint = _checkpoint(content, roster, witnesses)
    before = checkpoint.size
    if content.found < len(content.entries):
        raise InspectionError("Y5", "it holds more entries than it says were found", field="found")
    for each in content.entries:
        field = f"entries.{each.index}"
        try:
            verify_inclusion(leaf_hash(each.entry.encode()), each.index, checkpoint.size, each.hashes, checkpoint.root)
        except ProofError as problem:
            raise InspectionError("Y4", f"entry {each.index}: {problem.message}", field=field) from problem
        if each.index >= before:
            raise InspectionError("Y5", f"entry {each.index} is out of order or stands there twice", field=field)
        before = each.index
        if not _fits(each.entry, content.search):
            raise InspectionError("Y5", f"entry {each.index} does not fit the search", field=field)
    return content


def read_inspection(path: Path) -> bytes:
    """The bytes of a file; InspectionError where it cannot be read or is too large."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InspectionError("Y1", f"{path} is larger than an inspection file can be", field=str(path))
        return path.read_bytes()
    except OSError as problem:
        raise InspectionError("Y1", f"{path} cannot be read: {problem.strerror}", field=str(path)) from problem


def _signed_content(data: bytes, witness_key: bytes) -> Inspection:
    """Y1."""
    try:
        document = json.loads(data, object_pairs_hook=_unique)
        payload = canonical_bytes(document["content"])
        header, empty, signature = str(document["signature"]).split(".")
    except (ValueError, TypeError, KeyError, RecursionError, CryptoError) as problem:
        raise InspectionError("Y1", "this is no inspection file", field="content") from problem
    if len(document) != 2 or empty:
        raise InspectionError("Y1", "it holds more than content and a detached signature", field="content")
    token = f"{header}.{urlsafe_b64encode(payload).rstrip(b'=').decode()}.{signature}"
    try:
        # What it brings is signed for itself, and leads from the key that the reader knows to the one that signed.
        content = Inspection.model_validate_json(payload)
        named = peek_kid(token, typ=JWS_TYPE)
        witnesses = line_of(witness_key, content.successions, named)
        signer = next((key.public for key in witnesses.keys if _signed(token, key.public)), witness_key)
        verify(token, signer, typ=JWS_TYPE)
        if not witnesses.holds(signer, content.made_at):
            raise InspectionError("Y1", "the key that signed it did not hold then", field="signature")
    except CryptoError as problem:
        raise InspectionError("Y1", problem.message, field="signature") from problem
    except ValidationError as problem:
        raise InspectionError("Y1", "its content is not that of this version", field="content") from problem
    if named != content.witness:
        raise InspectionError("Y1", "it is signed under another name than it says", field="witness")
    return content


def _signed(token: str, public: bytes) -> bool:
    try:
        verify(token, public, typ=JWS_TYPE)
    except SignatureError:
        return False
    return True


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose members occur once: another reader might show the other one."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _checkpoint(content: Inspection, roster: Roster, witnesses: KeyLine) -> Checkpoint:
    """Y3."""
    try:
        origin = parse_note(content.checkpoint)[0].origin
        hubs = line_of(roster.hub_sign_key, content.successions, roster.hub_id)
        keys: Verifiers = {origin: hubs, content.witness: witnesses}
        return verify_note(content.checkpoint, keys, required=set(keys))
    except CryptoError as problem:
        raise InspectionError("Y3", problem.message, field="checkpoint") from problem


def _fits(leaf: str, search: InspectedSearch) -> bool:
    try:
        what = indexed(LogEntry.model_validate_json(leaf))
    except ValidationError:
        return search == InspectedSearch() or search == InspectedSearch(type="unreadable")
    pairs: Sequence[tuple[str | None, Sequence[str | None]]] = (
        (search.party, what.parties),
        (search.campaign, (what.campaign,)),
        (search.model, (what.model,)),
        (search.type, (what.type,)),
    )
    in_time = (search.since is None or what.time >= search.since.timestamp()) and (
        search.until is None or what.time < search.until.timestamp()
    )
    return in_time and all(wanted is None or wanted in found for wanted, found in pairs)
