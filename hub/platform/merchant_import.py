"""Merchants from a CSV file: all of it or nothing, and every fault of every row in one report.

A row whose merchant has an account with the same facts counts as known, so a file is simply imported again after
whatever ended the first try.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from hub.platform.merchant_book import Entrant, MerchantBook
from hub.platform.merchant_errors import MerchantFileError
from hub.platform.merchants import (
    Facts,
    Fault,
    IdType,
    Merchant,
    canonical_identifier,
    differences,
    facts_of,
    faults_in,
)
from models.said import Said, said

COLUMNS = ("id_type", "identifier", *Facts.__dataclass_fields__)
MAX_BYTES = 64 << 20
MAX_ROWS = 200_000
Progress = Callable[[int, int], None]
"""Told how many rows of how many were looked at."""
_STEP = 1000


@dataclass(frozen=True)
class RowFault:
    """What is wrong with a row.

    Attributes:
        line: of the file, where the row ends; the header is line 1.
        column: at fault.
        what, remedy: messages of the catalogue.
    """

    line: int
    column: str
    what: Said
    remedy: Said


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        registered: new accounts.
        known: rows whose merchant had an account with the same facts.
    """

    registered: int
    known: int


def import_merchants(
    book: MerchantBook, actor: str, file: bytes, *, progress: Progress = lambda _done, _of: None
) -> Imported:
    """Register a file's merchants in one transaction.

    Args:
        file: CSV in UTF-8, whose header names `COLUMNS` in any order.

    Raises:
        MerchantFileError: it is no such file, or a row has a fault; nothing was written.
    """
    rows = _rows(file)
    faults: list[RowFault] = []
    entrants: dict[str, tuple[int, Entrant]] = {}
    for number, (line, row) in enumerate(rows, 1):
        entrant, wrong = _entrant(book, row)
        if entrant is not None and entrant.identifier in entrants:
            wrong = [
                Fault(
                    "identifier",
                    said("The identifier stands in line {line} already.", line=entrants[entrant.identifier][0]),
                    said("Leave one of the two rows out."),
                )
            ]
        elif entrant is not None:
            entrants[entrant.identifier] = (line, entrant)
        faults += [RowFault(line, each.field, each.what, each.remedy) for each in wrong]
        if number % _STEP == 0 or number == len(rows):
            progress(number, len(rows))
    with book.db.session() as session:
        known = book.known_in(session, [entrant for _, entrant in entrants.values()])
        for identifier, merchant in known.items():
            line, entrant = entrants[identifier]
            faults += [RowFault(line, each.field, each.what, each.remedy) for each in _against(merchant, entrant)]
        if faults:
            faults.sort(key=lambda each: (each.line, COLUMNS.index(each.column)))
            first = faults[0]
            raise MerchantFileError(
                f"{len(faults)} faults in {len({each.line for each in faults})} rows; nothing was written. The first: "
                f"line {first.line}, {first.column}: {first.what}",
                field=first.column,
                remedy="Correct the rows of the report and import the file again.",
                faults=faults,
            )
        new = [entrant for _, entrant in entrants.values() if entrant.identifier not in known]
        book.add_in(session, actor, new)
    return Imported(registered=len(new), known=len(known))


def _rows(file: bytes) -> list[tuple[int, Mapping[str, str]]]:
    """Rows with the line that each ends on."""
    if len(file) > MAX_BYTES:
        raise _no_table(f"The file is larger than {MAX_BYTES >> 20} MiB.", "Import it in parts.")
    try:
        text = file.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_table(
            f"The file is not UTF-8 (byte {error.start}).", "Save it as CSV UTF-8; spreadsheets may write GBK."
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, Mapping[str, str]]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        if sorted(header) != sorted(COLUMNS):
            raise _no_table(
                f"The header has {', '.join(header) or 'no columns'}.", f"Write the columns {', '.join(COLUMNS)}."
            )
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise _no_table(
                    f"Line {reader.line_num} has {len(cells)} cells, not {len(header)}.",
                    "Put cells with commas in double quotes.",
                )
            rows.append((reader.line_num, dict(zip(header, map(str.strip, cells), strict=True))))
            if len(rows) > MAX_ROWS:
                raise _no_table(f"The file has more than {MAX_ROWS} rows.", "Import it in parts.")
    except csv.Error as error:
        raise _no_table(
            f"Line {reader.line_num} is no CSV: {error}.", "Look for a quote that is not closed."
        ) from error
    if not rows:
        raise _no_table("The file has no rows.", "Write one row for each merchant.")
    return rows


def _no_table(message: str, remedy: str) -> MerchantFileError:
    return MerchantFileError(message, field="file", remedy=remedy)


def _entrant(book: MerchantBook, row: Mapping[str, str]) -> tuple[Entrant | None, list[Fault]]:
    """Who the row is, where its identifier is one, and all that is wrong with it."""
    canonical, facts = canonical_identifier(row["id_type"], row["identifier"]), facts_of(row)
    wrong = faults_in(facts, book.industries)
    if isinstance(canonical, Fault):
        return None, [canonical, *wrong]
    return Entrant(cast(IdType, row["id_type"]), canonical, facts), wrong


def _against(merchant: Merchant, entrant: Entrant) -> list[Fault]:
    """Why a merchant that has an account cannot be imported as it stands in the file; nothing where it is the same."""
    if merchant.state != "active":
        return [
            Fault(
                "identifier",
                said("The merchant's account {account} is not active.", account=merchant.account_id),
                said("Leave the row out."),
            )
        ]
    return [
        Fault(
            name,
            said("Account {account} of this merchant says otherwise.", account=merchant.account_id),
            said("Change the account instead; an import changes nothing that is registered."),
        )
        for name in differences(merchant.facts, entrant.facts)
    ]
