"""Statements as CSV: what a programme set aside and accrued, grant by grant."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from hub.platform.subsidy_book import PART, SubsidyBook

COLUMNS = ("grant", "programme", "version", "financing_id", "policy_id", "state", "year", "aside_fen", "accrued_fen")
"""Names of columns are for machines."""


def grants_csv(book: SubsidyBook, programme: str) -> Iterator[str]:
    """Every grant and year of a programme with what is set aside and what was accrued, in fen; part by part."""
    yield line_of(COLUMNS)
    last = 0
    while grants := book.grants(programme=programme, after=last, limit=PART):
        for each in grants:
            for year in each.aside_fen:
                amounts = (year, each.aside_fen[year], each.accrued_fen.get(year, 0))
                facts = (
                    each.number,
                    each.programme,
                    each.version,
                    each.financing_id or "",
                    each.policy_id or "",
                    each.state,
                )
                yield line_of((*facts, *amounts))
        last = grants[-1].number


def line_of(cells: Iterable[object]) -> str:
    """One line of CSV."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()
