"""What the bank's pages say of codes, purposes, states and times: titles and remedies for persons, in two languages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from crypto.errors import CryptoError, IdentifierError
from crypto.wire.consent import DataLife, Frequency, Purpose
from models.errors import ModelsError
from models.i18n import catalogue, language_of, title_of
from models.said import Said
from models.schema import Schema
from models.web.problems import PageProblem
from nodes.errors import NodeError, PeerError, PolicyRefusal, SourceError

BEIJING: Final = timezone(timedelta(hours=8), "CST")
"""All of China keeps this time; pages show it, and say so."""

PURPOSES: Final[dict[Purpose, str]] = {
    "credit-scoring": "Credit scoring",
    "pre-qualification": "Pre-qualification",
    "model-training": "Model training",
    "programme-statistics": "Programme statistics",
}
ASKABLE: Final[tuple[Purpose, ...]] = ("credit-scoring", "pre-qualification")
"""Purposes for which a person may ask for a score."""
STATES: Final = {
    "active": "In force",
    "paused": "Paused",
    "revoked": "Withdrawn",
    "refused": "Refused",
    "expired": "Expired",
    "not-yet-valid": "Not yet in force",
    "notice-unknown": "Notice not registered",
    "notice-superseded": "Notice out of date",
    "unknown": "Unknown",
}
EVENTS: Final = {
    "given": "Consent given",
    "paused": "Paused by the merchant",
    "resumed": "Resumed by the merchant",
    "revoked": "Withdrawn by the merchant",
    "refused": "Refused by the merchant",
    "expired": "Ran out",
}
UNITS: Final = {
    "hour": "{count} per hour",
    "day": "{count} per day",
    "week": "{count} per week",
    "month": "{count} per month",
    "year": "{count} per year",
}
LIVES: Final = {
    "hour": "{count} hours",
    "day": "{count} days",
    "week": "{count} weeks",
    "month": "{count} months",
    "year": "{count} years",
}
_ONE = {
    "hour": "one hour",
    "day": "one day",
    "week": "one week",
    "month": "one month",
    "year": "one year",
}
_CONSENT = "Ask the merchant for a new consent that covers this."
_LATER = "Try again in a few minutes; the same page asks nobody twice."
_MODEL = "Choose a model that is in use, or leave the choice to the system."
REMEDIES: Final = {
    "identifier-invalid": "Correct the identifier and send the form again; nothing was asked.",
    "consent-unknown": "Ask the merchant for its consent, naming this bank as the recipient.",
    "consent-not-active": _CONSENT,
    "consent-revoked": "The merchant withdrew its consent. Ask it for a new one if it applies for credit again.",
    "consent-paused": "The merchant paused its consent. It can resume it on its own page.",
    "consent-expired": "The consent has run out. Ask the merchant to renew it.",
    "consent-not-yet-valid": "Wait until the consent's first day, or ask for one that begins today.",
    "notice-unknown": "The notice that the merchant was shown is not registered. Show a registered one and ask again.",
    "notice-superseded": "The notice has a newer version. Show it to the merchant and ask for a new consent.",
    "purpose-not-consented": "Choose a purpose that the consent names, or ask for one that covers this purpose.",
    "recipient-not-consented": _CONSENT,
    "source-not-consented": _CONSENT,
    "category-not-consented": _CONSENT,
    "separate-consent-missing": "Ask the merchant to tick this recipient and this category separately.",
    "adverse-notice-missing": "Give the merchant the notice of adverse consequences and let it consent again.",
    "frequency-exceeded": "The agreed number of queries is used up. Wait for the next period, or agree on more.",
    "source-set-changed": "Keep to the consent that was used before, until the data life of its answers has passed.",
    "too-few-sources": "Ask for a consent that names at least two sources besides this bank.",
    "mixed-sources": "Ask again; the system puts merchants with other sources into other requests.",
    "model-unknown": _MODEL,
    "model-not-released": _MODEL,
    "model-rolled-back": _MODEL,
    "model-versions-exceeded": "Use a model that was used for this merchant before.",
    "answer-deleted": "Its life under the consent is over. Ask anew if you still need it; that needs a valid consent.",
    "answer-expired": "Open the form again and ask anew. This counts as another use of the consent.",
    "request-expired": "Open the form again and ask anew. If it recurs, check the clock of this machine.",
    "request-too-large": "Divide the merchants into several files.",
    "nonce-reused": "Open the form again and ask anew.",
    "requester-unknown": "Ask the regulator whether this bank's node is in the roster.",
    "signature-invalid": "Ask the node's operator to compare this bank's keys with the roster.",
    "source-unreachable": _LATER,
    "source-failed": "Tell the source's operator; its node could not compute its part.",
    "feed-stale": "A source has not heard of withdrawals for too long and is right to refuse. " + _LATER,
    "score-unavailable": "A score needs every source. See below what each of them said.",
    "hub-unreachable": "Check the link to the hub. " + _LATER,
    "hub-failed": "Tell the hub's operator. " + _LATER,
    "hub-answer-malformed": "Tell the hub's operator: hub and node may be of different versions.",
    "query-refused": "Tell the hub's operator which time and which model it was.",
    "checkpoint-not-cosigned": "The witness has not countersigned the query yet. " + _LATER,
    "proof-invalid": "Without a proof no score is shown. Report this to the regulator.",
    "voprf-quota-exceeded": "Ask the regulator for a larger quota of new merchants.",
    "roster-missing": "Wait until the regulator has signed the roster.",
    "batch-invalid": "Correct the file and send it again; nothing was asked.",
    "batch-unknown": "Choose a batch from the list.",
    "batch-running": "Wait until it has finished.",
    "gateway-refused": "Open the form again: its content was changed after it had been sent.",
}
"""Code → what a person can do about it; every code that a score may fail with has one."""
_UNKNOWN = "Ask the node's operator, naming the code."


def say(lang: str, text: str, **params: object) -> str:
    """A text of the nodes' catalogue."""
    return catalogue("nodes").translate(lang, text, **params)


def tell(lang: str, text: Said) -> str:
    """A text and what fills its places, of the nodes' catalogue or the models'."""
    params = {name: tell(lang, value) if isinstance(value, Said) else value for name, value in text.params.items()}
    own = catalogue("nodes")
    return (own if own.has(lang, text.text) else catalogue("models")).translate(lang, text.text, **params)


def refused(code: str, lang: str, *, party: str = "", detail: str = "") -> PageProblem:
    """A code as a refusal in words."""
    title = title_of(code, lang, catalogue("nodes")) or code
    remedy = say(lang, REMEDIES.get(code, _UNKNOWN))
    return PageProblem(title, detail, remedy, code, party=party or None)


def code_of(error: CryptoError | ModelsError | NodeError) -> str:
    """The most telling code of an error: a policy's reason, a peer's own code, else that of its class."""
    if isinstance(error, PolicyRefusal):
        return error.reason
    return (error.peer_code if isinstance(error, PeerError) else None) or error.code


def refused_error(error: CryptoError | ModelsError | NodeError, lang: str) -> PageProblem:
    """An error of ours as a refusal in words; an identifier is never repeated."""
    party = error.party if isinstance(error, PeerError) else ""
    if isinstance(error, IdentifierError) and error.wrong:
        wrong = say(lang, error.wrong, number=error.number)
        return PageProblem(title_of(error.code, lang) or error.code, wrong, say(lang, error.remedy or ""), error.code)
    if isinstance(error, SourceError):
        remedy = "" if error.said_remedy is None else tell(lang, error.said_remedy)
        detail = "\n".join(tell(lang, line) for line in error.lines)
        title = title_of(error.code, lang, catalogue("nodes")) or error.code
        return PageProblem(title, detail, remedy, error.code)
    return refused(code_of(error), lang, party=party)


def kind_title(schema: Schema | None, kind: str, lang: str) -> str:
    """How persons call a kind of source: by the schema, else by the catalogue."""
    held = None if schema is None or kind not in schema.kinds else schema.kinds[kind].title
    return say(lang, kind) if held is None else held.text(lang)


def frequency_text(frequency: Frequency, lang: str) -> str:
    """How often may be asked."""
    return say(lang, UNITS[frequency.per], count=frequency.count)


def life_text(life: DataLife, lang: str) -> str:
    """How long an answer may be kept."""
    return say(lang, _ONE[life.unit]) if life.value == 1 else say(lang, LIVES[life.unit], count=life.value)


def moment(seconds: int | float | datetime) -> str:
    """A time as pages show it: to the minute, in Beijing time."""
    when = seconds if isinstance(seconds, datetime) else datetime.fromtimestamp(seconds, UTC)
    return f"{when.astimezone(BEIJING):%Y-%m-%d %H:%M}"


def day(when: datetime) -> str:
    """A date in Beijing time."""
    return f"{when.astimezone(BEIJING):%Y-%m-%d}"


def listed(values: list[str], lang: str) -> str:
    """Values in a row, with the language's comma."""
    return ("、" if language_of(lang) == "zh" else ", ").join(values)
