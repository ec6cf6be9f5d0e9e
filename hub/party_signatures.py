"""What parties sign and bring to the hub as a body of its own: exact bytes first, then parsed (2)."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from crypto.jws import peek_kid, verify_model
from crypto.wire.consent_request import ConsentRequest, ConsentsQuestion
from crypto.wire.invitation import Invitation
from crypto.wire.party import Party
from crypto.wire.service import SIGNED_REQUEST_SECONDS
from crypto.wire.ticket import TicketAnswer
from hub.clock import seconds
from hub.errors import ForbiddenError, UnauthorisedError
from hub.roster import RosterKeeper

B = TypeVar("B", Invitation, ConsentRequest, ConsentsQuestion, TicketAnswer)


def verify_body(roster: RosterKeeper, token: str, typ: str, model: type[B], *, now: datetime) -> tuple[Party, B]:
    """Verify a party's signed body under its key on the cosigned roster.

    Args:
        roster: whom the witness approved.
        token: compact JWS; its key id is the party's id.
        typ, model: what it must be.
        now: the hub's time.

    Raises:
        PartyUnknownError: the party is not on the roster.
        SignatureError: it does not verify, or is no canonical `model`.
        ForbiddenError: it names another party than its signer.
        UnauthorisedError: its time is more than five minutes from the hub's.
    """
    party = roster.party(peek_kid(token, typ=typ))
    body = verify_model(token, party.sign_key, model, typ=typ, kid=party.party_id)
    if body.party_id != party.party_id:
        raise ForbiddenError(
            "The body names another party than the one who signed it.",
            field="party_id",
            remedy="Each party signs in its own name.",
        )
    if abs(seconds(now) - seconds(body.issued_at)) > SIGNED_REQUEST_SECONDS:
        raise UnauthorisedError(
            "The signature's time is more than 5 minutes from the hub's.",
            field="issued_at",
            remedy="Set the clock, sign again.",
        )
    return party, body
