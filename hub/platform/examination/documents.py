"""Documents that never change, against the hashes that stand in the record.

D1  A version of a product or of a rule, and a report of published statistics, has the hash that its row says.
D2  The record says the same hash of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from hub.db import Database
from hub.examination.shown import first_of
from hub.platform.examination.remedies import RESTORE
from hub.platform.tables.audit import AuditRow
from hub.platform.tables.lending import ProductRow, ReachTableRow
from hub.platform.tables.statistics import StatisticsRow
from hub.platform.tables.subsidies import ProgrammeRow
from models.findings import Finding, Findings
from models.said import Said, said


def examine_documents(party: str, db: Database) -> Iterator[Finding]:
    """D1 and D2."""
    found = Findings("documents", party)
    with db.reading() as session:
        recorded = _recorded(session)
        number, wrong = 0, list[Said]()
        for action, subject, version, document, sha256 in _stored(session):
            number += 1
            computed = hashlib.sha256(document.encode()).hexdigest()
            if sha256 not in (None, computed):
                wrong.append(said("{subject}, version {version}: it was altered", subject=subject, version=version))
            elif recorded.get((action, subject, version)) != computed:
                wrong.append(
                    said(
                        "{subject}, version {version}: the record has another hash of it, or none",
                        subject=subject,
                        version=version,
                    )
                )
    yield from first_of(found, wrong, RESTORE)
    if not wrong:
        yield found.ok(
            said("{number} products, rules, tables and reports have the hashes of the record", number=number)
        )


def _recorded(session: Session) -> dict[tuple[str, str, int], str]:
    actions = ("product-publish", "programme-publish", "reach-table-take", "statistics-take")
    query = select(AuditRow.action, AuditRow.subject, AuditRow.entry).where(AuditRow.action.in_(actions))
    found: dict[tuple[str, str, int], str] = {}
    for action, subject, entry in session.execute(query):
        what = json.loads(entry)["what"]
        found[action, subject, what.get("version", 1)] = what["sha256"]
    return found


def _stored(session: Session) -> Iterator[tuple[str, str, int, str, str | None]]:
    for product in session.scalars(select(ProductRow)):
        subject = f"{product.bank}/{product.product_id}"
        yield "product-publish", subject, product.version, product.terms, product.sha256
    for rule in session.scalars(select(ProgrammeRow)):
        yield "programme-publish", rule.programme, rule.version, rule.rule, rule.sha256
    for table in session.scalars(select(ReachTableRow)):
        yield "reach-table-take", str(table.number), 1, table.document, None
    for report in session.scalars(select(StatisticsRow)):
        yield "statistics-take", report.campaign_id, 1, report.document, report.sha256
