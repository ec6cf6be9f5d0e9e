"""What docs/privacy.md says that each party receives, read from its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "privacy.md"
_NAMES = re.compile(r"`([^`]+)`")

Item = tuple[str, str, str, str]
"""Receiver, message, part, form."""


def rows(title: str) -> Iterator[list[str]]:
    """Cells of the table under a heading, without its first two lines."""
    text = DOCUMENT.read_text(encoding="utf-8").split(f"### {title}\n")[1].split("\n#")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def described(title: str) -> list[Item]:
    """Every item that a table names, as often as it names it.

    A row names receivers, messages and parts, each at least one; whoever is named receives every part in every message.
    """
    items: list[Item] = []
    for receivers, messages, parts, form, _ in rows(title):
        items += [
            (receiver.strip(), message, part, form)
            for receiver in receivers.split(",")
            for message in _NAMES.findall(messages)
            for part in _NAMES.findall(parts)
        ]
    return items
