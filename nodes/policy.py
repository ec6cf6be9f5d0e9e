"""What a node answers and what it refuses: pure decisions on what was verified (docs/protocol.md, 2 and 7).

Signatures come first, elsewhere: a request that does not verify is not looked at. Then, in this order, the first rule
that fails gives the code; a refusal says nothing about data.

The request: R1 `request-too-large`, R2 `mixed-sources`, R3 `request-expired`, R4 `nonce-reused`, R5 `feed-stale`,
R6 `model-unknown`, R7 `model-not-released`, R8 `model-rolled-back`.

Each item: I1 `consent-unknown`, I2 its state (`consent-revoked`, `consent-paused`, `consent-expired`,
`consent-not-yet-valid`, `consent-not-active`, `notice-unknown`, `notice-superseded`), I3 `recipient-not-consented`,
I4 `purpose-not-consented`, I5 `source-not-consented`, I6 `too-few-sources`, I7 `source-unreachable` (a peer is not in
the roster, so nothing can be masked towards it), I8 `category-not-consented`, I9 `separate-consent-missing`,
I10 `adverse-notice-missing`, I11 `frequency-exceeded`, I12 `source-set-changed`, I13 `model-versions-exceeded`.

Why R2: every source receives the whole request, so none may hold an item in which that source has no part.

Why I6 and I12: the sum of several sources' points is what a requester may learn. With one source besides itself, or
with two different sets of sources for one merchant, it could subtract to a single source's points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from crypto.wire.consent import ConsentRecord, DataClass, Unit
from crypto.wire.party import Party
from crypto.wire.scoring import RefusalCode, ScoreItem, ScoreRequest
from nodes.consents import ConsentState, HeldConsent

MAX_REQUEST_SECONDS = 300
MAX_CLOCK_SKEW_SECONDS = 30
MIN_OTHER_SOURCES = 2
REASONS = "reasons"
SENSITIVE: frozenset[DataClass] = frozenset({"C2", "C3"})

_SECONDS: dict[Unit, int] = {
    # A longer month counts more uses and keeps answers longer: the stricter reading of a consent.
    "hour": 3600,
    "day": 86_400,
    "week": 7 * 86_400,
    "month": 31 * 86_400,
    "year": 366 * 86_400,
}
STATE_CODES: dict[ConsentState, RefusalCode] = {
    "revoked": "consent-revoked",
    "paused": "consent-paused",
    "expired": "consent-expired",
    "not-yet-valid": "consent-not-yet-valid",
    "refused": "consent-not-active",
    "notice-unknown": "notice-unknown",
    "notice-superseded": "notice-superseded",
    "unknown": "consent-unknown",
}


@dataclass(frozen=True)
class Limits:
    """The owner's own limits.

    Attributes:
        max_items: items of one request.
        feed_limit: an older feed means no answers.
        max_versions: distinct models per recipient, merchant and data life.
    """

    max_items: int = 500
    feed_limit: timedelta = timedelta(seconds=60)
    max_versions: int = 3


@dataclass(frozen=True)
class ModelFacts:
    """What the policy needs of a model.

    Attributes:
        kinds: in order; one source each.
        data_class: the highest class of the features that this node's kind holds.
        released: the witness released it with scope `release`, and did not withdraw it.
        rolled_back: the witness has another of its line used instead.
    """

    model_id: str
    kinds: tuple[str, ...]
    data_class: DataClass
    released: bool
    rolled_back: bool = False


@dataclass(frozen=True)
class Uses:
    """What was answered before, by this node.

    Attributes:
        in_period: uses of this consent within its frequency's period, over all models.
        other_requests: whether this consent was ever used for another request.
        source_sets: sets of sources that answered this recipient about this merchant, within the answers' data life and
            over all consents.
        model_ids: models so used, within the same.
    """

    in_period: int = 0
    other_requests: bool = False
    source_sets: frozenset[frozenset[tuple[str, str]]] = field(default_factory=frozenset)
    model_ids: frozenset[str] = field(default_factory=frozenset)


def decide_request(
    request: ScoreRequest,
    *,
    model: ModelFacts | None,
    nonce_reused: bool,
    feed_age: timedelta,
    limits: Limits,
    now: datetime,
) -> RefusalCode | None:
    """R1–R7: whether a verified request is answered at all.

    Args:
        request: verified under the roster's key of its requester.
        model: the model, or None if this node does not have it.
        nonce_reused: its requester used this nonce under another hash.
        feed_age: how old the feed of consents is.
        limits: the owner's.
        now: the time.
    """
    if len(request.items) > limits.max_items:
        return "request-too-large"
    if len({frozenset(item.sources.values()) for item in request.items}) > 1:
        return "mixed-sources"
    too_long = request.expires_at - request.issued_at > timedelta(seconds=MAX_REQUEST_SECONDS)
    early = request.issued_at > now + timedelta(seconds=MAX_CLOCK_SKEW_SECONDS)
    if now >= request.expires_at or too_long or early:
        return "request-expired"
    if nonce_reused:
        return "nonce-reused"
    if feed_age > limits.feed_limit:
        return "feed-stale"
    if model is None:
        return "model-unknown"
    if not model.released:
        return "model-not-released"
    if model.rolled_back:
        return "model-rolled-back"
    return None


def decide_item(
    request: ScoreRequest,
    item: ScoreItem,
    *,
    me: Party,
    held: HeldConsent | None,
    model: ModelFacts,
    uses: Uses,
    roster: Mapping[str, Party],
    limits: Limits,
) -> RefusalCode | None:
    """I1–I13: whether one item of a request that passed `decide_request` is answered.

    Args:
        me: this node as the roster has it.
        held: the consent that the item names, with its state now, or None.
        uses: of this merchant and consent, earlier items of the same request included.
        roster: all parties by id.
    """
    if held is None or held.record.pii_principal_id != item.pseudonym:
        return "consent-unknown"
    if held.state != "active":
        return STATE_CODES[held.state]
    consent = held.record
    if request.requester not in consent.recipients:
        return "recipient-not-consented"
    if request.purpose not in consent.purposes:
        return "purpose-not-consented"
    return (
        _sources_refusal(request, item, consent, me, model, roster)
        or category_refusal(request.requester, consent, me.kind, model.data_class)
        or _uses_refusal(item, consent, model, uses, limits)
    )


def may_give_reasons(consent: ConsentRecord, recipient: str) -> bool:
    """Whether reason codes may go with an answer: the category `reasons`, with separate consent where it is
    sensitive."""
    given = next((each for each in consent.pii_information if each.category == REASONS), None)
    if given is None:
        return False
    return given.data_class not in SENSITIVE or _separately(consent, recipient, REASONS)


def period(unit: Unit, count: int = 1) -> timedelta:
    """`count` hours, days, weeks, months (31 days) or years (366 days)."""
    return timedelta(seconds=_SECONDS[unit] * count)


def _sources_refusal(
    request: ScoreRequest,
    item: ScoreItem,
    consent: ConsentRecord,
    me: Party,
    model: ModelFacts,
    roster: Mapping[str, Party],
) -> RefusalCode | None:
    """I5–I7: exactly the consent's sources of the model's kinds, this node among them, and two besides the requester.

    A kind for which the consent names nobody has no source; the requester adds that kind's public absent points.
    """
    named = {kind: consent.sources[kind] for kind in model.kinds if kind in consent.sources}
    if item.sources != named or named.get(me.kind) != me.party_id:
        return "source-not-consented"
    if len(set(named.values()) - {request.requester}) < MIN_OTHER_SOURCES:
        return "too-few-sources"
    for kind, party_id in named.items():
        party = roster.get(party_id)
        if party is None or party.kind != kind:
            return "source-unreachable"
    return None


def category_refusal(recipient: str, consent: ConsentRecord, kind: str, data_class: DataClass) -> RefusalCode | None:
    """I8–I10: own kind's category, at no lower class than its data have; the forms that sensitive data need."""
    given = next((each for each in consent.pii_information if each.category == kind), None)
    if given is None or given.data_class < data_class:
        return "category-not-consented"
    if given.data_class in SENSITIVE:
        if not _separately(consent, recipient, kind):
            return "separate-consent-missing"
        if not consent.adverse_consequences_notice:
            return "adverse-notice-missing"
    return None


def _uses_refusal(
    item: ScoreItem, consent: ConsentRecord, model: ModelFacts, uses: Uses, limits: Limits
) -> RefusalCode | None:
    """I11–I13."""
    if consent.fetch_type == "ONETIME" and uses.other_requests:
        return "frequency-exceeded"
    if uses.in_period >= consent.frequency.count:
        return "frequency-exceeded"
    if uses.source_sets - {frozenset(item.sources.items())}:
        return "source-set-changed"
    if len(uses.model_ids | {model.model_id}) > limits.max_versions:
        return "model-versions-exceeded"
    return None


def _separately(consent: ConsentRecord, recipient: str, category: str) -> bool:
    return any(each.recipient == recipient and each.category == category for each in consent.separate_consent)
