"""The hub's log as the witness holds it: its copy is rebuilt from the entries and compared with what was cosigned.

K1  Every checkpoint that was cosigned is signed by the hub and by the witness, for the size and head on record.
K2  The tree made anew from the copied entries has each cosigned head, and the tiles on disk.
K3  The newest cosigned checkpoint is the last one that the witness remembers: else its store was set back.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, select

from crypto.checkpoint import verify_note
from crypto.errors import ProofError
from crypto.merkle import leaf_hash
from crypto.tiles import integrate, root_from_tiles
from models.findings import Finding, Findings
from models.said import said
from nodes.config import NodeConfig
from nodes.errors import NodeError
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.mirror import MirrorEntryRow, MirrorHeadRow, MirrorTileRow
from nodes.tables.witness import CosignedCheckpointRow, CosignedLogRow, RefusedCheckpointRow
from nodes.witness.mirror import MIRROR_FILE, MIRROR_STORE

_BLOCK = 10_000


class _Rebuilt:
    """Tiles in memory (`crypto.tiles.TileReader`)."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, index: int, width: int) -> bytes:
        return self.tiles.get((level, index), b"")[: width * 32]


def examine_log(store: Store, roster: RosterBook, config: NodeConfig) -> Iterator[Finding]:
    """K1 to K3, and checkpoints that the witness refused."""
    found = Findings("log", config.party_id)
    with store.reading() as session:
        newest = session.get(CosignedLogRow, 1)
        largest = session.scalar(select(func.max(CosignedCheckpointRow.size)))
        refused = session.scalars(select(RefusedCheckpointRow).where(RefusedCheckpointRow.open)).all()
        notes = session.scalars(select(CosignedCheckpointRow).order_by(CosignedCheckpointRow.size)).all()
    for each in refused:
        yield found.fault(
            said("the hub offers a checkpoint that does not extend its log: {detail}", detail=each.detail),
            said("keep this evidence, and call the hub's operator to account (the regulator's page, Checkpoints)"),
            party=roster.hub_id,
        )
    wrong = [row.size for row in notes if not _is_cosigned(row, roster)]
    for size in wrong:
        yield found.fault(
            said("the cosigned checkpoint of {size} entries does not verify", size=size),
            said("keep the file; find out who altered the witness's store"),
        )
    if newest is not None and largest is not None and largest > newest.size:
        yield found.fault(
            said(
                "a checkpoint of {largest} entries was cosigned, and {size} is remembered",
                largest=largest,
                size=newest.size,
            ),
            said("stop the witness: its store was set back, and it might cosign a second history"),
        )
    if not wrong:
        yield found.ok(said("{number} cosigned checkpoints verify", number=len(notes)))
    yield from _mirror(config, {row.size: row.root for row in notes}, roster)


def _is_cosigned(row: CosignedCheckpointRow, roster: RosterBook) -> bool:
    origin = row.note.partition("\n")[0]
    keys = {origin: roster.hub_keys, roster.witness_id: roster.witness_keys}
    try:
        checkpoint = verify_note(row.note, keys, required=set(keys))
    except ProofError:
        return False
    return (checkpoint.size, checkpoint.root) == (row.size, row.root)


def _mirror(config: NodeConfig, cosigned: dict[int, bytes], roster: RosterBook) -> Iterator[Finding]:
    """K2."""
    found = Findings("mirror", config.party_id)
    path = config.data_dir / MIRROR_FILE
    again = said("stop the witness, remove mirror.db and start it: the copy is fetched and verified anew")
    if not path.exists():
        yield found.skipped(said("the witness has no copy of the log yet"), said("start it, and check again"))
        return
    try:
        mirror = Store.open(path, MIRROR_STORE)
    except NodeError as problem:
        yield found.fault(said("the copy cannot be opened: {what}", what=problem.message), again)
        return
    try:
        size, faults, rebuilt = _rebuild(mirror, cosigned)
        with mirror.reading() as session:
            head = session.get(MirrorHeadRow, 1)
            stored = {(row.level, row.index): row.data for row in session.scalars(select(MirrorTileRow))}
    finally:
        mirror.close()
    for at in faults:
        yield found.fault(
            said("the copied entries do not have the head that was cosigned at {size} entries", size=at), again
        )
    if head is not None and (head.size != size or head.root != root_from_tiles(size, rebuilt)):
        yield found.fault(said("the copy's head is not that of its {size} entries", size=size), again)
    if stored != rebuilt.tiles:
        yield found.fault(said("the copy's tiles are not what its entries give"), again)
    if not faults and stored == rebuilt.tiles:
        yield found.ok(said("{size} entries, rebuilt, have every head that was cosigned", size=size))


def _rebuild(mirror: Store, cosigned: dict[int, bytes]) -> tuple[int, list[int], _Rebuilt]:
    """The size up to the first gap, cosigned sizes whose head differs, and the tiles."""
    rebuilt, size, faults = _Rebuilt(), 0, []
    due = sorted(cosigned)
    with mirror.reading() as session:
        while True:
            query = select(MirrorEntryRow).where(MirrorEntryRow.index >= size).order_by(MirrorEntryRow.index)
            rows = session.scalars(query.limit(_BLOCK)).all()
            whole = [row for offset, row in enumerate(rows) if row.index == size + offset]
            if not whole:
                break
            size, changed = integrate(size, [leaf_hash(row.leaf) for row in whole], rebuilt)
            rebuilt.tiles.update(changed)
            session.expunge_all()
            if len(whole) < len(rows):
                break
    faults = [at for at in due if 0 < at <= size and root_from_tiles(at, rebuilt) != cosigned[at]]
    return size, faults, rebuilt
