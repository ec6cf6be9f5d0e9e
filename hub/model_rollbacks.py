"""Rollback of a line of models to an older version, or forward again, under the witness's signature (7).

Z1  The hub proposes it: the version to use, and the newer ones that it is used instead of.
Z4  What the witness signed (Z2, Z3) is what was proposed, and newer than all others: it is stored and logged, and told
    to every party's feed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, select

from crypto.canonical import canonical_bytes
from crypto.wire.campaign import ModelRollback
from crypto.wire.link import RollbackProposal
from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import NotFoundError, PeerError
from hub.feed import Feed
from hub.log import AuditLog, Fact
from hub.model_errors import ModelStateError, ReleaseError
from hub.models import WITNESS_TIMEOUT_S, ModelRegistry, ModelSummary
from hub.parties import PartyBook, Witness
from hub.peers import PeerLinks
from hub.tables.models import ModelRollbackRow


@dataclass(frozen=True)
class RolledBack:
    """A line after a rollback.

    Attributes:
        over: models that this rollback took out of use; none where the version was in use already.
        token: the witness's JWS; None where there was nothing to sign.
    """

    line: str
    version: int
    model_id: str
    over: tuple[str, ...] = ()
    token: str | None = None


class ModelRollbacks:
    """Rolls lines of models back.

    Args:
        db, log, feed, parties, models, clock: the hub's.
        links: gives the links when they are needed.
    """

    def __init__(
        self,
        db: Database,
        log: AuditLog,
        feed: Feed,
        parties: PartyBook,
        models: ModelRegistry,
        *,
        clock: Clock,
        links: Callable[[], PeerLinks],
    ) -> None:
        self._db = db
        self._log = log
        self._feed = feed
        self._parties = parties
        self._models = models
        self._clock = clock
        self._links = links
        self._proposing = threading.Lock()

    def roll_back(self, line: str, version: int, reason: str) -> RolledBack:
        """Z1, Z4: make a released version its line's current one. Once more it changes nothing.

        Raises:
            NotFoundError: no such line or version.
            ModelStateError: that version is not released, or was withdrawn.
            PeerError: the witness cannot be asked, or refuses.
            ReleaseError, SignatureError: it signed something else, an older serial, or did not sign.
        """
        with self._proposing, self._db.alone("model-words"):
            members = [each for each in self._models.all() if each.line == line]
            target = _member(members, line, version)
            if target.current:
                return RolledBack(line, version, target.model_id)
            newer = sorted(
                (each for each in members if each.version > version and each.status == "release"),
                key=lambda each: each.version,
            )
            witness = self._parties.witness()
            if witness is None:
                raise PeerError("No witness is enrolled.", remedy="Enrol the regulator's witness first.")
            over = tuple(each.model_id for each in newer)
            proposal = RollbackProposal(line=line, model_id=target.model_id, over=over, reason=reason)
            body = canonical_bytes(proposal)
            answer = self._links().request(witness.party_id, "rollback-model", body, WITNESS_TIMEOUT_S)
            token = answer.decode("ascii", "replace")
            signed = self._check(token, witness, proposal)
            self._adopt(token, signed, witness, target, newer)
        return RolledBack(line, version, target.model_id, over, token)

    def tokens(self) -> tuple[str, ...]:
        """All rollbacks that the witness signed, the oldest first."""
        with self._db.reading() as session:
            return tuple(session.scalars(select(ModelRollbackRow.token).order_by(ModelRollbackRow.serial)))

    def _check(self, token: str, witness: Witness, proposal: RollbackProposal) -> ModelRollback:
        """Z4."""
        signed = witness.dated(token, ModelRollback, typ="model-rollback")
        with self._db.reading() as session:
            newest = session.scalar(select(func.max(ModelRollbackRow.serial))) or 0
        expected = (proposal.line, proposal.model_id, proposal.over, proposal.reason)
        if (signed.line, signed.model_id, signed.over, signed.reason) != expected or signed.serial <= newest:
            raise ReleaseError(
                "The witness signed another rollback than was proposed, or an older one.",
                party=witness.party_id,
                remedy="Look at the witness's own log; the line stays as it was.",
            )
        return signed

    def _adopt(
        self, token: str, signed: ModelRollback, witness: Witness, target: ModelSummary, newer: list[ModelSummary]
    ) -> None:
        """Z4."""
        everybody = [party.party_id for party in self._parties.all()]
        with self._db.session() as session:
            now = seconds(self._clock())
            row = ModelRollbackRow(
                serial=signed.serial, line=signed.line, model_id=signed.model_id, token=token, received_at=now
            )
            session.add(row)
            facts: dict[str, Fact] = {
                "serial": signed.serial,
                "line": signed.line,
                "version": target.version,
                "model_id": target.model_id,
                "over": ", ".join(str(each.version) for each in newer),
            }
            self._log.append(session, "model-rollback", witness.party_id, facts=facts)
            self._feed.publish(session, everybody, "model-rollback", token=token, model_id=target.model_id)
        self._links().notify_feed(everybody)


def _member(members: list[ModelSummary], line: str, version: int) -> ModelSummary:
    target = next((each for each in members if each.version == version), None)
    if target is None:
        raise NotFoundError(f"There is no version {version} of {line}.", field="version", remedy="See GET /v1/models.")
    if target.status not in ("release", "rolled-back"):
        raise ModelStateError(
            f"Version {version} of {line} is in state {target.status}.",
            field="version",
            remedy="Roll back to a released version, or release this one first; a withdrawn one stays withdrawn.",
        )
    return target
