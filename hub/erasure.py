"""Erasing what links the audit log to a merchant (PIPL 47; docs/protocol.md, 8).

X1  The salts of all entries about the merchant are deleted, with the outcomes of its queries that lie beside them; at
    the end the database is written anew, so that its file holds them no more.
X2  Times of receipt in the merchant's consents and events are cut down to their day, as they are those of entries.
X3  Its invitations, the requests for its consent and its tickets are deleted; who answers a ticket has it by now.
X4  The erasure is logged by the number of entries, without a subject.

Entries stay as they are, so the tree and all checkpoints still verify; each is an unlinkable commitment from now on.
"""

from __future__ import annotations

from hub.consents import forget_receipt
from hub.merchant_traces import TRACES, forget_traces
from hub.services import Hub
from hub.tables.log import SubjectSaltRow


def erase_merchant(hub: Hub, pseudonym: bytes) -> int:
    """X1 to X4, in one transaction; return how many entries lost their link to the merchant.

    Raises:
        StateError: all is deleted, but the database's file could not be written anew; erase again.
    """
    with hub.db.session() as session:
        hub.db.overwrite_deleted(session)
        erased = hub.log.erase_subject(session, pseudonym)
        forget_receipt(session, pseudonym)
        forget_traces(session, pseudonym)
        hub.log.append(session, "erasure", hub.config.hub_id, facts={"entries": erased})
    hub.db.write_anew(SubjectSaltRow.__tablename__, *TRACES)
    return erased
