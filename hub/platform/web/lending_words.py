"""What the desks' pages say of lending: states, kinds of terms, what each entry of the record was about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from pydantic import JsonValue

from hub.platform.audit import Entry
from hub.platform.products import Bilingual, Span
from hub.platform.web import words
from models.i18n import Language
from models.said import Said, said

UNSEGMENTED: Mapping[str, str] = {
    "kind": "kind of merchant",
    "origin": "home county",
    "place": "place of business",
}
CAUSES: Mapping[str, str] = {
    "overdue": "90 days overdue",
    "insolvency": "insolvency",
    "write-off": "written off",
    "fraud": "fraud",
    "used-otherwise": "used for another purpose",
    "paid-in-error": "paid in error",
}


def in_language(text: Bilingual, language: Language) -> str:
    """The text that a bank or the office wrote, in the reader's language."""
    return text.zh if language == "zh" else text.en


def yuan_span(span: Span[int]) -> str:
    """From the least to the most, in yuan."""
    return f"{words.yuan(span.least)} – {words.yuan(span.most)}"


def rate_span(span: Span[Decimal]) -> str:
    """From the least to the most yearly rate, in per cent."""
    return f"{words.percentage(span.least)} – {words.percentage(span.most)}"


def months(number: int) -> Said:
    """A term."""
    return said("{months} months", months=number)


def day(value: date | None) -> str | None:
    """A civil date as it is written; nothing where there is none."""
    return None if value is None else value.isoformat()


def loan_rate(millionths: int) -> str | None:
    """A loan's rate; nothing before an offer names it."""
    return words.rate(millionths) if millionths else None


def listed(parts: list[Said]) -> Said | None:
    """Several texts as one; None where there are none."""
    named: dict[str, object] = {f"p{number}": part for number, part in enumerate(parts)}
    return said(" · ".join(f"{{{name}}}" for name in named), **named) if named else None


def event_of(entry: Entry) -> dict[str, Any]:
    """An entry about a financing as an event of a time line."""
    title = words.STEPS.get(entry.action, entry.action)
    facts = _facts_of(entry.what)
    by = said(words.who(entry.actor))
    detail = by if facts is None else said("{facts}, {by}", facts=facts, by=by)
    return {"at": entry.at, "title": title, "tone": words.STEP_TONES.get(entry.action, "info"), "detail": detail}


def _facts_of(what: Mapping[str, JsonValue]) -> Said | str | None:
    """The few facts of an entry that a reader needs."""
    order = what.get("order")
    if not isinstance(order, dict):
        cause = what.get("cause")
        return said(CAUSES.get(str(cause), str(cause))) if cause else None
    match order:
        case {"step": "apply", "amount_fen": int(fen), "term_months": int(term)}:
            return said("{amount}, {term}", amount=words.yuan(fen), term=months(term))
        case {"step": "offer", "amount_fen": int(fen), "term_months": int(term), "annual_rate": rate}:
            shown = words.percentage(Decimal(str(rate)))
            return said("{amount} at {rate}, {term}", amount=words.yuan(fen), rate=shown, term=months(term))
        case {"step": "repay", "on": on, "principal_fen": int(principal), "interest_fen": int(interest)}:
            return said(
                "{day}: principal {principal}, interest {interest}",
                day=str(on),
                principal=words.yuan(principal),
                interest=words.yuan(interest),
            )
        case {"step": "default", "on": on, "cause": cause}:
            return said("{day}: {cause}", day=str(on), cause=said(CAUSES.get(str(cause), str(cause))))
        case {"on": on, "reason": str(reason)} if reason:
            return said("{day}: {cause}", day=str(on), cause=reason)
        case {"on": on}:
            return str(on)
    return None
