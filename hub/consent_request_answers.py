"""How consents answer requests: a consent whose id is a request's stays within it (R3 of `hub.consent_requests`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.jws import peek_payload
from crypto.wire.consent import ConsentRecord
from crypto.wire.consent_request import ConsentRequest, RequestState
from hub.clock import seconds
from hub.errors import ConsentRefusedError
from hub.merchant_errors import ConsentRequestStateError
from hub.merchant_signatures import Verified, naming
from hub.tables.consent_requests import ConsentRequestRow


def answer_requests(session: Session, consents: Sequence[Verified[ConsentRecord]], now: datetime) -> None:
    """R3: let consents that answer requests do so, in the transaction that stores them.

    Raises:
        ConsentRefusedError: the request is another merchant's, or the consent goes beyond it.
        ConsentRequestStateError: it was refused, withdrawn, or has expired.
    """
    by_id = {consent.body.record_id: consent for consent in consents}
    ids = sorted(by_id)
    for start in range(0, len(ids), 500):
        query = select(ConsentRequestRow).where(ConsentRequestRow.request_id.in_(ids[start : start + 500]))
        for row in session.scalars(query.with_for_update()):
            consent = by_id[row.request_id]
            with naming(consent.place):
                if row.pseudonym != consent.body.pii_principal_id:
                    raise ConsentRefusedError(
                        "A request to another merchant has this id.",
                        field="record_id",
                        remedy="Give each consent a fresh random id.",
                    )
                state = state_of(row, seconds(now))
                if state not in ("open", "signed"):
                    raise ended(state)
                _check_within(consent.body, ConsentRequest.model_validate_json(peek_payload(row.token)))
            row.state, row.ended_at = "signed", seconds(now)


def _check_within(record: ConsentRecord, request: ConsentRequest) -> None:
    """A page that shows a request must not have the merchant sign for more than it was asked for."""
    terms = request.terms
    for name in ("purposes", "recipients", "pii_information", "separate_consent"):
        if not set(getattr(record, name)) <= set(getattr(terms, name)):
            raise _beyond(name)
    if not record.sources.items() <= terms.sources.items():
        raise _beyond("sources")
    if record.valid_until > terms.valid_until:
        raise _beyond("valid_until")
    for name in ("fetch_type", "frequency", "data_life"):
        if getattr(record, name) != getattr(terms, name):
            raise _beyond(name)


def state_of(row: ConsentRequestRow, now: int) -> RequestState:
    """Return where a request stands now."""
    return "expired" if row.state == "open" and row.answer_by <= now else cast("RequestState", row.state)


def ended(state: str) -> ConsentRequestStateError:
    """Return the refusal of what comes too late for a request."""
    return ConsentRequestStateError(
        f"The request is {state}.", field="request_id", remedy="Let the party ask with a new request."
    )


def _beyond(field: str) -> ConsentRefusedError:
    return ConsentRefusedError(
        "The consent goes beyond the request that it answers.",
        field=field,
        remedy="Sign what was asked for, or less; for more, the party asks anew.",
    )
