"""Everything that is stored at a node, looked at again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from crypto.errors import CryptoError
from models.errors import ModelsError
from models.findings import Finding, Findings, of_error
from models.said import Said, said
from nodes.config import NodeConfig
from nodes.errors import NodeError
from nodes.examination.consents import examine_consents
from nodes.examination.journal import examine_journal
from nodes.examination.ledger import examine_ledger
from nodes.examination.log import examine_log
from nodes.examination.models import examine_models, examine_signed
from nodes.examination.successions import examine_successions
from nodes.own_files import STORE_FILE, open_store
from nodes.roster import RosterBook
from nodes.store import Store

Announce = Callable[[Said], None]


def examine_node(config: NodeConfig, *, announce: Announce = lambda _what: None) -> Iterator[Finding]:
    """Rebuild what can be rebuilt from a node's own store, and compare. It may run beside a running node.

    Args:
        config: the node's.
        announce: told what is looked at next.
    """
    found = Findings("store", config.party_id)
    if not (config.data_dir / STORE_FILE).exists():
        yield found.skipped(said("the node has not run yet: it has no store"))
        return
    try:
        store = open_store(config)
    except NodeError as problem:
        yield found.fault(*of_error(problem))
        return
    try:
        with store.engine.connect() as connection:
            answer = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
        if answer != "ok":
            yield found.fault(
                said("the file of the store is damaged: {what}", what=answer),
                said("stop the node and keep the file; look at disk and memory, and see Backups in docs/operations.md"),
            )
            return
        yield found.ok(said("the file of the store is sound"))
        announce(said("the journal"))
        yield from examine_journal(store, config.party_id)
        announce(said("the ledger"))
        yield from examine_ledger(store, config)
        if config.kind != "witness":
            announce(said("consents"))
            yield from examine_consents(store, config.party_id)
        yield from _with_roster(config, store, announce)
    finally:
        store.close()


def _with_roster(config: NodeConfig, store: Store, announce: Announce) -> Iterator[Finding]:
    found = Findings("roster", config.party_id)
    if config.trust is None:
        yield found.skipped(said("this node is not enrolled yet"))
        return
    try:
        roster = RosterBook(store, config.trust)
    except (NodeError, CryptoError, ModelsError) as problem:
        yield found.fault(*of_error(problem))
        return
    yield found.ok(said("the roster is signed by the witness (version {v})", v=roster.version))
    yield from examine_successions(roster, config)
    announce(said("models"))
    if config.kind == "witness":
        yield from examine_signed(store, roster, config.party_id)
        announce(said("the log"))
        yield from examine_log(store, roster, config)
    else:
        yield from examine_models(store, roster, config.party_id)
