"""The log and its checkpoints: all that was ever signed is of the tree that the stored entries give.

D1  Tree, tiles and index are made anew from the entries (`hub.doctor`).
D2  Every stored checkpoint is signed by the hub, and has the head of the tree at its size.
D3  One that counts as cosigned is signed by the witness, under the key that it has or had on a roster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import select

from crypto.checkpoint import verify_note
from crypto.errors import CryptoError, ProofError
from crypto.jws import parse_canonical, peek_payload
from crypto.key_line import KeyLine
from crypto.tiles import root_from_tiles
from crypto.wire.party import Roster
from hub.clock import moment
from hub.doctor import RebuiltLog, rebuild_log
from hub.examination.shown import first_of
from hub.services import Hub
from hub.tables.log import CheckpointRow
from hub.tables.parties import RosterRow
from models.findings import Finding, Findings
from models.said import said

REMEDY = said("stop the hub and keep the database; restore the newest backup, and compare with the witness's copy")


def examine_log(hub: Hub, *, progress: Callable[[int], None] = lambda _entries: None) -> Iterator[Finding]:
    """D1 to D3, and what the witness refuses now."""
    found = Findings("log", hub.config.hub_id)
    with hub.db.reading() as session:  # before the entries: a running hub's log grows meanwhile
        signed = session.scalars(select(CheckpointRow).order_by(CheckpointRow.size)).all()
    rebuilt = rebuild_log(hub, progress=progress)
    yield from first_of(found, rebuilt.faults, REMEDY)
    if not rebuilt.faults:
        yield found.ok(said("{number} entries, tiles and index rebuilt: all is as stored", number=rebuilt.size))
        yield from _checkpoints(hub, rebuilt, signed)
    for alarm in hub.alarms():
        yield found.warning(alarm.what, alarm.remedy)


def _checkpoints(hub: Hub, rebuilt: RebuiltLog, signed: Sequence[CheckpointRow]) -> Iterator[Finding]:
    found = Findings("checkpoints", hub.config.hub_id)
    origin = hub.config.log_origin
    witnesses = _witness_keys(hub)
    number, wrong = 0, False
    for row in signed:
        number += 1
        try:
            checkpoint = verify_note(
                row.note, {origin: hub.keys.identity.line}, required={origin}, moment=moment(row.created_at)
            )
        except ProofError as problem:
            wrong = True
            yield found.fault(said("checkpoint {size}: {what}", size=row.size, what=problem.message), REMEDY)
            continue
        if checkpoint.size != row.size or checkpoint.size > rebuilt.size:
            wrong = True
            yield found.fault(said("checkpoint {size} is not of this log", size=row.size), REMEDY)
        elif checkpoint.root != root_from_tiles(checkpoint.size, rebuilt.tiles):
            wrong = True
            yield found.fault(said("checkpoint {size} has another head than the entries", size=row.size), REMEDY)
        if row.cosigned and not any(_cosigned(row.note, origin, hub, who, key) for who, key in witnesses):
            wrong = True
            yield found.fault(
                said("checkpoint {size} counts as cosigned, and the witness did not sign it", size=row.size), REMEDY
            )
    if not wrong:
        yield found.ok(said("{number} checkpoints are signed, and of these entries", number=number))


def _cosigned(note: str, origin: str, hub: Hub, witness: str, key: bytes | KeyLine) -> bool:
    try:
        verify_note(note, {origin: hub.keys.identity.line, witness: key}, required={origin, witness})
    except ProofError:
        return False
    return True


def _witness_keys(hub: Hub) -> list[tuple[str, bytes | KeyLine]]:
    """Of the witness, with those that follow each other; and as rosters have it that a lost key of its signed."""
    witness = hub.parties.witness()
    keys: list[tuple[str, bytes | KeyLine]] = [] if witness is None else [(witness.party_id, witness.keys)]
    line = frozenset() if witness is None else frozenset(witness.keys.publics)
    with hub.db.reading() as session:
        for token in session.scalars(select(RosterRow.token)):
            try:
                roster = parse_canonical(peek_payload(token), Roster)
            except CryptoError:
                continue
            others = (each for each in roster.parties if each.kind == "witness" and each.sign_key not in line)
            keys += [(each.party_id, each.sign_key) for each in others]
    return list(dict.fromkeys(keys))
