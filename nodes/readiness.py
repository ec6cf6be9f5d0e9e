"""Whether a node can do its work: each thing that it needs, whether it is there, and what to do where it is not.

The same for `digua-node status`, beside the running node, and for its own `/readyz`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from crypto.errors import CryptoError
from models.i18n import catalogue, language_of
from models.said import Said, said
from nodes.config import NodeConfig
from nodes.errors import NodeError
from nodes.feed import Feed
from nodes.keys import former_public_keys, load_keys, load_signing_keys
from nodes.ledger import Ledger
from nodes.own_files import held, open_store
from nodes.roster import RosterBook
from nodes.store import Store

ROOM_BYTES = 64 << 20
NEARLY = 0.9
"""Of the budget; beyond it the owner should know that campaigns will be refused soon."""


@dataclass(frozen=True)
class Check:
    """One thing that a node needs.

    Attributes:
        name: stable.
        ok: it is there.
        blocking: without it the node answers nothing.
        what, remedy: where it is not.
    """

    name: str
    ok: bool
    blocking: bool = True
    what: Said | None = None
    remedy: Said | None = None


def look(config: NodeConfig, now: datetime) -> tuple[Check, ...]:
    """Look at a node from beside it.

    Raises:
        ConfigError: it is not enrolled, or its store cannot be opened.
    """
    trust = config.require_trust()
    running = Check("running", held(config))
    if not running.ok:
        running = _failed(
            "running", said("The node does not run."), said("Start it with digua-node run, or read its log.")
        )
    store = open_store(config)
    try:
        return (running, *examine(config, store, RosterBook(store, trust), now))
    finally:
        store.close()


def examine(config: NodeConfig, store: Store, roster: RosterBook, now: datetime) -> tuple[Check, ...]:
    """Look at what a node needs, with its store."""
    try:
        return tuple(_checks(config, store, roster, now))
    except SQLAlchemyError:
        return (_store_failed(),)


def told(checks: tuple[Check, ...], lang: str) -> list[dict[str, object]]:
    """Checks as JSON, in a language; what and remedy only where something is wrong."""

    def text(of: Said | None) -> str | None:
        return None if of is None else catalogue("nodes").translate(language_of(lang), of.text, **of.params)

    return [
        {"name": each.name, "ok": each.ok, "blocking": each.blocking}
        | ({} if each.ok else {"what": text(each.what), "remedy": text(each.remedy)})
        for each in checks
    ]


def _checks(config: NodeConfig, store: Store, roster: RosterBook, now: datetime) -> Iterator[Check]:
    yield _store(store)
    yield _keys(config, roster)
    if roster.version == 0:
        yield _failed(
            "roster",
            said("The node has no roster yet."),
            said("Wait until the witness's owner has approved this party, and the link is up."),
        )
    else:
        yield Check("roster", ok=True)
    age = Feed(store, roster, party_id=config.party_id).age(now)
    if age > timedelta(seconds=config.feed_limit_seconds):
        yield _failed(
            "feed",
            said("The feed is older than {limit} s: the node answers nothing.", limit=config.feed_limit_seconds),
            said("Look whether the hub can be reached; the link opens again by itself."),
        )
    else:
        yield Check("feed", ok=True)
    if config.kind != "client":
        yield _budget(config, store)


def _failed(name: str, what: Said, remedy: Said, *, blocking: bool = True) -> Check:
    return Check(name, ok=False, blocking=blocking, what=what, remedy=remedy)


def _store_failed() -> Check:
    return _failed(
        "store",
        said("The store cannot be written, or its disk is nearly full."),
        said("Check data_dir: room on its disk, its rights, and who holds the store for long."),
    )


def _store(store: Store) -> Check:
    try:
        with store.session():
            pass
        room = shutil.disk_usage(store.path.parent).free
    except (SQLAlchemyError, OSError):
        room = 0
    return _store_failed() if room < ROOM_BYTES else Check("store", ok=True)


def _keys(config: NodeConfig, roster: RosterBook) -> Check:
    """The files can be read, by their owner alone, and are those that the roster has for this party."""
    try:
        keys = load_keys(config.keys_dir, kind=config.kind)
        own = (keys.identity.public, keys.box.public)
        party = roster.party(config.party_id) if roster.version else None
        former = former_public_keys(config.keys_dir)
        same = party is None or (party.sign_key, party.box_key) in (own, former)
        if config.kind == "witness":
            held = {key.public for key in load_signing_keys(config.keys_dir)}
            same = roster.witness_keys.newest in held and (party is None or party.box_key == keys.box.public)
    except (NodeError, CryptoError):
        same = False
    if same:
        return Check("keys", ok=True)
    return _failed(
        "keys",
        said("The key files cannot be used, or are not those of the roster."),
        said("Restore keys_dir from its backup, for its owner alone (mode 0600); or enrol again."),
    )


def _budget(config: NodeConfig, store: Store) -> Check:
    ledger = Ledger(store, config.budget.epsilon, config.budget.delta)
    spent = ledger.spent().epsilon
    if spent < NEARLY * ledger.epsilon:
        return Check("budget", ok=True, blocking=False)
    return _failed(
        "budget",
        said("ε {spent} of {budget} is spent.", spent=f"{spent:.2f}", budget=f"{ledger.epsilon:g}"),
        said(
            "Further campaigns are refused; decide with your data protection officer whether budget.epsilon may rise."
        ),
        blocking=False,
    )
