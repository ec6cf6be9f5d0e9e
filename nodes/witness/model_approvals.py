"""Which models the witness's owner lets out for scoring (docs/protocol.md, 7).

With `model_release: {approval: owner}` a release waits here for the owner's word, after the witness has made the model
again (W1–W5): what the owner looks at is what was trained. The owner's word is about one model id, its exact bytes.

The steps:

M1  A model that is proposed for release is kept, with what the owner needs to look at, and the hub is told to wait.
M2  The owner approves or refuses it; both are in the journal. A refusal can be taken back until the model is out.
M3  The hub proposes again; what is approved is signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.wire.assessment import ImpactAssessment
from models.artefact import ModelArtefact
from models.card_content import Assessment, CardFacts
from nodes.clock import Clock, system_clock
from nodes.errors import ConfigError, PolicyRefusal
from nodes.journal import Journal
from nodes.store import Store
from nodes.tables.witness import ProposedModelRow, SignedReleaseRow

Word = Literal["pending", "approved", "refused"]
State = Literal["pending", "approved", "refused", "evaluation", "release", "withdrawn"]


@dataclass(frozen=True)
class ProposedModel:
    """A model that the witness knows, and where it stands here."""

    model_id: str
    state: State
    artefact: ModelArtefact | None
    reason: str | None
    assessment: Assessment | None = None


class ModelApprovals:
    """The owner's decisions in the witness's store. Another process may make them at any time."""

    def __init__(self, store: Store, journal: Journal, *, clock: Clock = system_clock) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock

    def require(self, artefact: ModelArtefact, assessment: ImpactAssessment | None = None) -> None:
        """M1, M3: pass a model that the owner approved, keep any other for the owner to look at.

        Raises:
            PolicyRefusal: `approval-pending`, or `approval-refused` with the owner's reason.
        """
        with self._store.session() as session:
            row = session.get(ProposedModelRow, artefact.model_id)
            if row is None:
                row = ProposedModelRow(
                    model_id=artefact.model_id,
                    artefact=artefact.to_bytes(),
                    proposed_at=int(self._clock().timestamp()),
                    word="pending",
                    reason=None,
                    assessment=None,
                )
                session.add(row)
                self._journal.note("model-proposed", {"model_id": artefact.model_id}, session=session)
            row.assessment = None if assessment is None else assessment.model_dump_json()
            word, reason = row.word, row.reason
        if word == "refused":
            raise PolicyRefusal(
                "approval-refused",
                f"the witness's owner refused {artefact.model_id}: {reason}",
                field="model_id",
                remedy="speak with the witness's owner, or train another model",
            )
        if word != "approved":
            raise PolicyRefusal(
                "approval-pending",
                f"{artefact.model_id} was made again and waits for the word of the witness's owner",
                field="model_id",
                remedy="propose the release again when the witness's owner has approved the model",
            )

    def approve(self, model_id: str) -> None:
        """M2. The same word again changes nothing.

        Raises:
            ConfigError: no such model was proposed, or it was withdrawn.
        """
        self._decide(model_id, "approved", None)

    def refuse(self, model_id: str, reason: str) -> None:
        """M2, with a reason that the hub is told.

        Raises:
            ConfigError: no such model was proposed, or it is released or withdrawn already.
        """
        self._decide(model_id, "refused", reason)

    def list(self) -> list[ProposedModel]:
        """All models that were proposed or signed here: those that wait first, then the newest first."""
        with self._store.reading() as session:
            rows = {row.model_id: row for row in session.scalars(select(ProposedModelRow))}
            signed = {row.model_id for row in session.scalars(select(SignedReleaseRow))}
            found = [_proposed(session, model_id, rows.get(model_id)) for model_id in {*rows, *signed}]
        newest = {model_id: row.proposed_at for model_id, row in rows.items()}
        return sorted(found, key=lambda each: (each.state != "pending", -newest.get(each.model_id, 0), each.model_id))

    def artefact(self, model_id: str) -> ModelArtefact:
        """The model that the owner decides on; ConfigError where none was proposed under this id."""
        with self._store.reading() as session:
            return ModelArtefact.from_bytes(_row(session, model_id).artefact)

    def card_facts(self, model_id: str) -> CardFacts:
        """What its card is made from here; ConfigError where no model was proposed under this id."""
        with self._store.reading() as session:
            row = _row(session, model_id)
            return CardFacts(ModelArtefact.from_bytes(row.artefact), assessment=_assessment(row), complete=False)

    def _decide(self, model_id: str, word: Word, reason: str | None) -> None:
        with self._store.session() as session:
            row = _row(session, model_id)
            state = _signed_state(session, model_id)
            if state == "withdrawn" or (state == "release" and word == "refused"):
                raise ConfigError(
                    f"{model_id} is in state {state}",
                    field="model_id",
                    remedy="a withdrawn model stays withdrawn; a released one is taken back by a withdrawal",
                )
            if (row.word, row.reason) == (word, reason):
                return
            row.word, row.reason = word, reason
            self._journal.note(f"model-{word}", {"model_id": model_id, "reason": reason}, session=session)


def _row(session: Session, model_id: str) -> ProposedModelRow:
    row = session.get(ProposedModelRow, model_id)
    if row is None:
        raise ConfigError(
            f"no model {model_id} was proposed for release here",
            field="model_id",
            remedy="take an id from digua-node witness models",
        )
    return row


def _assessment(row: ProposedModelRow) -> Assessment | None:
    if row.assessment is None:
        return None
    found = ImpactAssessment.model_validate_json(row.assessment)
    return Assessment(**found.model_dump(exclude={"campaign_id"}))


def _signed_state(session: Session, model_id: str) -> Literal["evaluation", "release", "withdrawn"] | None:
    for scope in ("withdrawn", "release", "evaluation"):
        if session.get(SignedReleaseRow, (model_id, scope)) is not None:
            return scope
    return None


def _proposed(session: Session, model_id: str, row: ProposedModelRow | None) -> ProposedModel:
    signed = _signed_state(session, model_id)
    word: State = "pending" if row is None else cast("Word", row.word)
    final = signed in ("release", "withdrawn") or row is None
    return ProposedModel(
        model_id=model_id,
        state=signed if signed is not None and final else word,
        artefact=None if row is None else ModelArtefact.from_bytes(row.artefact),
        reason=None if row is None else row.reason,
        assessment=None if row is None else _assessment(row),
    )
