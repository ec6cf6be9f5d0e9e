"""Registered privacy notices as this node was told of them by its feed (docs/consent.md, 1).

P1  A statement verifies under the hub's key of the node's trust; it is kept exactly, and noted in the journal, so that
    `audit reconcile` shows one that the hub logged and withheld from this node, or told this node alone.
P2  Statements only ever add up: a replay changes nothing, and a second one under a serial that is taken is kept too
    (the stricter end counts, see `crypto.notices`) and noted as a contradiction.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.dated import verify_dated
from crypto.jws import peek_payload
from crypto.notices import NOTICE_TYPE, NoticeRegister
from crypto.wire.consent import FeedItem
from crypto.wire.notice import NoticeStatement
from nodes.errors import PolicyRefusal
from nodes.journal import Fact, Journal
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.notices import NoticeRow

_TOKENS = select(NoticeRow.token)
TAKEN, CONTRADICTED = "notice-taken", "notice-contradicted"


class Notices:
    """The node's register of notices."""

    def __init__(self, store: Store, roster: RosterBook, journal: Journal) -> None:
        self._store = store
        self._roster = roster
        self._journal = journal

    def apply(self, item: FeedItem) -> None:
        """P1, P2: take a statement of the feed.

        Raises:
            SignatureError: the hub did not sign it.
            PolicyRefusal: the item has no statement.
        """
        if item.token is None:
            raise PolicyRefusal(
                "feed-item-invalid", "a notice item has no statement", field="items", remedy="see the node's journal"
            )
        statement = verify_dated(
            item.token, self._roster.hub_keys, NoticeStatement, typ=NOTICE_TYPE, kid=self._roster.hub_id
        )
        sha256 = hashlib.sha256(peek_payload(item.token)).digest()
        with self._store.session() as session:
            if session.get(NoticeRow, sha256) is not None:
                return
            rival = session.scalar(select(NoticeRow.sha256).where(NoticeRow.serial == statement.serial))
            session.add(NoticeRow(sha256=sha256, serial=statement.serial, token=item.token))
            facts: dict[str, Fact] = {"serial": statement.serial, "sha256": sha256.hex()}
            self._journal.note(TAKEN, facts, session=session)
            if rival is not None:
                self._journal.note(CONTRADICTED, {**facts, "other": rival.hex()}, session=session)

    def register(self, session: Session | None = None) -> NoticeRegister:
        """All statements, in the caller's transaction where one is given."""
        if session is not None:
            return _register(session)
        with self._store.reading() as own:
            return _register(own)


def _register(session: Session) -> NoticeRegister:
    session.flush()
    tokens = session.connection().scalars(_TOKENS)
    return NoticeRegister(map(_statement, tokens))


@lru_cache(maxsize=256)
def _statement(token: str) -> NoticeStatement:
    """What a stored statement says: of its exact bytes, which were verified before they were stored."""
    return NoticeStatement.model_validate_json(peek_payload(token))
