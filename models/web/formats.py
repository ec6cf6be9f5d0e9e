"""How numbers, moments and states are written on pages: the same at every party."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal, TypeAlias

from markupsafe import Markup, escape

BEIJING = timezone(timedelta(hours=8), "UTC+8")
"""The time of all pages; China has one zone and no summer time."""
DASH = "–"
_CODE = re.compile("`([^`<>]{1,200})`")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Tone: TypeAlias = Literal["good", "warn", "bad", "info", "neutral"]
TONES: dict[str, Tone] = {
    "succeeded": "good",
    "released": "good",
    "release": "good",
    "active": "good",
    "approved": "good",
    "connected": "good",
    "cosigned": "good",
    "valid": "good",
    "current": "good",
    "yes": "good",
    "running": "info",
    "queued": "info",
    "evaluation": "info",
    "registered": "info",
    "proposed": "warn",
    "pending": "warn",
    "waiting": "warn",
    "paused": "warn",
    "overdue": "warn",
    "aborted": "warn",
    "rolled-back": "warn",
    "expired": "warn",
    "failed": "bad",
    "refused": "bad",
    "rejected": "bad",
    "revoked": "bad",
    "withdrawn": "bad",
    "invalid": "bad",
    "disconnected": "bad",
}
"""Colour of a state that badges name; the word says it too, so that no one needs to see colours."""


def tone_of(state: str) -> Tone:
    """Return the tone of a state; neutral for those that say neither good nor bad."""
    return TONES.get(state, "neutral")


def as_moment(value: datetime | int | float | str) -> datetime:
    """Return a moment in the time of the pages.

    Args:
        value: with its zone; seconds since 1970; or ISO 8601. Without a zone it is UTC.
    """
    if isinstance(value, (int, float)):
        at = datetime.fromtimestamp(value, UTC)
    else:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(BEIJING)


def moment(value: datetime | int | float | str | None, seconds: bool = False) -> Markup:
    """Return a moment as a ``time`` element, to the minute or to the second; a dash for none."""
    if value is None or value == "":
        return escape(DASH)
    at = as_moment(value)
    shown = at.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), shown)


def day(value: datetime | int | float | str | None) -> Markup:
    """Return the day of a moment as a ``time`` element; a dash for none."""
    if value is None or value == "":
        return escape(DASH)
    shown = as_moment(value).strftime("%Y-%m-%d")
    return Markup('<time datetime="{}">{}</time>').format(shown, shown)


def number(value: float | None, digits: int = 0) -> str:
    """Return a number with separators and a true minus; a dash for none."""
    return DASH if value is None else f"{value:,.{digits}f}".replace("-", "−")


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share in per cent; a dash for none."""
    return DASH if share is None else f"{100 * share:.{digits}f} %".replace("-", "−")


def significant(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits, e.g. an ε or a δ; large ones whole; a dash for none."""
    if value is None:
        return DASH
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
    mantissa, e, exponent = text.partition("e")
    if e:
        raised = str(int(exponent)).translate(_RAISED)
        text = f"10{raised}" if mantissa == "1" else f"{mantissa}×10{raised}"
    return text.replace("-", "−")


def coded(text: str) -> Markup:
    """Return a text for persons with what stands between backticks, e.g. a command, as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - all is escaped


def short(value: str, keep: int = 10) -> Markup:
    """Return a long identifier by its beginning, with the whole of it on hover and for copying."""
    keep += len("sha256:") if value.startswith("sha256:") else 0
    if len(value) <= keep + 2:
        return Markup("<code>{}</code>").format(value)
    return Markup('<code title="{}">{}…</code>').format(value, value[:keep])
