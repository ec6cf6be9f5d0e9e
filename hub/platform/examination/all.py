"""Everything that is stored at a platform, looked at again, with the files that it needs and what waits to be done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hub.db import Database
from hub.errors import StateError
from hub.examination.machine import examine_rights, examine_room
from hub.keys import read_secret
from hub.platform.audit import AuditRecord
from hub.platform.config import PlatformConfig
from hub.platform.errors import AuditBrokenError
from hub.platform.examination.documents import examine_documents
from hub.platform.examination.financings import examine_financings
from hub.platform.examination.grants import examine_grants
from hub.platform.examination.merchants import examine_merchants
from hub.platform.gateway import gateway_at
from hub.platform.installation import Desk
from hub.platform.lending_errors import GatewayError
from hub.platform.migrations.runner import VERSIONS
from hub.platform.webhook_box import WebhookBox
from models.findings import Announce, Finding, Findings, of_error
from models.said import said


def examine_platform(
    config: PlatformConfig, desk: Desk, *, announce: Announce = lambda _what: None
) -> Iterator[Finding]:
    """Look at files, record, merchants, financings, grants, documents, events and gateway; nothing is changed.

    It may run beside the serving platform.

    Args:
        config: of the platform.
        desk: the same, opened.
        announce: told what is looked at, and how far it is.
    """
    party = config.party_id
    yield from examine_rights(party, _secret_files(config), config.database)
    yield from examine_room(party, config.key_file.parent)
    yield from _schema(party, desk.db)
    announce(said("the record"))
    whole = False
    for each in _record(party, desk.audit):
        whole = each.state == "ok"
        yield each
    announce(said("merchants"))
    yield from examine_merchants(
        party, desk.register, progress=lambda number: announce(said("merchants: {number}", number=number))
    )
    announce(said("financings"))
    if whole:
        yield from examine_financings(
            party,
            desk.db,
            desk.products,
            progress=lambda number: announce(said("financings: {number}", number=number)),
        )
    else:
        yield Findings("financings", party).skipped(
            said("not looked at: financings are rebuilt from the record, and the record does not hold together")
        )
    announce(said("grants"))
    yield from examine_grants(party, desk.db)
    yield from examine_documents(party, desk.db)
    yield from _events(party, desk.box)
    announce(said("the gateway"))
    yield from _gateway(config)


def _secret_files(config: PlatformConfig) -> Iterator[Path]:
    yield from (config.key_file, config.sign_key_file, config.gateway.token_file, config.metrics_token_file)
    if config.pages is not None:
        yield config.pages.key_file
    if config.database_password_file is not None:
        yield config.database_password_file
    if config.tls is not None:
        yield config.tls.key


def _schema(party: str, db: Database) -> Iterator[Finding]:
    found = Findings("database", party)
    if VERSIONS.differences(db):
        yield found.fault(
            said("the database's tables are not those of this program"),
            said("stop the platform and keep the database; restore the newest backup"),
        )
    else:
        yield found.ok(said("the database's tables are those of this program"))


def _record(party: str, audit: AuditRecord) -> Iterator[Finding]:
    found = Findings("audit-record", party)
    try:
        number, last = audit.verify()
    except AuditBrokenError as error:
        yield found.fault(*of_error(error))
        return
    yield found.ok(
        said("the chain of {number} entries holds together; its last hash is {hash}", number=number, hash=last.hex())
    )


def _events(party: str, box: WebhookBox) -> Iterator[Finding]:
    found = Findings("events", party)
    counts = box.counts()
    if dead := counts.get("dead", 0):
        yield found.warning(
            said("{number} events for banks were given up after many tries", number=dead),
            said("mend the way to the bank's system, then have them sent again at the bank's desk"),
        )
    else:
        yield found.ok(said("no event for a bank was given up; {number} wait", number=counts.get("waiting", 0)))


def _gateway(config: PlatformConfig) -> Iterator[Finding]:
    found = Findings("gateway", config.party_id)
    try:
        token = read_secret(config.gateway.token_file).decode().strip()
    except StateError as error:
        yield found.fault(*of_error(error))
        return
    gateway = gateway_at(config.gateway.url, token)
    try:
        reports = gateway.reports()
    except GatewayError as error:
        yield found.warning(*of_error(error))
    else:
        yield found.ok(
            said("the gateway answers; it knows {number} reports of published statistics", number=len(reports))
        )
    finally:
        gateway.close()
