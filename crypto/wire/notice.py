"""Privacy notices as registered documents: what a merchant was shown can be looked up for good (docs/consent.md, 1)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from crypto.wire.base import Code, Moment, Sha256Hex, Suite, Token, WireModel
from crypto.wire.consent import Purpose

NoticeLanguage = Literal["zh", "en"]
NoticeVersion = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
NoticeText = Annotated[str, Field(min_length=1, max_length=200_000)]


class _NoticeFacts(WireModel):
    notice: Code
    """Which notice this is a version of, e.g. `credit-scoring`."""
    version: NoticeVersion
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1)]
    """What the text explains; a consent under it may have no other purpose."""
    reconsent: bool
    """Merchants who consented to an earlier version are asked again."""
    ends_at: Moment | None
    """When consents to earlier versions end for new queries and for training; with `reconsent` only."""

    @model_validator(mode="after")
    def _end_with_reconsent(self) -> Self:
        if self.reconsent != (self.ends_at is not None):
            raise ValueError("ends_at goes with reconsent: give both, or neither")
        if len(set(self.purposes)) != len(self.purposes):
            raise ValueError("purposes has a duplicate")
        return self


class NoticeStatement(_NoticeFacts):
    """JWS type `notice`, by the hub: a registered version of a notice.

    `serial` counts all registrations of a hub from 1, so that one that was left out shows; of two versions of a notice
    the one with the greater serial is the newer.
    """

    suite: Suite
    serial: Annotated[int, Field(ge=1)]
    texts: dict[NoticeLanguage, Sha256Hex]
    """SHA-256 of the UTF-8 bytes of each text; both languages."""
    issued_at: Moment

    @model_validator(mode="after")
    def _both_languages(self) -> Self:
        if set(self.texts) != {"zh", "en"} or self.texts["zh"] == self.texts["en"]:
            raise ValueError("texts needs zh and en, and they must differ")
        return self


class NoticeSubmission(_NoticeFacts):
    """Body of POST /v1/notices: a notice in both languages, exactly as merchants will be shown it."""

    zh: NoticeText
    en: NoticeText
    reconsent: bool = False
    ends_at: Moment | None = None


class NoticeReceipt(WireModel):
    """Reply to POST /v1/notices: the hub's statement, which its log and every party's feed have."""

    serial: int
    sha256: dict[NoticeLanguage, Sha256Hex]
    statement: Token


class NoticeList(WireModel):
    """Reply to GET /v1/notices: the statements of all registered notices, the oldest first."""

    statements: tuple[Token, ...]
