"""The consented score of an application: asked for at the platform's gateway, shown to the bank, and soon deleted.

The merchant signs a consent for this bank's application on its own page. Once it has, the score is asked for under it
and kept until the bank has decided (`hub.platform.financing_batch`), or for `KEEP` at most. Whenever the bank looks at
it, the consent is looked at first: what was revoked is shown no more, and deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from pydantic import BaseModel, ConfigDict
from sqlalchemy import delete

from hub.clock import seconds
from hub.platform.financing_batch import forget
from hub.platform.financing_book import FinancingBook, Standing
from hub.platform.financing_orders import End, Score
from hub.platform.financing_states import State
from hub.platform.gateway import Consents, IdType, Request, ScoreFound
from hub.platform.lending import Lending
from hub.platform.lending_errors import ConsentMissingError, FinancingStateError
from hub.platform.products import Band
from hub.platform.tables.lending import ScoreRow

TEMPLATE = "loan"
KEEP = timedelta(days=30)
_REFUSED = frozenset({"refused", "expired", "withdrawn", "revoked"})


class ShownScore(BaseModel):
    """A score as a bank sees it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    score: int
    pd: float
    band: Band
    reasons: tuple[str, ...]
    model_id: str


@dataclass(frozen=True)
class Borrower:
    """A merchant as the gateway knows it; none of it is stored here.

    Attributes:
        identifier, id_type: plain.
    """

    identifier: str
    id_type: IdType


class FinancingScores:
    """Scores of applications."""

    def __init__(self, lending: Lending, financings: FinancingBook, consents: Consents, *, own_party: str) -> None:
        self._its = lending
        self._financings = financings
        self._consents = consents
        self._own_party = own_party

    def ask(self, financing_id: str, borrower: Borrower, *, actor: str) -> Request:
        """Ask the merchant for its consent to a score for this application; again, it is the same request.

        Raises:
            FinancingStateError: it is past that.
        """
        standing = self._financings.get(financing_id)
        _require(standing, State.APPLIED)
        bank = standing.financing.bank
        asked = self._consents.ask(
            borrower.identifier,
            TEMPLATE,
            {"recipients": [self._own_party, bank] if bank != self._own_party else [bank]},
            key=f"financing-{financing_id}",
            id_type=borrower.id_type,
        )
        with self._its.db.session() as session:
            row = session.get(ScoreRow, financing_id)
            if row is None or row.request_id != asked.request_id:
                if row is not None:
                    session.delete(row)
                    session.flush()
                until = seconds(self._its.clock() + KEEP)
                session.add(ScoreRow(financing_id=financing_id, request_id=asked.request_id, keep_until=until))
                self._its.audit(session, actor, "score-ask", financing_id, {"request": asked.request_id})
        return asked

    def refresh(self, financing_id: str, borrower: Borrower) -> Standing:
        """Look whether the merchant has consented; then the score is fetched, and the application is scored.

        Where it refused or revoked, the application is withdrawn in its name: without a score the bank has none to
        decide on.
        """
        standing = self._financings.get(financing_id)
        request_id = self._request_of(financing_id)
        if standing.financing.state != State.APPLIED or request_id is None:
            return standing
        word = self._consents.standing(request_id)
        bank, reference = standing.financing.bank, standing.reference
        if word in _REFUSED:
            self._forget(financing_id)
            end = End(step="withdraw", reference=reference, on=self._its.today(), reason=f"consent {word}")
            return self._financings.execute(bank, "platform", [end])[0]
        if word != "given" or not self._consents.usable(borrower.identifier, request_id):
            return standing
        found = self._consents.score(
            borrower.identifier, request_id, "credit-scoring", key=f"score-{financing_id}-{request_id}"[:128]
        )
        with self._its.db.session() as session:
            row = session.get(ScoreRow, financing_id)
            if row is None or row.request_id != request_id:
                raise _no_score()
            row.answer = _document(found)
            row.keep_until = seconds(self._its.clock() + KEEP)
            return self._financings.within(session, bank, "platform", [Score(reference=reference)])[0]

    def show(self, financing_id: str, bank: str, borrower: Borrower, *, actor: str) -> ShownScore:
        """Return the score to the bank, and write down that it was shown.

        Raises:
            FinancingUnknownError: it is not this bank's.
            ConsentMissingError: there is no score (any more), or the consent was revoked meanwhile.
        """
        self._financings.get(financing_id, bank=bank)
        request_id = self._request_of(financing_id)
        if request_id is None:
            raise _no_score()
        if not self._consents.usable(borrower.identifier, request_id):
            self._forget(financing_id)
            raise _no_score()
        with self._its.db.session() as session:
            row = session.get(ScoreRow, financing_id)
            if row is None or row.answer is None or row.keep_until < seconds(self._its.clock()):
                raise _no_score()
            self._its.audit(session, actor, "score-show", financing_id, {})
            return ShownScore.model_validate_json(row.answer)

    def sweep(self) -> int:
        """Delete what is past its time; returns how many."""
        now = seconds(self._its.clock())
        with self._its.db.session() as session:
            self._its.db.overwrite_deleted(session)
            gone = session.execute(
                delete(ScoreRow).where(ScoreRow.keep_until < now).returning(ScoreRow.financing_id)
            ).all()
            for (financing_id,) in gone:
                self._its.audit(session, "platform", "score-delete", financing_id, {})
        return len(gone)

    def _request_of(self, financing_id: str) -> str | None:
        with self._its.db.reading() as session:
            row = session.get(ScoreRow, financing_id)
            return None if row is None else row.request_id

    def _forget(self, financing_id: str) -> None:
        with self._its.db.session() as session:
            self._its.db.overwrite_deleted(session)
            forget(session, self._its, [financing_id])


def _require(standing: Standing, state: State) -> None:
    if standing.financing.state != state:
        raise FinancingStateError(
            f"The financing is {standing.financing.state}: no score is asked for.",
            field="financing_id",
            remedy="A score belongs to an application that was not decided yet.",
        )


def _no_score() -> ConsentMissingError:
    return ConsentMissingError(
        "There is no score of this application under a consent that holds.",
        field="financing_id",
        remedy="Ask the merchant for its consent; a score is deleted once the bank has decided.",
    )


def _document(found: ScoreFound) -> str:
    shown = ShownScore(score=found.score, pd=found.pd, band=found.band, reasons=found.reasons, model_id=found.model_id)
    return shown.model_dump_json()
