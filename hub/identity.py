"""Whose a database is: written into it once, with the first entry of the log, and compared at every start."""

from __future__ import annotations

from datetime import datetime

from hub.alarms import Alarms
from hub.clock import seconds
from hub.config import HubConfig
from hub.cosigning import Cosigner
from hub.db import Database
from hub.errors import StateError
from hub.keys import HubKeys
from hub.log import AuditLog
from hub.log_reading import LogReader
from hub.peers import NoLinks
from hub.tables.parties import HubIdentityRow


def record_identity(db: Database, config: HubConfig, keys: HubKeys, now: datetime) -> None:
    """Write into a fresh database whose it is, with the log's first entry; StateError where it is somebody's."""
    reader = LogReader(db, hub_id=config.hub_id, origin=config.log_origin)
    alarms = Alarms(db, clock=lambda: now, limit_s=config.log.cosign_alarm_s)
    cosigner = Cosigner(db, config.log_origin, keys.identity, links=NoLinks, alarms=alarms)
    log = AuditLog(db, keys.identity, config.log_origin, clock=lambda: now, cosigner=cosigner, reader=reader)
    with db.session() as session:
        if session.get(HubIdentityRow, 1) is not None:
            raise StateError(
                "The database belongs to a hub already.", field="database", remedy="Name another database."
            )
        session.add(
            HubIdentityRow(
                id=1,
                hub_id=config.hub_id,
                origin=config.log_origin,
                sign_key=keys.identity.public,
                voprf_key=keys.voprf.public,
            )
        )
        log.append(session, "hub-initialised", config.hub_id, facts={"at": seconds(now), "origin": config.log_origin})
    log.sequence()


def check_identity(db: Database, config: HubConfig, keys: HubKeys, *, signing_key_lost: bool = False) -> None:
    """StateError where a database is another hub's, or nobody's; or, unless it is lost, without its signing key."""
    with db.reading() as session:
        row = session.get(HubIdentityRow, 1)
    if row is None:
        raise StateError(
            "The database belongs to no hub yet.", field="database", remedy="Run `digua-hub init` for a new hub."
        )
    pairs: tuple[tuple[str, str | bytes, str | bytes], ...] = (
        ("hub_id", row.hub_id, config.hub_id),
        ("origin", row.origin, config.log_origin),
        ("keys_dir (VOPRF seed)", row.voprf_key, keys.voprf.public),
    )
    if not signing_key_lost and row.sign_key not in {key.public for key in keys.signing}:
        pairs = (*pairs, ("keys_dir (signing key)", row.sign_key, b""))
    for name, stored, present in pairs:
        if stored != present:
            raise StateError(
                f"{name} is not the one that the database was made with.",
                field=name,
                remedy="Restore configuration, keys and database of the same hub; pseudonyms and log depend on them.",
            )
