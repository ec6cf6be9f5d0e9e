"""Tables that a reader sorts, filters and pages by query parameters: ``q``, ``sort``, ``dir``, ``page``.

Every parameter has a meaning or falls back: an unknown column sorts as if none were named, an unknown direction as the
column's own, a page past the end shows the last one, a text is cut at 200 characters. So an address that was kept
always shows a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import urlencode

from models.said import Said

R = TypeVar("R")
Direction = Literal["asc", "desc"]
LONGEST_TEXT = 200
PAGE_SIZE = 50


@dataclass(frozen=True)
class Link:
    """A cell that leads to another page of ours."""

    text: str
    href: str


@dataclass(frozen=True)
class State:
    """A cell that names a state as a badge; `name` is translated."""

    name: str
    tone: str | None = None


@dataclass(frozen=True)
class Moment:
    """A cell with a moment (seconds since 1970, ISO 8601 or a datetime)."""

    at: datetime | int | float | str | None
    seconds: bool = False


@dataclass(frozen=True)
class Term:
    """A cell with a word of ours, which is translated."""

    text: str


@dataclass(frozen=True)
class Ident:
    """A cell with a long identifier, shown by its beginning."""

    value: str
    href: str | None = None


Cell = str | int | float | Link | State | Moment | Term | Ident | Said | None


@dataclass(frozen=True)
class Column(Generic[R]):
    """One column of a table.

    Attributes:
        name: in the address.
        title: message id of its heading.
        cell: what is shown of a row.
        key: what rows are sorted by; without one the column does not sort. None goes last.
        numeric: aligned at the right.
        first: the direction of the first click.
    """

    name: str
    title: str
    cell: Callable[[R], Cell]
    key: Callable[[R], Any] | None = None
    numeric: bool = False
    first: Direction = "asc"


@dataclass(frozen=True)
class Choice:
    """A filter by one of a few values, e.g. a state; its texts are message ids."""

    name: str
    title: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ListQuery:
    """What the reader asked of a table, every part valid."""

    q: str = ""
    sort: str = ""
    dir: Direction = "asc"
    page: int = 1
    chosen: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[tuple[str, str], ...] = ()
    prefix: str = ""

    def address(self, **changes: object) -> str:
        """Return the query string of the same table with some parts changed, beginning with ``?``."""
        parts: dict[str, object] = {"q": self.q, "sort": self.sort, "dir": self.dir, "page": self.page, **self.chosen}
        parts.update(changes)
        if not parts["sort"]:
            parts.pop("dir")
        if parts["page"] == 1:
            parts.pop("page")
        named = [(self.prefix + name, str(value)) for name, value in parts.items() if value not in ("", None)]
        return "?" + urlencode([*self.kept, *named])


def read_query(
    params: Mapping[str, str], columns: Sequence[Column[R]], choices: Sequence[Choice] = (), *, prefix: str = ""
) -> ListQuery:
    """Read what the reader asked of a table.

    Args:
        params: of the request; what belongs to other tables of the page is kept in the links.
        columns, choices: what can be asked.
        prefix: before every name, where a page has more than one table.
    """
    sortable = {column.name: column for column in columns if column.key is not None}
    sort = params.get(prefix + "sort", "")
    sort = sort if sort in sortable else ""
    direction: Direction = sortable[sort].first if sort else "asc"
    given = params.get(prefix + "dir")
    if sort and given in ("asc", "desc"):
        direction = "desc" if given == "desc" else "asc"
    page = params.get(prefix + "page", "1")
    own = {prefix + name for name in ("q", "sort", "dir", "page", *(each.name for each in choices))} | {"lang"}
    return ListQuery(
        q=params.get(prefix + "q", "").strip()[:LONGEST_TEXT],
        sort=sort,
        dir=direction,
        page=int(page) if page.isascii() and page.isdigit() and 0 < len(page) <= 9 and int(page) > 0 else 1,
        chosen={
            each.name: value
            for each in choices
            if (value := params.get(prefix + each.name, "")) in {option for option, _ in each.options}
        },
        kept=tuple((name, value) for name, value in params.items() if name not in own),
        prefix=prefix,
    )


@dataclass(frozen=True)
class Listing(Generic[R]):
    """One page of a table, ready to be shown.

    Attributes:
        rows: of this page only.
        total: of rows that match.
        of: of all rows; None where nobody counted.
    """

    columns: Sequence[Column[R]]
    rows: Sequence[R]
    query: ListQuery
    total: int
    of: int | None = None
    choices: Sequence[Choice] = ()
    page_size: int = PAGE_SIZE
    searched: bool = True

    @property
    def pages(self) -> int:
        """How many pages there are; at least one."""
        return max(1, ceil(self.total / self.page_size))

    @property
    def narrowed(self) -> bool:
        """Whether the reader filters."""
        return bool(self.query.q or self.query.chosen)

    @property
    def first(self) -> int:
        """Number of the first row shown, from 1."""
        return (self.query.page - 1) * self.page_size + 1

    @property
    def last(self) -> int:
        """Number of the last row shown."""
        return self.first + len(self.rows) - 1

    def sorted_by(self, column: Column[R]) -> str | None:
        """``ascending`` or ``descending`` where the table is sorted by this column."""
        if column.name != self.query.sort:
            return None
        return "ascending" if self.query.dir == "asc" else "descending"

    def sort_address(self, column: Column[R]) -> str:
        """The address that a click on the column's heading leads to."""
        turned: Direction = "desc" if self.query.dir == "asc" else "asc"
        chosen = turned if column.name == self.query.sort else column.first
        return self.query.address(sort=column.name, dir=chosen, page=1)

    def page_address(self, page: int) -> str:
        """The address of another page."""
        return self.query.address(page=page)

    def all_address(self) -> str:
        """The address of the table without its filter."""
        return self.query.address(q="", page=1, **dict.fromkeys(self.query.chosen, ""))

    def hidden(self) -> list[tuple[str, str]]:
        """What the filter's form has to carry along."""
        own = [("sort", self.query.sort), ("dir", self.query.dir)] if self.query.sort else []
        return [*self.query.kept, *((self.query.prefix + name, value) for name, value in own)]


def arrange(
    rows: Iterable[R],
    columns: Sequence[Column[R]],
    params: Mapping[str, str],
    *,
    text: Callable[[R], Iterable[str]] | None = None,
    choices: Mapping[Choice, Callable[[R, str], bool]] | None = None,
    page_size: int = PAGE_SIZE,
    prefix: str = "",
) -> Listing[R]:
    """Filter, sort and page rows that are in memory, in their own order where the reader names none.

    Args:
        text: what of a row is searched, case-insensitively; without it the table has no search field.
        choices: filters, and whether a row passes a chosen value.
    """
    filters = choices or {}
    query = read_query(params, columns, tuple(filters), prefix=prefix)
    if text is None:
        query = replace(query, q="")
    everything = list(rows)
    found = everything
    if query.q and text is not None:
        wanted = query.q.casefold()
        found = [row for row in found if any(wanted in part.casefold() for part in text(row))]
    for choice, passes in filters.items():
        if value := query.chosen.get(choice.name):
            found = [row for row in found if passes(row, value)]
    column = next((each for each in columns if each.name == query.sort), None)
    if column is not None and column.key is not None:
        key = column.key
        valued = [row for row in found if key(row) is not None]
        empty = [row for row in found if key(row) is None]
        found = sorted(valued, key=key, reverse=query.dir == "desc") + empty
    last = max(1, ceil(len(found) / page_size))
    if query.page > last:
        query = replace(query, page=last)
    start = (query.page - 1) * page_size
    return Listing(
        columns,
        found[start : start + page_size],
        query,
        total=len(found),
        of=len(everything),
        choices=tuple(filters),
        page_size=page_size,
        searched=text is not None,
    )
