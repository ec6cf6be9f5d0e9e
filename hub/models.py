"""The registry of models: exact bytes by their hash, released and withdrawn by the witness's signature alone (7).

R1  A campaign registers its artefact with the nodes' exact shares, so that the witness can make it again. Those of an
    encoder's rounds are kept as the rounds are opened.
R2  The hub proposes a release over the witness's link; the witness opens what the nodes sent, makes the model again,
    compares, and signs.
R3  The hub verifies that signature and what it is over, stores and logs it, and tells every party's feed.
R4  What has no valid signature of the enrolled witness is not served as released, whatever the database says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal, TypeAlias, cast

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from crypto.errors import CryptoError
from crypto.jws import verify_model
from crypto.wire.campaign import ModelRelease, ModelWithdrawal
from crypto.wire.link import ReleaseProposal, RoundShares, WithdrawalProposal
from crypto.wire.party import Party
from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import ModelNotReleasedError, ModelStateError, NotFoundError, PeerError, ReleaseError
from hub.feed import Feed
from hub.log import AuditLog, Fact
from hub.parties import PartyBook
from hub.peers import PeerLinks
from hub.tables.campaigns import EncoderShareRow
from hub.tables.models import ModelRow, ModelShareRow, ModelSignatureRow
from models.artefact import ModelArtefact
from models.card import model_card

Scope: TypeAlias = Literal["evaluation", "release"]
Event: TypeAlias = Literal["model-release", "model-withdrawal"]
Status: TypeAlias = Literal["registered", "evaluation", "release", "withdrawn"]
RELEASED: frozenset[Status] = frozenset({"evaluation", "release"})
WITHDRAWAL = "withdrawal"
WITNESS_TIMEOUT_S = 120.0
"""Opening and fitting a large table again takes the witness seconds; its machine may be slow."""


@dataclass(frozen=True)
class ModelSummary:
    """What lists show of a model."""

    model_id: str
    model_type: str
    campaign_id: str
    status: Status
    registered_at: datetime


class ModelRegistry:
    """The hub's models.

    Args:
        db, log, feed, parties, clock: the hub's.
        hub_id: the actor of registrations in the log.
        links: gives the links when they are needed.
    """

    def __init__(
        self,
        db: Database,
        log: AuditLog,
        feed: Feed,
        parties: PartyBook,
        *,
        hub_id: str,
        clock: Clock,
        links: Callable[[], PeerLinks],
    ) -> None:
        self._db = db
        self._log = log
        self._feed = feed
        self._parties = parties
        self._hub_id = hub_id
        self._clock = clock
        self._links = links
        self._proposing = threading.Lock()

    def register(
        self, artefact: bytes, *, campaign_id: str, attempt: str | None, shares: Mapping[str, bytes] | None = None
    ) -> str:
        """R1: store an artefact and return its id; the same bytes again change nothing.

        Args:
            artefact: canonical bytes of a `ModelArtefact`.
            campaign_id: where it comes from.
            attempt: whose opened sum it was made from.
            shares: party → exact share bytes of that attempt.

        Raises:
            ArtefactError: the bytes are no artefact, or its points break the bounds.
            ModelStateError: it says that it comes from another campaign.
        """
        model = ModelArtefact.from_bytes(artefact)
        if model.campaign != campaign_id:
            raise ModelStateError(
                f"The artefact is of campaign {model.campaign}.", field="campaign", remedy="Register it there."
            )
        with self._db.session() as session:
            if session.get(ModelRow, model.model_id) is not None:
                return model.model_id
            session.add(
                ModelRow(
                    model_id=model.model_id,
                    model_type=model.model_type,
                    campaign_id=campaign_id,
                    attempt=attempt,
                    artefact=artefact,
                    registered_at=seconds(self._clock()),
                )
            )
            session.flush()
            if shares:
                rows = [{"model_id": model.model_id, "party_id": p, "share": share} for p, share in shares.items()]
                session.execute(insert(ModelShareRow), rows)
            facts: dict[str, Fact] = {
                "model_id": model.model_id,
                "model_type": model.model_type,
                "campaign_id": campaign_id,
                "attempt": attempt,
                "table_sha256": model.table_digest,
            }
            self._log.append(session, "model-registered", self._hub_id, facts=facts)
        return model.model_id

    def release(self, model_id: str, scope: Scope) -> str:
        """R2, R3: have the witness release a model and return its JWS `model-release`.

        Raises:
            NotFoundError: no such model.
            ModelStateError: it was withdrawn, or is released already and only its evaluation is asked for.
            PeerError: the witness cannot be asked, or refuses, e.g. as its fit gives other points.
            ReleaseError, SignatureError: it signed something else, or did not sign.
        """
        with self._proposing:
            row = self._row(model_id)
            status = self.status(model_id)
            if status == scope:
                return self._token(model_id, scope)
            if status == "withdrawn" or (status, scope) == ("release", "evaluation"):
                raise ModelStateError(
                    f"The model is in state {status}.",
                    field="scope",
                    remedy="A withdrawn model stays withdrawn; a released one needs no evaluation scope.",
                )
            witness = self._witness()
            proposal = ReleaseProposal(
                artefact=row.artefact.decode(),
                attempt=row.attempt,
                scope=scope,
                shares=self._shares(model_id),
                rounds=self._rounds(row.attempt),
            )
            body = canonical_bytes(proposal)
            answer = self._links().request(witness.party_id, "release-model", body, WITNESS_TIMEOUT_S)
            token = answer.decode("ascii", "replace")
            _check_release(token, witness, row, scope)
            self._adopt(model_id, scope, token, witness)
        return token

    def withdraw(self, model_id: str, reason: str) -> str:
        """R2, R3: have the witness withdraw a model and return its JWS `model-withdrawal`.

        Raises:
            NotFoundError: no such model.
            ModelStateError: it was never released.
            PeerError, ReleaseError, SignatureError: as in `release`.
        """
        with self._proposing:
            self._row(model_id)
            status = self.status(model_id)
            if status == "withdrawn":
                return self._token(model_id, WITHDRAWAL)
            if status not in RELEASED:
                raise ModelStateError(
                    "The model was never released.", field="model_id", remedy="There is nothing to withdraw."
                )
            witness = self._witness()
            body = canonical_bytes(WithdrawalProposal(model_id=model_id, reason=reason))
            answer = self._links().request(witness.party_id, "withdraw-model", body, WITNESS_TIMEOUT_S)
            token = answer.decode("ascii", "replace")
            signed = verify_model(
                token, witness.sign_key, ModelWithdrawal, typ="model-withdrawal", kid=witness.party_id
            )
            if (signed.model_id, signed.reason) != (model_id, reason):
                raise ReleaseError("The witness signed another withdrawal.", party=witness.party_id)
            self._adopt(model_id, WITHDRAWAL, token, witness)
        return token

    def _adopt(self, model_id: str, kind: str, token: str, witness: Party) -> None:
        everybody = [party.party_id for party in self._parties.all()]
        event: Event = "model-withdrawal" if kind == WITHDRAWAL else "model-release"
        with self._db.session() as session:
            now = seconds(self._clock())
            found = _signature(session, model_id, kind)
            if found is None:
                session.add(ModelSignatureRow(model_id=model_id, kind=kind, token=token, received_at=now))
            else:  # by a witness whose key counts no more
                found.token, found.received_at = token, now
            facts: dict[str, Fact] = {"model_id": model_id}
            if kind != WITHDRAWAL:
                facts["scope"] = kind
            self._log.append(session, event, witness.party_id, facts=facts)
            self._feed.publish(session, everybody, event, token=token, model_id=model_id)
        self._links().notify_feed(everybody)

    def status(self, model_id: str) -> Status:
        """R4: say what the witness signed about a model; a withdrawal is final."""
        with self._db.reading() as session:
            return self._status(session, model_id)

    def _status(self, session: Session, model_id: str) -> Status:
        query = select(ModelSignatureRow).where(ModelSignatureRow.model_id == model_id)
        witness = self._parties.witness()
        kinds = {row.kind for row in session.scalars(query) if witness and _valid(row, witness)}
        if WITHDRAWAL in kinds:
            return "withdrawn"
        return "release" if "release" in kinds else "evaluation" if "evaluation" in kinds else "registered"

    def all(self) -> tuple[ModelSummary, ...]:
        """Return all models, the newest first."""
        with self._db.reading() as session:
            query = select(ModelRow.model_id, ModelRow.model_type, ModelRow.campaign_id, ModelRow.registered_at)
            rows = session.execute(query.order_by(ModelRow.registered_at.desc(), ModelRow.model_id)).all()
            return tuple(
                ModelSummary(
                    model_id=model_id,
                    model_type=model_type,
                    campaign_id=campaign_id,
                    status=self._status(session, model_id),
                    registered_at=datetime.fromtimestamp(registered_at, UTC),
                )
                for model_id, model_type, campaign_id, registered_at in rows
            )

    def artefact(self, model_id: str, *, unreleased: bool = False) -> bytes:
        """Return a model's exact bytes. Withdrawn ones stay readable: they were published.

        Args:
            model_id: its hash.
            unreleased: hand it out without the witness's signature, to the administrator.

        Raises:
            NotFoundError: no such model.
            ModelNotReleasedError: the witness has not signed for it.
        """
        row = self._row(model_id)
        if not unreleased and self.status(model_id) == "registered":
            raise _not_released(model_id)
        return row.artefact

    def release_token(self, model_id: str) -> str:
        """Return the witness's newest word on a model: its withdrawal, release or release for evaluation.

        Raises:
            NotFoundError: no such model.
            ModelNotReleasedError: the witness has not signed for it.
        """
        self._row(model_id)
        status = self.status(model_id)
        if status == "registered":
            raise _not_released(model_id)
        return self._token(model_id, WITHDRAWAL if status == "withdrawn" else status)

    def attempt_of(self, model_id: str) -> str | None:
        """Return the attempt that a model came from; NotFoundError where there is no such model."""
        return self._row(model_id).attempt

    def card(self, model_id: str, language: str, *, unreleased: bool = False) -> str:
        """Return a model's card in Markdown; raises as `artefact`."""
        return model_card(ModelArtefact.from_bytes(self.artefact(model_id, unreleased=unreleased)), language)

    def _row(self, model_id: str) -> ModelRow:
        with self._db.reading() as session:
            row = session.get(ModelRow, model_id)
        if row is None:
            raise NotFoundError("There is no such model.", field="model_id", remedy="See GET /v1/models.")
        return row

    def _shares(self, model_id: str) -> dict[str, bytes]:
        query = select(ModelShareRow.party_id, ModelShareRow.share).where(ModelShareRow.model_id == model_id)
        with self._db.reading() as session:
            return {row.party_id: row.share for row in session.execute(query)}

    def _rounds(self, run: str | None) -> tuple[RoundShares, ...]:
        """What the rounds of an encoder run were opened from, in order; nothing for other attempts."""
        query = select(EncoderShareRow).where(EncoderShareRow.run == run).order_by(EncoderShareRow.round)
        with self._db.reading() as session:
            rows = session.scalars(query).all()
        rounds = (list(group) for _, group in groupby(rows, key=lambda row: row.attempt))
        return tuple(
            RoundShares(
                attempt=each[0].attempt,
                shares={row.party_id: row.share for row in each},
                receipts={row.party_id: row.receipt for row in each},
            )
            for each in rounds
        )

    def _token(self, model_id: str, kind: str) -> str:
        with self._db.reading() as session:
            row = _signature(session, model_id, kind)
        if row is None:
            raise _not_released(model_id)
        return row.token

    def _witness(self) -> Party:
        witness = self._parties.witness()
        if witness is None:
            raise PeerError("No witness is enrolled.", remedy="Enrol the regulator's witness first.")
        return witness


def _signature(session: Session, model_id: str, kind: str) -> ModelSignatureRow | None:
    query = select(ModelSignatureRow).where(ModelSignatureRow.model_id == model_id, ModelSignatureRow.kind == kind)
    return session.scalar(query)


def _check_release(token: str, witness: Party, row: ModelRow, scope: Scope) -> None:
    """R3: the signature is the witness's and over this model, campaign, scope and table."""
    signed = verify_model(token, witness.sign_key, ModelRelease, typ="model-release", kid=witness.party_id)
    digest = ModelArtefact.from_bytes(row.artefact).table_digest
    expected = (row.model_id, row.campaign_id, scope, None if digest is None else bytes.fromhex(digest))
    if (signed.model_id, signed.campaign_id, signed.scope, signed.table_sha256) != expected:
        raise ReleaseError(
            "The witness signed another release than was proposed.",
            party=witness.party_id,
            remedy="Look at the witness's own log; the model stays unreleased.",
        )


def _valid(row: ModelSignatureRow, witness: Party) -> bool:
    try:
        if row.kind == WITHDRAWAL:
            withdrawal = verify_model(
                row.token, witness.sign_key, ModelWithdrawal, typ="model-withdrawal", kid=witness.party_id
            )
            return withdrawal.model_id == row.model_id
        release = verify_model(row.token, witness.sign_key, ModelRelease, typ="model-release", kid=witness.party_id)
        return (release.model_id, release.scope) == (row.model_id, cast(Scope, row.kind))
    except CryptoError:
        return False


def _not_released(model_id: str) -> ModelNotReleasedError:
    return ModelNotReleasedError(
        f"The witness has not released {model_id}.",
        field="model_id",
        remedy="The hub's operator asks for it with `digua-hub model release`.",
    )
