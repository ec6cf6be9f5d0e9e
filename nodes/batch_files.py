"""Batches as files: merchants read from CSV, outcomes written as CSV; neither is ever whole in memory."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from models.i18n import Language, catalogue, title_of
from nodes.enquiries import Enquiry, Outcome
from nodes.errors import BatchError

COLUMNS = ("id", "score", "pd", "band", "reasons", "code", "party", "meaning", "log_entry")
"""Names of the results' columns; in Chinese they are those of the catalogue."""
_CONSENT_ID = re.compile(r"[a-f0-9]{32}")
_BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file.

    Raises:
        BatchError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise _unreadable(str(path), problem.strerror or "") from problem


def read_file(path: Path) -> Iterator[Enquiry]:
    """Merchants of a CSV file with a column `id` and perhaps `consent_id`, in order.

    Raises:
        BatchError: it cannot be read, or lacks the column; the message names the row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from read_rows(file, str(path))
    except OSError as problem:
        raise _unreadable(str(path), problem.strerror or "") from problem


def read_rows(lines: Iterable[str], name: str) -> Iterator[Enquiry]:
    """As `read_file`, from lines of text."""
    rows = csv.DictReader(lines, strict=True)
    try:
        if "id" not in (rows.fieldnames or ()):
            raise BatchError(f"{name} has no column id", field="id", remedy="name one merchant a row in a column id")
        for number, row in enumerate(rows, start=1):
            merchant, consent_id = ((row.get(column) or "").strip() for column in ("id", "consent_id"))
            if not merchant:
                raise BatchError(f"{name}: row {number}, column id: is empty", field="id", remedy="fill or delete it")
            if consent_id and not _CONSENT_ID.fullmatch(consent_id):
                raise BatchError(
                    f"{name}: row {number}, column consent_id: is no consent's id",
                    field="consent_id",
                    remedy="give its 32 hexadecimal digits, or leave it empty for the newest consent",
                )
            yield Enquiry(merchant, consent_id or None)
    except (UnicodeDecodeError, csv.Error) as problem:
        raise _unreadable(name, str(problem)) from problem


def result_lines(
    outcomes: Iterable[Outcome], lang: Language, sentences: Callable[[Outcome], list[str]]
) -> Iterator[str]:
    """Lines of the results' CSV, the names of the columns first.

    Args:
        outcomes: in order.
        lang: of the columns' names, of reasons and of what codes mean. Chinese begins with a byte order mark, without
            which spreadsheets take it for GBK.
        sentences: an outcome's reasons as sentences in that language.
    """
    texts = catalogue("nodes")
    names = [texts.translate(lang, f"column {name}") if lang == "zh" else name for name in COLUMNS]
    yield ("\ufeff" if lang == "zh" else "") + _line(names)
    for outcome in outcomes:
        yield _line(_cells(outcome, lang, sentences))


def write_results(lines: Iterable[str], path: Path) -> None:
    """Write a file whole or not at all.

    Raises:
        BatchError: it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as problem:
        partial.unlink(missing_ok=True)
        raise BatchError(
            f"{path} cannot be written: {problem.strerror}", field="out", remedy="give another path"
        ) from problem


def _cells(outcome: Outcome, lang: Language, sentences: Callable[[Outcome], list[str]]) -> list[Any]:
    answer = outcome.answer
    refusals: dict[str, str] = {} if answer is None else dict(answer.refusals)
    if outcome.code is not None and not refusals:
        refusals = {"": outcome.code}
    codes = list(dict.fromkeys(refusals.values()))
    meaning = [title_of(code, lang, catalogue("nodes")) or code for code in codes]
    joined = "；" if lang == "zh" else "; "
    return [
        outcome.id,
        None if answer is None else answer.score,
        None if answer is None or answer.pd is None else f"{answer.pd:.6f}",
        None if answer is None else answer.band,
        joined.join(sentences(outcome)),
        ";".join(codes),
        ";".join(party for party in refusals if party),
        joined.join(meaning),
        None if answer is None or answer.proof is None else answer.proof.index,
    ]


def _line(cells: Iterable[Any]) -> str:
    buffer: IO[str] = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerow(["" if cell is None else cell for cell in cells])
    buffer.seek(0)
    return buffer.read()


def _unreadable(name: str, what: str) -> BatchError:
    return BatchError(f"{name} cannot be read as CSV: {what}", field="file", remedy="give a CSV file in UTF-8")
