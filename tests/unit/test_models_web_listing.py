"""Tables by query parameters: every parameter has a meaning or falls back."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from models.web.listing import Choice, Column, Listing, arrange

Row = tuple[str, int | None]
ROWS: list[Row] = [("bank-b", 3), ("bank-a", None), ("tax-c", 10), ("Tax-d", -1)]
COLUMNS = (
    Column[Row]("name", "Party", lambda row: row[0], key=lambda row: row[0].casefold()),
    Column[Row]("n", "Number", lambda row: row[1], key=lambda row: row[1], numeric=True, first="desc"),
    Column[Row]("plain", "Code", lambda row: row[0]),
)
KIND = Choice("kind", "Kind", (("bank", "bank"), ("tax", "tax")))


def ask(size: int = 50, **params: str) -> Listing[Row]:
    return arrange(
        ROWS,
        COLUMNS,
        params,
        text=lambda row: (row[0],),
        choices={KIND: lambda row, value: row[0].casefold().startswith(value)},
        page_size=size,
    )


def names(listing: Listing[Row]) -> list[str]:
    return [row[0] for row in listing.rows]


def test_rows_keep_their_order_until_the_reader_names_one() -> None:
    assert names(ask()) == ["bank-b", "bank-a", "tax-c", "Tax-d"]
    assert names(ask(sort="name")) == ["bank-a", "bank-b", "tax-c", "Tax-d"]
    assert names(ask(sort="name", dir="desc")) == ["Tax-d", "tax-c", "bank-b", "bank-a"]


def test_rows_without_a_value_go_last_in_both_directions() -> None:
    assert names(ask(sort="n")) == ["tax-c", "bank-b", "Tax-d", "bank-a"]
    assert names(ask(sort="n", dir="asc")) == ["Tax-d", "bank-b", "tax-c", "bank-a"]


@pytest.mark.parametrize("sort", ["plain", "unknown", "__class__", "n;drop"])
def test_an_unknown_column_sorts_as_none(sort: str) -> None:
    listing = ask(sort=sort, dir="desc")
    assert names(listing) == names(ask())
    assert listing.query.sort == ""


def test_an_unknown_direction_is_the_column_s_own() -> None:
    assert ask(sort="n", dir="sideways").query.dir == "desc"


@pytest.mark.parametrize(
    ("page", "shown"), [("0", 1), ("-1", 1), ("x", 1), ("٣", 1), ("9" * 400, 1), ("99", 4), ("2", 2)]
)
def test_a_page_that_is_not_there_falls_back(page: str, shown: int) -> None:
    assert ask(1, page=page).query.page == shown


def test_text_and_choice_narrow_and_are_counted() -> None:
    listing = ask(q="TAX")
    assert (listing.total, listing.of, listing.narrowed) == (2, 4, True)
    assert names(ask(kind="bank", q="b")) == ["bank-b", "bank-a"]
    assert names(ask(kind="client")) == names(ask())
    assert len(ask(q="x" * 5000).query.q) == 200


def test_links_keep_what_was_asked_and_what_belongs_to_others() -> None:
    listing = ask(1, sort="n", dir="asc", q="a&b", other="1", lang="en")
    listing = ask(1, sort="n", dir="asc", q="a", kind="tax", other="a&b", lang="en")
    link = dict(parse_qsl(listing.page_address(2)[1:]))
    assert link == {"other": "a&b", "q": "a", "sort": "n", "dir": "asc", "page": "2", "kind": "tax"}
    turned = dict(parse_qsl(listing.sort_address(COLUMNS[1])[1:]))
    assert (turned["dir"], "page" in turned) == ("desc", False)
    assert dict(parse_qsl(listing.all_address()[1:])) == {"other": "a&b", "sort": "n", "dir": "asc"}


def test_two_tables_of_a_page_do_not_disturb_each_other() -> None:
    params = {"a_sort": "name", "b_sort": "n", "b_q": "tax"}
    first = arrange(ROWS, COLUMNS, params, text=lambda row: (row[0],), prefix="a_")
    second = arrange(ROWS, COLUMNS, params, text=lambda row: (row[0],), prefix="b_")
    assert names(first) == ["bank-a", "bank-b", "tax-c", "Tax-d"]
    assert names(second) == ["tax-c", "Tax-d"]
    assert dict(parse_qsl(first.page_address(1)[1:])) == {"a_sort": "name", "a_dir": "asc", "b_sort": "n", "b_q": "tax"}
    assert ("b_sort", "n") in first.hidden()


def test_a_table_without_search_ignores_what_is_searched() -> None:
    assert arrange(ROWS, COLUMNS, {"q": "tax"}).total == 4
