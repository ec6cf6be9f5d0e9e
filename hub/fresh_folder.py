"""A new hub or platform begins in a folder of its own: nothing that is there is ever overwritten."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from models.yaml_file import ErrorType

C = TypeVar("C")


def first_config(path: Path, text: str, load: Callable[[Path], C], *, others: Collection[str], error: ErrorType) -> C:
    """Write a first configuration and read it; a file that cannot be used does not stay.

    Args:
        path: the configuration's; its folder is made.
        text: what is written.
        load: reads it; its errors pass through.
        others: names in the folder that must not be there either.
        error: raised where one of them, or the configuration, is there.
    """
    directory = path.parent
    directory.mkdir(parents=True, exist_ok=True)
    for name in (path.name, *others):
        if (directory / name).exists():
            raise error(
                f"{directory / name} is there already; it is never overwritten.",
                field=name,
                remedy="Choose an empty folder with --dir.",
            )
    path.write_text(text, encoding="utf-8")
    try:
        return load(path)
    except Exception:
        path.unlink()
        raise
