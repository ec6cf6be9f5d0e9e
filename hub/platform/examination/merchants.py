"""Accounts against their history, the record and the key file.

M1  An identifier opens under the key file, and is found by its digest.
M2  An account is what its last version says, and its versions have no gap.
M3  Each version has its entry in the record, with the same facts but the name, which is not there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from hub.examination.shown import first_of
from hub.platform.audit import actions_on
from hub.platform.examination.remedies import RESTORE
from hub.platform.merchant_book import RECORDED, MerchantBook, PastVersion, merchant_of, past_of
from hub.platform.merchants import Merchant
from hub.platform.tables.merchants import MerchantRow, MerchantVersionRow
from models.findings import Finding, Findings
from models.said import Said, said

_AT_ONCE = 400
KEY_REMEDY = said("stop the platform and restore key_file from its backup; no new one can read these accounts")


def examine_merchants(party: str, book: MerchantBook, *, progress: Callable[[int], None]) -> Iterator[Finding]:
    """M1 to M3 for every account.

    Args:
        party: the platform.
        book: its register.
        progress: told how many accounts were looked at.
    """
    found = Findings("accounts", party)
    sealed: list[Said] = []
    wrong: list[Said] = []
    number, last = 0, ""
    while True:
        with book.db.reading() as session:
            query = select(MerchantRow).where(MerchantRow.account_id > last).order_by(MerchantRow.account_id)
            rows = session.scalars(query.limit(_AT_ONCE)).all()
            if not rows:
                break
            sealed += [
                said("account {account}: its identifier does not open, or is not what it is found by", account=each)
                for each in (row.account_id for row in rows if not book.sealed_well(row))
            ]
            wrong += _differences(session, [merchant_of(row) for row in rows])
        number, last = number + len(rows), rows[-1].account_id
        progress(number)
    yield from first_of(found, sealed, KEY_REMEDY)
    yield from first_of(found, wrong, RESTORE)
    if not sealed and not wrong:
        yield found.ok(said("{number} accounts are what their history and the record say", number=number))


def _differences(session: Session, merchants: Sequence[Merchant]) -> Iterator[Said]:
    names = [each.account_id for each in merchants]
    history: dict[str, list[PastVersion]] = defaultdict(list)
    query = select(MerchantVersionRow).where(MerchantVersionRow.account_id.in_(names))
    for row in session.scalars(query.order_by(MerchantVersionRow.account_id, MerchantVersionRow.version)):
        history[row.account_id].append(past_of(row))
    entries: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in actions_on(session, [f"merchant:{name}" for name in names], RECORDED):
        entries[entry.subject.removeprefix("merchant:")].append(dict(entry.what))
    for merchant in merchants:
        name, versions = merchant.account_id, [each.merchant for each in history[merchant.account_id]]
        if [each.version for each in versions] != list(range(1, merchant.version + 1)):
            yield said("account {account}: a version of its history is missing, or one too many", account=name)
        elif versions[-1] != merchant:
            yield said("account {account}: it is not what its last version says", account=name)
        elif [_recorded(each) for each in versions] != [_of_entry(each) for each in entries[name]]:
            yield said("account {account}: its history is not what the record says", account=name)


def _recorded(merchant: Merchant) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(merchant.facts).items() if name != "name"}
    return facts | {"state": merchant.state, "version": merchant.version, "merged_into": merchant.merged_into}


def _of_entry(what: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in what.items() if name != "changed"}
