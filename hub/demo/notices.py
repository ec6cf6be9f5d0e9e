"""The privacy notices that the demo's merchants are shown: the shipped samples, registered by the demo's operator."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from crypto.wire.consent import PrivacyNotice, Purpose
from crypto.wire.notice import NoticeSubmission

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "notices"
VERSION = "1"
EXPLAINED: dict[str, tuple[Purpose, ...]] = {
    "credit-scoring": ("credit-scoring", "pre-qualification", "model-training"),
    "model-training": ("model-training",),
}
"""Notice → the purposes that its text explains."""


def submissions() -> list[NoticeSubmission]:
    """Both samples, as they are registered."""
    return [
        NoticeSubmission(
            notice=name, version=VERSION, purposes=purposes, zh=read_text(name, "zh"), en=read_text(name, "en")
        )
        for name, purposes in EXPLAINED.items()
    ]


def path_of(name: str, language: str) -> Path:
    """Where a sample lies."""
    return FOLDER / f"{name}.{language}.md"


@lru_cache
def read_text(name: str, language: str) -> str:
    """A sample's exact text."""
    return path_of(name, language).read_bytes().decode("utf-8")


def shown(purposes: Collection[Purpose]) -> PrivacyNotice:
    """The Chinese notice that a merchant is shown for these purposes: the one that explains the least beside them."""
    name = min((n for n, of in EXPLAINED.items() if set(purposes) <= set(of)), key=lambda n: len(EXPLAINED[n]))
    sha256 = hashlib.sha256(read_text(name, "zh").encode()).hexdigest()
    return PrivacyNotice(version=VERSION, language="zh", sha256=sha256)
