"""The keys of hub and witness as this node follows them from the pinned ones (docs/protocol.md, 0).

N1  Statements come with the link's welcome and with the feed, before anything that the new key signed.
N2  One that continues the line from the pinned key is kept; the line is made anew from what is kept at every start.
N3  Anything else is refused and kept apart: a second successor, or one that the old key did not sign. The line stays as
    it is; `digua-node doctor` shows it until the pinned key is changed by hand (`digua-node trust-hub`).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import delete, func, select

from crypto.errors import CryptoError, SuccessionError
from crypto.key_line import KeyLine
from crypto.succession import line_of, read_succession
from crypto.wire.succession import Succession
from nodes.clock import Clock, system_clock
from nodes.config import TrustConfig
from nodes.store import Store
from nodes.tables.successions import RefusedSuccessionRow, SuccessionRow

MAX_REFUSED = 50
_LOG = structlog.get_logger("nodes.successions")


@dataclass(frozen=True)
class RefusedSuccession:
    """A statement that was refused: whose key it names, the key (32 bytes), why, and when it came (Unix seconds)."""

    party_id: str
    new_key: bytes
    code: str
    first: int
    last: int


class SuccessionBook:
    """The lines of keys of hub and witness, from the pinned ones on.

    Raises:
        SuccessionError, SignatureError: what the store keeps was altered.
    """

    def __init__(self, store: Store, trust: TrustConfig, *, clock: Clock = system_clock) -> None:
        self._store = store
        self._clock = clock
        self._pins = {trust.hub_id: trust.hub_sign_key, trust.witness_id: trust.witness_sign_key}
        self._lock = threading.Lock()
        with store.reading() as session:
            self._tokens = list(session.scalars(select(SuccessionRow.token)))
        self._lines = {party: self._line(party, self._tokens) for party in self._pins}

    def line(self, party_id: str) -> KeyLine:
        """The keys of hub or witness."""
        return self._lines[party_id]

    @property
    def tokens(self) -> tuple[str, ...]:
        """All statements that are followed."""
        return tuple(self._tokens)

    def learn(self, tokens: Sequence[str]) -> None:
        """N2, N3: take statements in, oldest first; those that were refused are kept apart.

        Raises:
            SuccessionError: one is refused; all that can be followed are taken nevertheless.
        """
        refusal: CryptoError | None = None
        with self._lock:
            for token in tokens:
                if token not in self._tokens:
                    try:
                        self._take(token)
                    except CryptoError as error:
                        refusal = error
        if refusal is not None:
            raise SuccessionError(refusal.message, field="successions", remedy=refusal.remedy) from refusal

    def refused(self) -> tuple[RefusedSuccession, ...]:
        """Statements that were refused, the newest last."""
        with self._store.reading() as session:
            rows = session.scalars(select(RefusedSuccessionRow).order_by(RefusedSuccessionRow.first)).all()
        return tuple(
            RefusedSuccession(row.party_id, row.new_key, row.code, row.first, row.last)
            for row in rows
            if row.new_key not in self._lines[row.party_id].publics
        )

    @staticmethod
    def concerns(token: str, line: KeyLine) -> bool:
        """Whether a statement is about two keys of a line."""
        said = read_succession(token).said
        return {said.old_key, said.new_key} <= set(line.publics)

    @staticmethod
    def forget(store: Store, party_id: str) -> None:
        """Forget what was followed and refused of a party whose pinned key is changed by hand."""
        with store.session() as session:
            session.execute(delete(SuccessionRow).where(SuccessionRow.party_id == party_id))
            session.execute(delete(RefusedSuccessionRow).where(RefusedSuccessionRow.party_id == party_id))

    def _line(self, party_id: str, tokens: Sequence[str]) -> KeyLine:
        return line_of(self._pins[party_id], tokens, party_id)

    def _take(self, token: str) -> None:
        read = read_succession(token)
        party_id, new = read.said.party_id, read.said.new_key
        if party_id not in self._pins:
            raise SuccessionError(
                f"{party_id} is neither this node's hub nor its witness.", field="party_id", remedy="Do not follow it."
            )
        try:
            line = self._line(party_id, [*self._tokens, token])
            _check_reached(line, read.said)
        except SuccessionError as error:
            self._keep_apart(token, party_id, new, error)
            raise
        if any(read_succession(known).said == read.said for known in self._tokens):
            return
        with self._store.session() as session:
            row = SuccessionRow(party_id=party_id, new_key=new, token=token, learned_at=self._now())
            session.merge(row)
        self._tokens.append(token)
        self._lines[party_id] = line
        _LOG.info("key-succession", party=party_id)

    def _keep_apart(self, token: str, party_id: str, new: bytes, error: CryptoError) -> None:
        digest, now = hashlib.sha256(token.encode()).digest(), self._now()
        with self._store.session() as session:
            row = session.get(RefusedSuccessionRow, digest)
            if row is not None:
                row.last = now
                return
            if (session.scalar(select(func.count()).select_from(RefusedSuccessionRow)) or 0) >= MAX_REFUSED:
                return  # anybody can make more of them
            session.add(
                RefusedSuccessionRow(
                    token_sha256=digest,
                    party_id=party_id,
                    new_key=new,
                    code=error.code,
                    token=token,
                    first=now,
                    last=now,
                )
            )
        _LOG.error("key-succession-refused", party=party_id, code=error.code)

    def _now(self) -> int:
        return int(self._clock().timestamp())


def _check_reached(line: KeyLine, said: Succession) -> None:
    if not {said.new_key, said.old_key} <= set(line.publics):
        raise SuccessionError(
            f"No key that this node follows signed that {said.party_id} has another one.",
            field="old_key",
            remedy="Telephone its operator; if the old key is lost, pin the new one by hand.",
        )
