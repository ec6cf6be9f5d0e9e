"""Checkpoints of the audit log: C2SP tlog-checkpoint as signed notes, witnesses' C2SP tlog-cosignature.

A note is a body, an empty line and signature lines ``— name base64(key id ‖ signature)``. The log signs the body
(type 0x01); a witness signs ``cosignature/v1``, the time and the body (type 0x04). The key id binds name, type and key.
Bodies start with an origin, JWS inputs with base64url, cosignatures with their own first line: one identity key can
sign all three without one passing for another.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from crypto.errors import ProofError, SignatureError
from crypto.key_line import HeldKey, KeyLine
from crypto.keys import Signer, verify_signature
from crypto.merkle import HASH_BYTES

ED25519_TYPE = 0x01
COSIGNATURE_TYPE = 0x04
KEY_ID_BYTES = 4
_TIME_BYTES = 8
_SIGNATURE_BYTES = 64
_COSIGNATURE_HEADER = "cosignature/v1"
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_LINE = re.compile(r"\u2014 ([^ +]+) ([A-Za-z0-9+/]+={0,2})")
_MAX_SIGNATURES = 64


def _refused(message: str, field: str) -> ProofError:
    return ProofError(message, field=field, remedy="Fetch the checkpoint again; if it fails again, keep it and report.")


def _check_name(name: str, field: str) -> None:
    if not name or "+" in name or any(c.isspace() or unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise _refused("A name in a note is not empty and has no blank, plus or control character.", field)


@dataclass(frozen=True)
class Checkpoint:
    """A tree head: the log's origin, the number of leaves, the root hash (32 bytes).

    Raises:
        ProofError: a malformed origin, size or root.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        _check_name(self.origin, "origin")
        if self.origin == _COSIGNATURE_HEADER:
            raise _refused("The origin would pass for a cosignature.", "origin")
        if not 0 <= self.size < 1 << 63:
            raise _refused("A checkpoint's size is 0 to 2^63 - 1.", "size")
        if len(self.root) != HASH_BYTES:
            raise _refused("A checkpoint's root has 32 bytes.", "root")

    def body(self) -> bytes:
        """Return the signed text: origin, size and base64 root, a line each."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: the signer's name, its key id (4 bytes) and what follows the key id."""

    name: str
    key_id: bytes
    blob: bytes

    def kind(self, public: bytes) -> int | None:
        """Return the type under which this line names the key ``public``, or ``None`` where it names another."""
        for kind in (ED25519_TYPE, COSIGNATURE_TYPE):
            if self.key_id == key_id(self.name, public, kind):
                return kind
        return None

    def verify(self, body: bytes, public: bytes) -> int | None:
        """Verify this line over ``body``.

        Returns:
            The cosignature's time in Unix seconds; ``None`` for a plain signature, which has none.

        Raises:
            ProofError: another key, or the signature is wrong.
        """
        kind = self.kind(public)
        try:
            if kind == ED25519_TYPE and len(self.blob) == _SIGNATURE_BYTES:
                verify_signature(public, self.blob, body)
                return None
            if kind == COSIGNATURE_TYPE and len(self.blob) == _TIME_BYTES + _SIGNATURE_BYTES:
                time = int.from_bytes(self.blob[:_TIME_BYTES], "big")
                verify_signature(public, self.blob[_TIME_BYTES:], _cosigned(body, time))
                return time
        except SignatureError as error:
            raise _refused(f"The signature of {self.name} is wrong.", self.name) from error
        raise _refused(f"The signature of {self.name} is of another key, or malformed.", self.name)


def key_id(name: str, public: bytes, kind: int) -> bytes:
    """Return a note key's id: SHA-256(name ‖ newline ‖ type ‖ public key), first 4 bytes."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:KEY_ID_BYTES]


def _cosigned(body: bytes, time: int) -> bytes:
    return f"{_COSIGNATURE_HEADER}\ntime {time}\n".encode() + body


def sign_note(body: bytes, name: str, key: Signer, *, cosignature_time: int | None = None) -> str:
    """Sign a note's body and return the signature line (without its newline).

    Args:
        body: `Checkpoint.body`.
        name: the signer's name; the log's is its origin.
        key: the signer's identity key.
        cosignature_time: Unix seconds: makes this a witness's cosignature/v1, to be given only after the checkpoint was
            found consistent with all that were cosigned before.

    Raises:
        ProofError: a malformed name, a negative time, or a body that does not end with a newline.
    """
    _check_name(name, "name")
    if not body.endswith(b"\n"):
        raise _refused("A note's body ends with a newline.", "body")
    if cosignature_time is None:
        signed = key_id(name, key.public, ED25519_TYPE) + key.sign(body)
    else:
        if not 0 <= cosignature_time < 1 << 63:
            raise _refused("A cosignature's time is not negative.", "cosignature_time")
        signed = (
            key_id(name, key.public, COSIGNATURE_TYPE)
            + cosignature_time.to_bytes(_TIME_BYTES, "big")
            + key.sign(_cosigned(body, cosignature_time))
        )
    return f"\u2014 {name} {base64.b64encode(signed).decode()}"


def assemble(body: bytes, lines: Sequence[str]) -> str:
    """Put a body and its signature lines together to a note."""
    return body.decode() + "\n" + "".join(f"{line}\n" for line in lines)


def _parse_line(line: str) -> NoteSignature:
    match = _LINE.fullmatch(line)
    if match is None:
        raise _refused("A signature line of the note is malformed.", "signatures")
    try:
        signed = base64.b64decode(match[2], validate=True)
    except ValueError as error:
        raise _refused("A signature line of the note is not base64.", "signatures") from error
    if len(signed) <= KEY_ID_BYTES:
        raise _refused("A signature line of the note is too short.", "signatures")
    _check_name(match[1], "signatures")
    return NoteSignature(match[1], signed[:KEY_ID_BYTES], signed[KEY_ID_BYTES:])


def parse_note(text: str) -> tuple[Checkpoint, list[NoteSignature]]:
    """Take a note apart; **nothing is verified**. Extension lines are refused: nothing here gives them a meaning.

    Raises:
        ProofError: not a checkpoint in a signed note, or not in canonical form.
    """
    body, separator, signatures = text.partition("\n\n")
    lines = body.split("\n")
    if not separator or len(lines) != 3 or not signatures.endswith("\n"):
        raise _refused("The text is not a checkpoint of three lines with signatures.", "note")
    if not _SIZE.fullmatch(lines[1]):
        raise _refused("The checkpoint's size is not a decimal number.", "size")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except ValueError as error:
        raise _refused("The checkpoint's root is not base64.", "root") from error
    checkpoint = Checkpoint(lines[0], int(lines[1]), root)
    if checkpoint.body().decode() != f"{body}\n":
        raise _refused("The checkpoint is not in canonical form.", "root")
    signature_lines = signatures[:-1].split("\n")
    if len(signature_lines) > _MAX_SIGNATURES:
        raise _refused(f"A note has at most {_MAX_SIGNATURES} signatures.", "signatures")
    return checkpoint, [_parse_line(line) for line in signature_lines]


Verifiers: TypeAlias = Mapping[str, "bytes | KeyLine"]
"""Pinned Ed25519 keys (32 bytes), or lines of keys, by the name under which they sign."""


def verify_note(text: str, verifiers: Verifiers, *, required: set[str], moment: datetime | None = None) -> Checkpoint:
    """Verify a checkpoint: every required signer has signed, and no known signer's line is wrong.

    Lines of unknown keys are ignored, as the format asks (they may be others' witnesses). A key of a line counts where
    it held when the note was cosigned.

    Args:
        text: the note.
        verifiers: who may sign.
        required: names that must have signed; at least one.
        moment: when a note that nobody cosigned was made, as far as it is known; any key of a line counts otherwise.

    Raises:
        ProofError: naming the signature that is missing or wrong, in ``field``.
    """
    if not required:
        raise _refused("A checkpoint nobody must sign proves nothing.", "required")
    checkpoint, signatures = parse_note(text)
    found: list[tuple[str, HeldKey, datetime | None]] = []
    for signature in signatures:
        key = _signer(signature, verifiers.get(signature.name))
        if key is not None:
            seconds = signature.verify(checkpoint.body(), key.public)
            found.append((signature.name, key, None if seconds is None else _moment(seconds)))
    dated = max((time for _, _, time in found if time is not None), default=moment)
    verified, former = set[str](), set[str]()
    for name, key, time in found:
        date = time or dated
        (verified if date is None or key.holds(date) else former).add(name)
    for name in sorted(required - verified):
        if name in former:
            raise _refused(f"The key of {name} that signed did not hold then.", name)
        raise _refused(f"The signature of {name} is missing.", name)
    return checkpoint


def _signer(signature: NoteSignature, keys: bytes | KeyLine | None) -> HeldKey | None:
    """The key of a name's that a line of the note names by its id."""
    if keys is None:
        return None
    held = keys.keys if isinstance(keys, KeyLine) else (HeldKey(keys),)
    return next((key for key in held if signature.kind(key.public) is not None), None)


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise _refused("A cosignature's time is out of range.", "signatures") from error
