"""What the pages of batches show: a file checked row by row before anybody is asked, progress, and former batches."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from crypto.errors import IdentifierError
from crypto.identifiers import IdentifierType, normalise
from crypto.wire.consent import Purpose
from models.i18n import language_of
from models.web.problems import PageProblem
from nodes.batch_book import AGAIN, MAX_BATCH, BatchProgress
from nodes.batch_files import result_lines
from nodes.enquiries import Enquiry, Outcome
from nodes.errors import BatchBusy
from nodes.gateway_batches import BatchDesk
from nodes.services import Services
from nodes.web.bank_scores import form_key
from nodes.web.bank_words import PURPOSES, moment, refused, say

MAX_FILE = 16 << 20
MAX_SHOWN = 20
_CONSENT_ID = re.compile(r"[a-f0-9]{32}")


@dataclass(frozen=True)
class RowProblem:
    """What is wrong with one row; row 1 is the one after the names of the columns. No value is shown."""

    row: int
    column: str
    text: str


@dataclass(frozen=True)
class CheckedFile:
    """Merchants of a file, or what is wrong with it.

    Attributes:
        problems: the first few of `wrong` rows.
        refusal: why it cannot be read at all.
    """

    enquiries: tuple[Enquiry, ...] = ()
    problems: tuple[RowProblem, ...] = ()
    wrong: int = 0
    refusal: PageProblem | None = None

    @property
    def ready(self) -> bool:
        """Whether it may be handed in."""
        return self.refusal is None and not self.wrong


@dataclass(frozen=True)
class BatchLine:
    """A batch as the list and its own page show it; `again` merchants could be asked again."""

    batch_id: str
    state: str
    purpose: str
    model_id: str
    total: int
    done: int
    scored: int
    refused: int
    again: int
    reasons: tuple[tuple[PageProblem, int], ...]
    created: str
    finished: str

    def as_json(self) -> dict[str, object]:
        """What the page asks for while the batch runs."""
        return {
            "state": self.state,
            "total": self.total,
            "done": self.done,
            "scored": self.scored,
            "refused": self.refused,
        }


class FileDesk:
    """Takes files of merchants, and shows what became of them.

    Args:
        services: the node's.
        desk: works on batches.
    """

    def __init__(self, services: Services, desk: BatchDesk) -> None:
        self._services = services
        self._desk = desk

    def hand_in(
        self, form: str, person: str, data: bytes, *, purpose: Purpose, model_id: str | None, lang: str
    ) -> str | CheckedFile:
        """Store a file's merchants to be asked about; the same form returns the batch that it made.

        Returns:
            The batch's id; or what is wrong with the file, and then nobody is asked.

        Raises:
            BatchError, PolicyRefusal: the form was changed after it had been sent, or there is no such model.
        """
        model = self._services.enquiries.open_model(model_id)
        checked = checked_file(data, model.schema.id.type, lang)
        if not checked.ready:
            return checked
        made = self._services.batches.create(
            iter(checked.enquiries),
            source_sha256=hashlib.sha256(data).hexdigest(),
            purpose=purpose,
            model_id=model.model_id,
            key=form_key("file", form, person),
        )
        self._desk.wake()
        return made

    def line(self, batch_id: str, lang: str) -> BatchLine:
        """How far a batch is.

        Raises:
            BatchUnknown: there is none of this id.
        """
        return batch_line(self._services.batches.progress(batch_id), lang)

    def lines(self, *, limit: int, offset: int, lang: str) -> list[BatchLine]:
        """A page of the batches, the newest first."""
        return [self.line(each, lang) for each in self._services.batches.recent(limit, offset=offset)]

    def count(self) -> int:
        """How many batches there are."""
        return self._services.batches.count()

    def pause(self, batch_id: str) -> None:
        """Ask nobody further."""
        self._services.batches.pause(batch_id)

    def resume(self, batch_id: str) -> None:
        """Go on."""
        self._services.batches.resume(batch_id)
        self._desk.wake()

    def retry(self, batch_id: str) -> None:
        """Ask again about those whose sources were away or whose answers expired."""
        self._services.batches.ask_again(batch_id)
        self._desk.wake()

    def forget(self, batch_id: str) -> None:
        """Delete a batch with its results.

        Raises:
            BatchBusy: it is worked on; pause it first.
        """
        self._services.batches.forget(batch_id)

    def results(self, batch_id: str, lang: str) -> Iterator[str]:
        """The outcomes as CSV, names of columns and reasons in a language.

        Raises:
            BatchUnknown, BatchBusy: there is none of this id, or it has not finished.
        """
        if self._services.batches.progress(batch_id).state != "finished":
            raise BatchBusy("the batch has not finished", field="batch_id", remedy="wait until it has finished")
        language = language_of(lang)

        def sentences(outcome: Outcome) -> list[str]:
            return [] if outcome.answer is None else self._services.enquiries.reason_texts(outcome.answer, language)

        return result_lines(map(_harmless, self._services.batches.outcomes(batch_id)), language, sentences)


def checked_file(data: bytes, id_type: IdentifierType, lang: str) -> CheckedFile:
    """Read a CSV file of merchants and look for everything that is wrong with it at once.

    Args:
        data: UTF-8, with a column `id` and perhaps `consent_id`.
        id_type: of the identifiers.
        lang: of texts.
    """

    def unreadable(text: str, **params: object) -> CheckedFile:
        return CheckedFile(refusal=refused("batch-invalid", lang, detail=say(lang, text, **params)))

    if len(data) > MAX_FILE:
        return unreadable("The file is larger than {size} MiB.", size=MAX_FILE >> 20)
    try:
        lines = io.StringIO(data.decode("utf-8-sig"), newline="")
    except UnicodeDecodeError:
        return unreadable("The file is not UTF-8. In a spreadsheet, save it as “CSV UTF-8”.")
    rows = csv.DictReader(lines, strict=True)
    found = _Rows(id_type, lang)
    try:
        if "id" not in (rows.fieldnames or ()):
            return unreadable("The first row has no column named id.")
        for number, row in enumerate(rows, start=1):
            found.add(number, row.get("id"), row.get("consent_id"))
            if number > MAX_BATCH:
                return unreadable("The file has more than {rows} rows.", rows=f"{MAX_BATCH:,}")
    except csv.Error:
        return unreadable(
            "After row {row} the file is no CSV: check its quotes.", row=len(found.enquiries) + found.wrong
        )
    if not found.enquiries and not found.wrong:
        return unreadable("The file names no merchants.")
    return CheckedFile(tuple(found.enquiries), tuple(found.problems), found.wrong)


class _Rows:
    """Rows looked at so far."""

    def __init__(self, id_type: IdentifierType, lang: str) -> None:
        self.enquiries: list[Enquiry] = []
        self.problems: list[RowProblem] = []
        self.wrong = 0
        self._id_type, self._lang = id_type, lang
        self._first: dict[str, int] = {}

    def add(self, number: int, merchant: str | None, consent_id: str | None) -> None:
        identifier, consent = (merchant or "").strip(), (consent_id or "").strip()
        if not identifier:
            self._refuse(number, "id", say(self._lang, "is empty"))
            return
        try:
            name = normalise(self._id_type, identifier)
        except IdentifierError as problem:
            self._refuse(number, "id", say(self._lang, problem.wrong, number=problem.number))
            return
        earlier = self._first.setdefault(name, number)
        if earlier != number:
            self._refuse(number, "id", say(self._lang, "the merchant is already in row {row}", row=earlier))
        elif consent and not _CONSENT_ID.fullmatch(consent):
            self._refuse(number, "consent_id", say(self._lang, "is no consent's number (32 hexadecimal digits)"))
        else:
            self.enquiries.append(Enquiry(identifier, consent or None))

    def _refuse(self, row: int, column: str, text: str) -> None:
        self.wrong += 1
        if len(self.problems) < MAX_SHOWN:
            self.problems.append(RowProblem(row, column, text))


def batch_line(progress: BatchProgress, lang: str) -> BatchLine:
    """How far a batch is, in words."""
    return BatchLine(
        batch_id=progress.batch_id,
        state=progress.state,
        purpose=say(lang, PURPOSES[progress.purpose]),
        model_id=progress.model_id,
        total=progress.total,
        done=progress.done,
        scored=progress.scored,
        refused=progress.done - progress.scored,
        again=sum(number for code, number in progress.refused.items() if code in AGAIN),
        reasons=tuple(
            (refused(code, lang), number)
            for code, number in sorted(progress.refused.items(), key=lambda each: -each[1])
        ),
        created=moment(progress.created_at),
        finished="" if progress.finished_at is None else moment(progress.finished_at),
    )


def _harmless(outcome: Outcome) -> Outcome:
    """An identifier that a spreadsheet would take for a formula gets an apostrophe before it."""
    if outcome.id[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return Outcome("'" + outcome.id, outcome.answer, outcome.code, outcome.detail)
    return outcome
