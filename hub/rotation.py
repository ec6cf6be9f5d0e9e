"""A new signing key for the hub, without a restart (docs/protocol.md, 0; docs/operations.md, Keys and their change).

H0  `prepare` writes a new key into `keys_dir`. With replicas, the operator copies it into each one's.
H1  `announce` signs the succession by the old key and the new one, for a moment far enough ahead that every process of
    the hub and every connected party hears of it before; table, log entry and feed items in one transaction.
H2  From that moment every process signs with the new key by itself (`hub.signing_key`); the roster is proposed with it.
H3  Parties that were away get the successions with the link's welcome.

Where the old key is lost or somebody else has it, the new key alone signs. Nobody follows that by itself: each party's
owner pins the new key by hand (`digua-node trust-hub`), and with it all that the old key signed before stays good.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from crypto.key_line import TOLERANCE
from crypto.keys import IdentityKey, fingerprint
from crypto.succession import sign_succession
from hub.clock import seconds
from hub.errors import StateError
from hub.keys import keep_statement, load_signing_keys, new_signing_key
from hub.log import Fact
from hub.rotation_times import MAX_LEAD, least_lead
from hub.services import Hub
from hub.tables.parties import HubIdentityRow, KeySuccessionRow, PartyRow


@dataclass(frozen=True)
class Announced:
    """A succession: both public keys (32 bytes) and from when the new one holds."""

    old_key: bytes
    new_key: bytes
    holds_from: datetime


def prepare(hub: Hub) -> IdentityKey:
    """H0: the key that lies ready in `keys_dir`, a new one where there is none.

    Raises:
        StateError: several lie there, or the folder cannot be written.
    """
    known = set(hub.signing.line.publics)
    ready = [key for key in load_signing_keys(hub.config.keys_dir) if key.public not in known]
    if len(ready) > 1:
        raise StateError(
            "Several keys that were never announced lie in keys_dir.",
            field="keys_dir",
            remedy="Leave the one whose fingerprint was agreed; move the others away.",
        )
    return ready[0] if ready else new_signing_key(hub.config.keys_dir)


def announce(hub: Hub, new: IdentityKey, *, lead: timedelta, old_lost: bool = False) -> Announced:
    """H1: announce that a key follows the one that holds.

    Args:
        hub: an open one; those that serve need no sign.
        new: from `prepare`.
        lead: how long from now until it holds.
        old_lost: the old key is lost or disclosed: the new key signs alone.

    Raises:
        StateError: the lead is too short or too long, another succession is under way, or the old key is not there.
        RestoredError: the hub is held after a restoring.
    """
    least = least_lead(hub.config.feed_heartbeat_s)
    if not least <= lead <= MAX_LEAD:
        raise StateError(
            f"The new key has to hold between {least.total_seconds():.0f} s and {MAX_LEAD.days} days from now.",
            field="in",
            remedy="Leave connected parties and other processes time to hear of it.",
        )
    hub.signing.look()
    now, line = hub.clock(), hub.signing.line
    latest = line.keys[-1].since
    if latest is not None and now < latest + TOLERANCE:
        raise StateError(
            f"A key was announced already that holds from {latest.isoformat()}.",
            field="in",
            remedy="Wait until a few minutes after that moment; then announce the next one.",
        )
    holds_from = (now + lead).replace(microsecond=0)
    old = line.newest
    token = sign_succession(
        hub.config.hub_id, old if old_lost else hub.signing, new, holds_from=holds_from, issued_at=now
    )
    with hub.db.session() as session:
        identity = session.get_one(HubIdentityRow, 1)
        if identity.sign_key != old:
            raise StateError("Another key was announced just now.", field="in", remedy="See `digua-hub keys`.")
        identity.sign_key = new.public
        session.add(
            KeySuccessionRow(
                party_id=hub.config.hub_id,
                old_key=old,
                new_key=new.public,
                holds_from=seconds(holds_from),
                token=token,
                announced_at=seconds(now),
            )
        )
        facts: dict[str, Fact] = {
            "party_id": hub.config.hub_id,
            "kind": "hub",
            "sign_key": fingerprint(new.public),
            "former_key": fingerprint(old),
            "holds_from": seconds(holds_from),
            "by_former_key": not old_lost,
        }
        hub.log.append(session, "key-rotation", hub.config.hub_id, facts=facts)
        parties = sorted(session.scalars(select(PartyRow.party_id)))
        hub.feed.publish(session, parties, "key-succession", token=token)
    keep_statement(hub.config.keys_dir, new.public, token)
    hub.signing.look()
    return Announced(old, new.public, holds_from)
