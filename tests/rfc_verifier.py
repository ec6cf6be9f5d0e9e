"""A verifier of the audit log written from the texts alone; it shares no code with the product.

From RFC 9162: hashing and 2.1.2 (tree head given entries), 2.1.3.2 (inclusion), 2.1.4.2 (consistency). From C2SP:
signed-note, tlog-checkpoint, tlog-cosignature (Ed25519), tlog-tiles. Standard library, and Ed25519 of `cryptography`.
Names follow the texts. Everything that does not hold raises `Wrong`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Wrong(Exception):  # noqa: N818  (as one reads it where it is raised)
    """Something does not hold."""


def require(condition: bool, what: str) -> None:
    """Refuse where a condition does not hold."""
    if not condition:
        raise Wrong(what)


def HASH(data: bytes) -> bytes:  # noqa: N802  (as the RFC writes it)
    """SHA-256."""
    return hashlib.sha256(data).digest()


# RFC 9162, 2.1


def leaf(entry: bytes) -> bytes:
    """2.1.1: HASH(0x00 || d[0])."""
    return HASH(b"\x00" + entry)


def node(left: bytes, right: bytes) -> bytes:
    """2.1.1: HASH(0x01 || left || right)."""
    return HASH(b"\x01" + left + right)


def MTH(hashes: Sequence[bytes]) -> bytes:  # noqa: N802
    """2.1.1, by its recursive definition, over hashes of leaves."""
    n = len(hashes)
    if n == 0:
        return HASH(b"")
    if n == 1:
        return hashes[0]
    k = 1
    while 2 * k < n:
        k *= 2
    return node(MTH(hashes[:k]), MTH(hashes[k:]))


class TreeHead:
    """2.1.2: a tree head from entries that come one after the other."""

    def __init__(self) -> None:
        self.stack: list[bytes] = []
        self.n = 0

    def push(self, hashed: bytes) -> None:
        """Steps 2.1 to 2.3."""
        self.stack.append(hashed)
        merge_count = 0
        while (self.n >> merge_count) & 1 == 1:
            merge_count += 1
        for _ in range(merge_count):
            right = self.stack.pop()
            left = self.stack.pop()
            self.stack.append(node(left, right))
        self.n += 1

    def root(self) -> bytes:
        """Steps 3 and 4."""
        if not self.stack:
            return HASH(b"")
        rest = list(self.stack)
        while len(rest) > 1:
            right = rest.pop()
            left = rest.pop()
            rest.append(node(left, right))
        return rest[0]


def verify_inclusion(
    hashed: bytes, leaf_index: int, tree_size: int, inclusion_path: Sequence[bytes], root_hash: bytes
) -> None:
    """2.1.3.2."""
    require(0 <= leaf_index < tree_size, "leaf_index is not less than tree_size")
    fn, sn, r = leaf_index, tree_size - 1, hashed
    for p in inclusion_path:
        require(sn != 0, "the path goes on above the root")
        if fn & 1 or fn == sn:
            r = node(p, r)
            while not (fn & 1 or fn == 0):
                fn >>= 1
                sn >>= 1
        else:
            r = node(r, p)
        fn >>= 1
        sn >>= 1
    require(sn == 0, "the path ends below the root")
    require(r == root_hash, "the path leads to another root")


def verify_consistency(
    first: int, second: int, consistency_path: Sequence[bytes], first_hash: bytes, second_hash: bytes
) -> None:
    """2.1.4.2, for 0 < first < second."""
    require(0 < first < second, "the algorithm is for 0 < first < second")
    require(len(consistency_path) > 0, "the path is empty")
    path = list(consistency_path)
    if first & (first - 1) == 0:
        path.insert(0, first_hash)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    fr = sr = path[0]
    for c in path[1:]:
        require(sn != 0, "the path goes on above the root")
        if fn & 1 or fn == sn:
            fr = node(c, fr)
            sr = node(c, sr)
            while not (fn & 1 or fn == 0):
                fn >>= 1
                sn >>= 1
        else:
            sr = node(sr, c)
        fn >>= 1
        sn >>= 1
    require(fr == first_hash and sr == second_hash and sn == 0, "the path leads to other roots")


# C2SP signed-note, tlog-checkpoint, tlog-cosignature


@dataclass(frozen=True)
class Verifier:
    """Whose signature must be on a note: name, Ed25519 key, signature type (0x01 log, 0x04 cosigner)."""

    name: str
    key: bytes
    kind: int

    def key_id(self) -> bytes:
        return HASH(self.name.encode() + b"\n" + bytes([self.kind]) + self.key)[:4]

    def check(self, text: bytes, signature: bytes) -> None:
        if self.kind == 0x04:
            require(len(signature) == 8 + 64, "a cosignature has a time and 64 bytes")
            time = int.from_bytes(signature[:8], "big")
            require(time < 1 << 63, "the time is out of range")
            text, signature = b"cosignature/v1\ntime %d\n" % time + text, signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, text)
        except InvalidSignature as error:
            raise Wrong(f"the signature of {self.name} is wrong") from error


@dataclass(frozen=True)
class Checkpoint:
    """The first three lines of a checkpoint."""

    origin: str
    size: int
    root: bytes


def open_checkpoint(note: str, verifiers: Sequence[Verifier]) -> Checkpoint:
    """A checkpoint, once every verifier's signature was found on the note and holds."""
    require(all(c == "\n" or c >= " " for c in note), "control characters")
    text, empty, signatures = note.rpartition("\n\n")
    require(empty != "" and signatures.endswith("\n"), "no signatures")
    text += "\n"
    missing = list(verifiers)
    for line in signatures[:-1].split("\n"):
        require(line.startswith("\u2014 "), "no signature line")
        name, _, encoded = line[2:].partition(" ")
        require(bool(name) and "+" not in name, "no key name")
        blob = base64.b64decode(encoded, validate=True)
        for each in verifiers:
            if (each.name, each.key_id()) == (name, blob[:4]):
                each.check(text.encode(), blob[4:])
                missing = [other for other in missing if other != each]
    require(not missing, f"no signature of {[each.name for each in missing]}")
    lines = text.split("\n")
    require(len(lines) >= 4, "fewer than three lines")
    origin, size, root = lines[:3]
    require(origin != "", "no origin")
    require(size.isascii() and size.isdigit() and str(int(size)) == size, "the size is no decimal number")
    hashed = base64.b64decode(root, validate=True)
    require(len(hashed) == 32, "the root has not 32 bytes")
    return Checkpoint(origin, int(size), hashed)


# The product's export: NDJSON of entries and checkpoints


def verify_export(lines: Iterable[bytes], log: Verifier, witness: Verifier) -> int:
    """Every checkpoint is signed and has the root of the entries before it; the last one is cosigned and covers all.

    Returns:
        The number of entries.
    """
    head, covered = TreeHead(), 0
    reading = iter(lines)
    header = json.loads(next(reading))
    for line in reading:
        value = json.loads(line)
        if "entry" in value:
            hashed = leaf(value["entry"].encode())
            require(value["index"] == head.n, f"entry {head.n} is missing")
            require(value["hash"] == hashed.hex(), f"entry {head.n} has another hash")
            head.push(hashed)
            continue
        checkpoint = open_checkpoint(value["checkpoint"], [log, witness] if value["cosigned"] else [log])
        require(checkpoint.origin == log.name, "another log")
        require((checkpoint.size, checkpoint.root) == (head.n, head.root()), f"another root at {head.n}")
        covered = head.n if value["cosigned"] else covered
    require(covered == head.n == header["size"] > 0, f"entries from {covered} on are not cosigned")
    return head.n


# C2SP tlog-tiles


def tile_name(n: int) -> str:
    """Zero-padded elements of three digits; all but the last begin with an x."""
    digits = str(n)
    digits = digits.zfill((len(digits) + 2) // 3 * 3)
    elements = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join(["x" + each for each in elements[:-1]] + elements[-1:])


def tiles_of(size: int) -> Iterator[tuple[int, int, int]]:
    """(level, index, width) of each tile of a tree, full ones first; empty tiles are none."""
    level = 0
    while size // 256**level > 0:
        hashes = size // 256**level
        yield from ((level, n, 256) for n in range(hashes // 256))
        if hashes % 256:
            yield level, hashes // 256, hashes % 256
        level += 1


def read_entry_bundle(data: bytes, width: int) -> list[bytes]:
    """Big-endian uint16 length-prefixed entries."""
    entries, at = [], 0
    while at < len(data):
        require(at + 2 <= len(data), "a length is cut off")
        length = int.from_bytes(data[at : at + 2], "big")
        require(at + 2 + length <= len(data), "an entry is cut off")
        entries.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    require(len(entries) == width, f"{len(entries)} entries instead of {width}")
    return entries


def verify_tiles(resources: Mapping[str, bytes], log: Verifier, witness: Verifier) -> Checkpoint:
    """A log as the resources below its prefix: checkpoint, tiles and entry bundles are there, and are one tree."""
    require("checkpoint" in resources, "no checkpoint")
    checkpoint = open_checkpoint(resources["checkpoint"].decode(), [log, witness])
    require(checkpoint.origin == log.name, "another log")
    levels: dict[int, list[bytes]] = {}
    for level, n, width in tiles_of(checkpoint.size):
        suffix = "" if width == 256 else f".p/{width}"
        path = f"tile/{level}/{tile_name(n)}{suffix}"
        require(path in resources, f"no {path}")
        data = resources[path]
        require(len(data) == 32 * width, f"{path} has {len(data)} bytes")
        hashes = [data[i : i + 32] for i in range(0, len(data), 32)]
        if level == 0:
            bundle = f"tile/entries/{tile_name(n)}{suffix}"
            require(bundle in resources, f"no {bundle}")
            entries = read_entry_bundle(resources[bundle], width)
            require([leaf(entry) for entry in entries] == hashes, f"{bundle} has other entries")
        else:
            below = levels[level - 1]
            full = [MTH(below[256 * i : 256 * (i + 1)]) for i in range(256 * n, 256 * n + width)]
            require(full == hashes, f"{path} is not of the tiles below")
        levels.setdefault(level, []).extend(hashes)
    head = TreeHead()
    for hashed in levels.get(0, []):
        head.push(hashed)
    require(head.root() == checkpoint.root, "the tiles have another root")
    return checkpoint


def read_directory(directory: Path) -> dict[str, bytes]:
    """The resources of a static directory, by path below the prefix."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}
