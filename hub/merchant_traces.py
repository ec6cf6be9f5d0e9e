"""What was asked of a merchant and by it, as it is forgotten with its erasure (PIPL 47)."""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.orm import Session

from hub.tables.consent_requests import ConsentRequestRow
from hub.tables.invitations import InvitationRow
from hub.tables.tickets import TicketRow

TRACES = (InvitationRow.__tablename__, ConsentRequestRow.__tablename__, TicketRow.__tablename__)


def forget_traces(session: Session, pseudonym: bytes) -> None:
    """Delete a merchant's invitations, the requests for its consent, and its tickets with their answers."""
    session.execute(delete(InvitationRow).where(InvitationRow.pseudonym == pseudonym))
    session.execute(delete(ConsentRequestRow).where(ConsentRequestRow.pseudonym == pseudonym))
    session.execute(delete(TicketRow).where(TicketRow.pseudonym == pseudonym))
