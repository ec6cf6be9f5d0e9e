"""The table of points as an Excel workbook; the same model gives the same bytes. Imported where one is made."""

from __future__ import annotations

import io
import unicodedata

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.workbook import Workbook

from models.points_table import PointsTable, Sheet, Value

_FORMS = {"text": "@", "points": "0", "share": "0.00%", "figure": "0.000"}
_WIDEST = 60
_TALL_HEADING = 48


def points_workbook(table: PointsTable) -> bytes:
    """All sheets as .xlsx: headings frozen and filterable, numbers as numbers, texts never as formulas."""
    out = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(out, options) as book:
        book.set_properties({"title": table.title, "author": "digua", "created": table.created.replace(tzinfo=None)})
        heading = book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bottom": 1})
        forms = {name: book.add_format({"num_format": code, "valign": "top"}) for name, code in _FORMS.items()}
        forms["text"].set_text_wrap()
        for sheet in table.sheets:
            _fill(book, sheet, heading, forms)
    return out.getvalue()


def _fill(book: Workbook, sheet: Sheet, heading: Format, forms: dict[str, Format]) -> None:
    page = book.add_worksheet(sheet.name)
    page.set_row(0, _TALL_HEADING)
    for column, head in enumerate(sheet.headings):
        page.write_string(0, column, head.name, heading)
        longest = max((_width(row[column]) for row in sheet.rows), default=0)
        page.set_column(column, column, min(max(longest, 10), _WIDEST) + 2)
        for line, row in enumerate(sheet.rows, start=1):
            value = row[column]
            if isinstance(value, str):
                page.write_string(line, column, value, forms["text"])
            elif value is not None:
                # In a column of texts a number keeps its own form.
                page.write_number(line, column, value, None if head.form == "text" else forms[head.form])
    page.freeze_panes(1, 0)
    page.autofilter(0, 0, len(sheet.rows), len(sheet.headings) - 1)
    page.set_landscape()
    page.set_paper(9)  # A4
    page.fit_to_pages(1, 0)
    page.repeat_rows(0)


def _width(value: Value) -> int:
    """Columns that a cell takes: a Chinese character takes two."""
    text = "" if value is None else str(value)
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
