"""What a consent and an event must be before they are stored; pure decisions on what was verified (2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from crypto.wire.consent import ConsentEvent, ConsentRecord, ConsentTerms
from crypto.wire.party import RESERVED_KINDS, Party
from hub.clock import seconds
from hub.errors import ConsentRefusedError, ConsentStateError

CLOCK_SKEW_S = 300
GIVEN = "given"
PAUSED = "paused"
FINAL = frozenset({"revoked", "refused"})
_NEXT: Mapping[str, Mapping[str, str]] = {
    GIVEN: {"paused": PAUSED, "revoked": "revoked", "refused": "refused"},
    PAUSED: {"resumed": GIVEN, "revoked": "revoked", "refused": "refused"},
}
"""State → event → next state. `given` is the record itself; `expired` follows from the record's own dates."""


def check_record(
    record: ConsentRecord, parties: Mapping[str, Party], recipient_kinds: frozenset[str], now: datetime
) -> None:
    """Check that a consent names enrolled parties of the right kinds and is of use; see `check_terms`.

    Raises:
        ConsentRefusedError: `field` is the consent's own.
    """
    check_terms(record, parties, recipient_kinds, now)
    _check_not_ahead(seconds(record.event_time), now)


def check_terms(
    terms: ConsentTerms, parties: Mapping[str, Party], recipient_kinds: frozenset[str], now: datetime
) -> None:
    """Check what a consent allows, or would allow.

    Args:
        terms: of a consent, or of a request for one.
        parties: the enrolled parties by id.
        recipient_kinds: kinds of parties that may receive scores.
        now: the hub's time.

    Raises:
        ConsentRefusedError: `field` is the consent's own.
    """
    for kind, party_id in terms.sources.items():
        party = parties.get(party_id)
        if party is None or party.kind != kind or kind in RESERVED_KINDS:
            raise ConsentRefusedError(
                f"{party_id} is not enrolled as a source of kind {kind}.",
                field="sources",
                remedy="Name enrolled sources under their own kinds; the merchant signs the consent again.",
            )
    for party_id in terms.recipients:
        party = parties.get(party_id)
        if party is None or party.kind not in recipient_kinds:
            raise ConsentRefusedError(
                f"{party_id} is not enrolled as a party that may receive scores.",
                field="recipients",
                remedy=f"Name recipients of kind {', '.join(sorted(recipient_kinds))}; the merchant signs again.",
            )
    if seconds(terms.valid_until) <= seconds(now):
        raise ConsentRefusedError(
            "The consent has expired already.", field="valid_until", remedy="Let the merchant sign a new one."
        )


def next_state(state: str, state_time: int, event: ConsentEvent, now: datetime) -> str:
    """Return the state that an event leads to.

    A revocation or refusal is final and is taken whatever its time; other events must not be older than the last one,
    so that nobody can hold back a signed `resumed` and play it after a later pause.

    Args:
        state, state_time: of the consent, with the event time of its last change.
        event: a verified event of the same consent.
        now: the hub's time.

    Raises:
        ConsentStateError: the event does not follow from the state.
        ConsentRefusedError: its time lies ahead of the hub's.
    """
    following = _NEXT.get(state, {}).get(event.event)
    if following is None:
        raise ConsentStateError(
            f"A consent that is {state} cannot be {event.event}.",
            field="event",
            remedy="Revocation is final: ask the merchant for a new consent."
            if state in FINAL
            else "Possible are paused, resumed after a pause, revoked and refused.",
        )
    _check_not_ahead(seconds(event.event_time), now)
    if following not in FINAL and seconds(event.event_time) < state_time:
        raise ConsentStateError(
            "The event is older than the consent's last change.",
            field="event_time",
            remedy="Let the merchant sign the event anew.",
        )
    return following


def _check_not_ahead(moment: int, now: datetime) -> None:
    if moment > seconds(now) + CLOCK_SKEW_S:
        raise ConsentRefusedError(
            "The event's time is more than 5 minutes ahead of the hub's.",
            field="event_time",
            remedy="Set the merchant's device clock and sign again.",
        )
