"""The models that the witness released: verified, bounded, kept, and taken back when it says so (7).

B1  The release is signed by the pinned witness key; nothing that the hub says makes a model usable.
B2  The artefact's bytes hash to the id that was released.
B3  It is parsed strictly and its points stay within the published bounds (a span of at most 550).

A release is kept although its artefact cannot be fetched yet; it is then fetched when it is asked for. A withdrawal is
final, whenever it comes. A rollback is not (`nodes.rollbacks`).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import structlog
from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from crypto.dated import verify_dated
from crypto.wire.campaign import ModelRelease, ModelWithdrawal
from crypto.wire.consent import DataClass, FeedItem
from models.artefact import ModelArtefact
from models.errors import ArtefactError
from models.schema import Schema
from models.scorecard import Scorecard
from nodes.errors import PeerError, PolicyRefusal
from nodes.journal import Fact, Journal
from nodes.rollbacks import Place, Rollbacks
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.models import ModelRow

_LOG = structlog.get_logger("nodes.model_book")
_CACHED = 16
_STANDING = select(
    ModelRow.release, ModelRow.campaign_id, ModelRow.scope, ModelRow.issued_at, ModelRow.withdrawal
).where(ModelRow.model_id == bindparam("of"))

Scope = Literal["evaluation", "release"]


@dataclass(frozen=True)
class BookedModel:
    """A released model with its artefact.

    Attributes:
        scope: what the witness released it for.
        withdrawn: it took it back.
        rolled_back: another of its line is used instead.
    """

    model_id: str
    campaign_id: str
    scope: Scope
    issued_at: int
    withdrawn: bool
    artefact: ModelArtefact
    rolled_back: bool = False

    def same_as(self, other: BookedModel) -> bool:
        """Whether artefact and standing are those of another."""
        return self.artefact is other.artefact and (
            (self.campaign_id, self.scope, self.issued_at, self.withdrawn, self.rolled_back)
            == (other.campaign_id, other.scope, other.issued_at, other.withdrawn, other.rolled_back)
        )

    @property
    def released(self) -> bool:
        """Whether the witness let it out for scoring, and did not take it back."""
        return self.scope == "release" and not self.withdrawn

    @property
    def usable(self) -> bool:
        """Whether nodes answer with it."""
        return self.released and not self.rolled_back

    @cached_property
    def schema(self) -> Schema:
        """The campaign's schema."""
        return self.artefact.schema_of()

    @cached_property
    def card(self) -> Scorecard:
        """The scorecard; ArtefactError where this is an encoder."""
        return self.artefact.card()

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds whose data it uses."""
        if self.artefact.encoder is not None:
            return (self.artefact.encoder.kind,)
        return self.card.kinds

    def data_class(self, kind: str) -> DataClass:
        """The highest class of a kind's features."""
        return max(feature.spec.class_ for feature in self.schema.features(kind))


@dataclass(frozen=True)
class ListedModel:
    """A line of the list of models; `artefact` is None while it has not been fetched."""

    model_id: str
    campaign_id: str
    scope: Scope
    issued_at: int
    withdrawn: bool
    artefact: ModelArtefact | None
    rolled_back: bool = False

    @property
    def usable(self) -> bool:
        """Whether nodes answer with it."""
        return self.scope == "release" and not self.withdrawn and not self.rolled_back


class ModelBook:
    """Released models in the node's store."""

    def __init__(self, store: Store, roster: RosterBook, journal: Journal, fetch: Callable[[str], bytes]) -> None:
        """Args:
        store, roster, journal: the node's.
        fetch: model id → the artefact's bytes, from the hub; raises PeerError.
        """
        self._store = store
        self._roster = roster
        self._journal = journal
        self._fetch = fetch
        self._rollbacks = Rollbacks(store, roster, journal)
        self._lock = threading.Lock()
        self._parsed: dict[str, ModelArtefact] = {}
        self._booked: dict[str, BookedModel] = {}

    def apply(self, item: FeedItem) -> None:
        """Take a `model-release`, `model-withdrawal` or `model-rollback` of the feed.

        Raises:
            SignatureError: not signed by the pinned witness key.
            ArtefactError: the artefact is another, malformed, or breaks the bounds.
            PolicyRefusal: the item has no token, or is a rollback older than one that was taken.
        """
        if item.token is None:
            raise PolicyRefusal(
                "feed-item-invalid", f"the feed's item {item.seq} has no token", field="items", remedy="ask the hub"
            )
        if item.kind == "model-withdrawal":
            self._withdraw(item.token)
            return
        if item.kind == "model-rollback":
            self._rollbacks.take(item.token)
            return
        keys, witness = self._roster.arriving_witness_keys, self._roster.witness_id
        release = verify_dated(item.token, keys, ModelRelease, typ="model-release", kid=witness)
        self._record(release, item.token)
        try:
            self._artefact(release.model_id)
        except PeerError as problem:
            _LOG.warning("model-fetched-later", model=release.model_id, reason=str(problem))

    def opened(self, model_id: str) -> BookedModel | None:
        """As `get`, but where it stands may be as it was when it was last asked for: for its points alone."""
        return self._booked.get(model_id) or self.get(model_id)

    def get(self, model_id: str, *, session: Session | None = None) -> BookedModel | None:
        """A released model, whatever its scope; None if there is no release or its artefact cannot be had now.

        Where it stands is read each time, in the caller's transaction where one is given, which then fetches nothing;
        schema and scorecard are made once.

        Raises:
            ArtefactError: the hub's bytes are not the released model.
        """
        if session is None:
            with self._store.reading() as own:
                row, rolled_back = self._standing(model_id, own)
        else:
            row, rolled_back = self._standing(model_id, session)
        if row is None or row.release is None:
            return None
        try:
            artefact = self._artefact(model_id) if session is None else self._stored_artefact(model_id, session)
        except PeerError as problem:
            _LOG.warning("model-not-fetched", model=model_id, reason=str(problem))
            return None
        if artefact is None:
            return None
        booked = BookedModel(
            model_id=model_id,
            campaign_id=row.campaign_id or "",
            scope=cast("Scope", row.scope),
            issued_at=row.issued_at,
            withdrawn=row.withdrawal is not None,
            artefact=artefact,
            rolled_back=rolled_back,
        )
        with self._lock:
            known = self._booked.get(model_id)
            if known is not None and known.same_as(booked):
                return known
            while len(self._booked) >= _CACHED:
                self._booked.pop(next(iter(self._booked)))
            self._booked[model_id] = booked
        return booked

    def require(self, model_id: str) -> BookedModel:
        """A model that may be used.

        Raises:
            PolicyRefusal: `model-unknown`, `model-not-released` or `model-rolled-back`.
            ArtefactError: the hub's bytes are not the released model.
        """
        model = self.get(model_id)
        if model is None:
            raise PolicyRefusal(
                "model-unknown",
                f"this node has no released model {model_id}",
                field="model_id",
                remedy="take an id from the list of models",
            )
        if not model.released:
            raise PolicyRefusal(
                "model-not-released",
                f"model {model_id} is not released for scoring, or was withdrawn",
                field="model_id",
                remedy="take a released id from the list of models",
            )
        if model.rolled_back:
            raise PolicyRefusal(
                "model-rolled-back",
                f"the witness rolled model {model_id} back: another version is used instead",
                field="model_id",
                remedy="name no model, so that the one in use is taken, or take its id from the list of models",
            )
        return model

    def withdrawn(self, model_id: str) -> bool:
        """Whether the witness took a model back, as far as this node has heard."""
        row = self._row(model_id)
        return row is not None and row.withdrawal is not None

    def newest(self, model_type: Literal["scorecard", "encoder"] = "scorecard") -> BookedModel | None:
        """The usable model that was released, or rolled back to, last; None where there is none."""
        places = self._rollbacks.places()
        listed_ones = self.list()
        listed_ones.sort(key=lambda each: -max(each.issued_at, places.get(each.model_id, Place()).chosen_at))
        for listed in listed_ones:
            if not listed.usable:
                continue
            model = self.get(listed.model_id)
            if model is not None and model.artefact.model_type == model_type:
                return model
        return None

    def list(self) -> list[ListedModel]:
        """All releases, the newest first."""
        query = select(ModelRow).where(ModelRow.release.is_not(None))
        with self._store.reading() as session:
            rows = session.scalars(query.order_by(ModelRow.issued_at.desc(), ModelRow.arrived.desc())).all()
        places = self._rollbacks.places()
        return [
            ListedModel(
                model_id=row.model_id,
                campaign_id=row.campaign_id or "",
                scope=cast("Scope", row.scope),
                issued_at=row.issued_at,
                withdrawn=row.withdrawal is not None,
                artefact=None if row.artefact is None else self._parse(row.model_id, row.artefact),
                rolled_back=places.get(row.model_id, Place()).rolled_back,
            )
            for row in rows
        ]

    def _record(self, release: ModelRelease, token: str) -> None:
        """B1; `evaluation` does not replace `release`."""
        with self._store.session() as session:
            row = session.get(ModelRow, release.model_id)
            if row is None:
                row = ModelRow(model_id=release.model_id, issued_at=0, arrived=0, artefact=None, withdrawal=None)
                session.add(row)
            if row.scope == "release":
                return
            row.campaign_id, row.scope, row.release = release.campaign_id, release.scope, token
            row.issued_at = int(release.issued_at.timestamp())
            row.arrived = (session.scalar(select(func.max(ModelRow.arrived))) or 0) + 1
            facts: dict[str, Fact] = {
                "model_id": release.model_id,
                "campaign_id": release.campaign_id,
                "scope": release.scope,
                "assessment": None if release.assessment_sha256 is None else release.assessment_sha256.hex(),
            }
            self._journal.note("model-release", facts, session=session)

    def _withdraw(self, token: str) -> None:
        keys, witness = self._roster.arriving_witness_keys, self._roster.witness_id
        withdrawal = verify_dated(token, keys, ModelWithdrawal, typ="model-withdrawal", kid=witness)
        with self._store.session() as session:
            row = session.get(ModelRow, withdrawal.model_id)
            if row is None:
                moment = int(withdrawal.issued_at.timestamp())
                row = ModelRow(
                    model_id=withdrawal.model_id, issued_at=moment, arrived=0, artefact=None, withdrawal=None
                )
                session.add(row)
            if row.withdrawal is None:
                row.withdrawal = token
                self._journal.note("model-withdrawal", {"model_id": withdrawal.model_id}, session=session)

    def _standing(self, model_id: str, session: Session) -> tuple[Any, bool]:
        """The model's row without its artefact's bytes, or None; and whether it is rolled back."""
        session.flush()
        row = session.connection().execute(_STANDING, {"of": model_id}).first()
        return row, self._rollbacks.places(session).get(model_id, Place()).rolled_back

    def _stored_artefact(self, model_id: str, session: Session) -> ModelArtefact | None:
        with self._lock:
            known = self._parsed.get(model_id)
        if known is not None:
            return known
        data = session.scalar(select(ModelRow.artefact).where(ModelRow.model_id == model_id))
        return None if data is None else self._parse(model_id, data)

    def _row(self, model_id: str) -> ModelRow | None:
        with self._store.reading() as session:
            return session.get(ModelRow, model_id)

    def _artefact(self, model_id: str) -> ModelArtefact:
        """B2 and B3, before anything is stored."""
        with self._lock:
            known = self._parsed.get(model_id)
        if known is not None:
            return known
        row = self._row(model_id)
        data = row.artefact if row is not None and row.artefact is not None else self._fetch(model_id)
        artefact = self._parse(model_id, data)
        if row is not None and row.artefact is None:
            with self._store.session() as session:
                session.get_one(ModelRow, model_id).artefact = data
        return artefact

    def _parse(self, model_id: str, data: bytes) -> ModelArtefact:
        with self._lock:
            known = self._parsed.get(model_id)
        if known is not None:
            return known
        if model_id != f"sha256:{hashlib.sha256(data).hexdigest()}":
            raise ArtefactError(
                f"the artefact's bytes are not those of {model_id}",
                field="model_id",
                remedy="refuse the model and tell the hub's operator",
            )
        artefact = ModelArtefact.from_bytes(data)
        with self._lock:
            while len(self._parsed) >= _CACHED:
                self._parsed.pop(next(iter(self._parsed)))
            self._parsed[model_id] = artefact
        return artefact
