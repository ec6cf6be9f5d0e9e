"""The log as static files that other parties' tools read: C2SP tlog-tiles (c2sp.org/tlog-tiles).

W1  `checkpoint` is the newest note that log and witness have signed; what lies beside it makes up that tree, no more.
W2  `tile/<L>/<N>[.p/<W>]` are hashes, `tile/entries/<N>[.p/<W>]` the entries, each behind its length in two bytes.
W3  A whole tile never changes: what is there already is not written again, so an export is cheap to repeat and goes on
    where it was interrupted. Files appear whole, and the checkpoint last.
W4  A directory is continued only with the log that it was begun with: its checkpoint must be in this one's history.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from crypto.checkpoint import parse_note
from crypto.errors import ProofError
from crypto.merkle import HASH_BYTES
from crypto.tiles import TILE_WIDTH, bundle_path, root_from_tiles, tile_path
from hub.db import Database
from hub.errors import LogError, NotFoundError, RequestError
from hub.log_reading import StoredTiles, latest_checkpoint, read_bundle

CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class TilesWritten:
    """What an export did: the size of its checkpoint, how many files it wrote, how many were there already."""

    size: int
    written: int
    kept: int


def export_tiles(db: Database, directory: Path) -> TilesWritten:
    """Write the log, up to its newest cosigned checkpoint, as static files; see W1 to W4.

    Raises:
        NotFoundError: the witness has cosigned nothing yet.
        LogError: the directory holds another log, or a history that this log has not.
        RequestError: the directory cannot be written.
    """
    with db.reading() as session:
        newest = latest_checkpoint(session, cosigned=True)
        if newest is None:
            raise NotFoundError("There is no cosigned checkpoint yet.", remedy="Enrol the witness, start its agent.")
        size = newest.size
        tiles = StoredTiles(session)
        try:
            _check_continued(directory, newest.note, tiles)
            written = kept = 0
            files: Iterator[tuple[str, Callable[[], bytes]]] = chain(
                ((tile_path(*tile), partial(_whole, tiles, *tile)) for tile in _tiles(size)),
                ((bundle_path(*each), partial(read_bundle, session, *each)) for each in _widths(size)),
            )
            for path, content in files:
                fresh = _write(directory / path, content)
                written, kept = written + fresh, kept + (not fresh)
            _replace(directory / CHECKPOINT, newest.note.encode())
        except OSError as error:
            raise RequestError(
                f"{directory} cannot be written ({error.strerror}).", field="--tiles", remedy="Name another directory."
            ) from error
    return TilesWritten(size, written, kept)


def _whole(tiles: StoredTiles, level: int, index: int, width: int) -> bytes:
    data = tiles.read(level, index, width)
    if len(data) != width * HASH_BYTES:
        raise LogError(f"Tile {tile_path(level, index, width)} is not stored.", remedy="Run `digua-hub doctor`.")
    return data


def _widths(count: int) -> Iterator[tuple[int, int]]:
    """Index and width of the tiles that hold so many hashes, or entries."""
    whole, rest = divmod(count, TILE_WIDTH)
    yield from ((index, TILE_WIDTH) for index in range(whole))
    if rest:
        yield whole, rest


def _tiles(size: int) -> Iterator[tuple[int, int, int]]:
    """Level, index and width of every tile of a tree."""
    level, count = 0, size
    while count:
        yield from ((level, index, width) for index, width in _widths(count))
        level, count = level + 1, count // TILE_WIDTH


def _check_continued(directory: Path, newest: str, tiles: StoredTiles) -> None:
    """W4."""
    file = directory / CHECKPOINT
    if not file.exists():
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()) and not (directory / "tile").is_dir():
            raise LogError(
                f"{directory} holds something else.", field="--tiles", remedy="Name an empty or a new directory."
            )
        return
    ours, _ = parse_note(newest)
    try:
        theirs, _ = parse_note(file.read_text(encoding="utf-8"))
        continued = theirs.origin == ours.origin and theirs.size <= ours.size
        continued = continued and theirs.root == root_from_tiles(theirs.size, tiles)
    except (ProofError, UnicodeDecodeError):
        continued = False
    if not continued:
        raise LogError(
            f"{directory} holds a checkpoint that is not in this log's history.",
            field="--tiles",
            remedy="Keep it: it may be evidence. Export into a new directory and compare the two.",
        )


def _write(path: Path, content: Callable[[], bytes]) -> bool:
    """W3: write a file unless it is there; say whether it was written."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, content())
    beginnings = path.with_name(f"{path.name}.p")
    if beginnings.is_dir():  # the whole tile stands for them
        shutil.rmtree(beginnings)
    return True


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(data)
    draft.replace(path)
