"""A text for persons before it is in a language: a message of a catalogue, and what fills its places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Said:
    """`str` gives the English.

    Attributes:
        text: message id, with ``{name}`` places.
        params: what fills them; a value that is itself said is translated too.
    """

    text: str
    params: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text.format_map(self.params) if self.params else self.text


def said(text: str, **params: object) -> Said:
    """A text and what fills its places."""
    return Said(text, params)
