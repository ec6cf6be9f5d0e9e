"""Words of the merchant's pages for what the wire names by codes: message ids in plain English, Chinese in merchant.po.

A shopkeeper reads them on a telephone: no code is shown without its words.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.said import Said, said

PURPOSES: Mapping[str, str] = {
    "credit-scoring": "Working out a credit score when you apply for a loan",
    "model-training": "Improving the method of scoring (your data are counted together with many others')",
    "pre-qualification": "Seeing whether a loan could be offered to you",
    "programme-statistics": "Statistics on the support programme, without names",
}
CATEGORIES: Mapping[str, str] = {
    "bank": "Your accounts and loans at the bank",
    "tax": "Your tax declarations and payments",
    "utility": "Your electricity, water and gas bills",
    "reasons": "The main reasons for the score",
}
KINDS: Mapping[str, str] = {
    "bank": "Bank",
    "tax": "Tax bureau",
    "utility": "Electricity, water or gas company",
    "client": "Service platform",
    "witness": "Regulator",
}
SPANS: Mapping[str, tuple[str, str]] = {
    "hour": ("one hour", "{n} hours"),
    "day": ("one day", "{n} days"),
    "week": ("one week", "{n} weeks"),
    "month": ("one month", "{n} months"),
    "year": ("one year", "{n} years"),
}
"""Unit → its words for one, and for more."""
FREQUENCIES: Mapping[str, tuple[str, str]] = {
    "hour": ("at most once an hour", "at most {n} times an hour"),
    "day": ("at most once a day", "at most {n} times a day"),
    "week": ("at most once a week", "at most {n} times a week"),
    "month": ("at most once a month", "at most {n} times a month"),
    "year": ("at most once a year", "at most {n} times a year"),
}
EVENTS: Mapping[str, str] = {
    "given": "You agreed",
    "paused": "You paused it",
    "resumed": "You let it go on",
    "revoked": "You withdrew it",
    "refused": "You refused",
    "expired": "It ran out",
}
EVENT_TONES: Mapping[str, str] = {"given": "good", "resumed": "good", "paused": "warn"}
STATES: Mapping[str, tuple[str, str]] = {
    "active": ("In force", "good"),
    "waiting": ("Not yet in force", "info"),
    "paused": ("Paused", "warn"),
    "expired": ("Run out", "neutral"),
    "revoked": ("Withdrawn", "neutral"),
    "refused": ("Refused", "neutral"),
}
"""State → its words and their tone."""

ANSWERED = "answered"
OUTCOMES: Mapping[str, str] = {
    ANSWERED: "answered",
    "consent-unknown": "refused: it has no consent of yours for this",
    "consent-not-active": "refused: your consent was not in force",
    "consent-revoked": "refused: you had withdrawn your consent",
    "consent-paused": "refused: you had paused your consent",
    "consent-expired": "refused: your consent had run out",
    "consent-not-yet-valid": "refused: your consent was not yet in force",
    "notice-unknown": "refused: the notice you were shown is not registered",
    "notice-superseded": "refused: the notice has changed and you have not agreed anew",
    "purpose-not-consented": "refused: you did not agree to this purpose",
    "recipient-not-consented": "refused: you did not agree to this recipient",
    "source-not-consented": "refused: you did not agree to this source of data",
    "category-not-consented": "refused: you did not agree to this kind of data",
    "separate-consent-missing": "refused: your separate consent to sensitive data is missing",
    "adverse-notice-missing": "refused: you were not told of adverse consequences",
    "frequency-exceeded": "refused: asked more often than you allowed",
    "feed-stale": "refused: it could not be sure that your consent still stood",
    "too-few-sources": "refused: too few sources of data",
    "source-unreachable": "no answer: a source of data could not be reached",
    "source-failed": "no answer: a source of data failed",
}
REFUSED_OTHERWISE = "refused for a technical reason ({code})"


def purpose(name: str) -> str:
    """The words for a purpose; its name where a newer hub knows more."""
    return PURPOSES.get(name, name)


def category(name: str) -> str:
    """The words for a category of data."""
    return CATEGORIES.get(name, name)


def kind(name: str) -> str:
    """The words for a kind of party."""
    return KINDS.get(name, name)


def span(unit: str, n: int) -> Said:
    """A length of time."""
    one, more = SPANS[unit]
    return said(one) if n == 1 else said(more, n=n)


def frequency(count: int, per: str, fetch_type: str) -> Said:
    """How often may be asked."""
    if fetch_type == "ONETIME":
        return said("once only")
    one, more = FREQUENCIES[per]
    return said(one) if count == 1 else said(more, n=count)


def outcome(code: str) -> Said:
    """What a source made of a query."""
    words = OUTCOMES.get(code)
    return said(REFUSED_OTHERWISE, code=code) if words is None else said(words)
