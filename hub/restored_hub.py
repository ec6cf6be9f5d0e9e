"""What a hub does about stores that were set back, its own and those of nodes: where its parts are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crypto.jws import peek_kid, verify_model
from crypto.wire.charges import ChargesQuestion
from crypto.wire.party import Party
from hub.errors import PeerError, StateError
from hub.parties import WITNESS
from hub.restored_log import RestoredLog

if TYPE_CHECKING:
    from hub.log import Fact
    from hub.services import Hub

MAX_REASON = 500


def restored_log(hub: Hub) -> RestoredLog:
    """What compares the log with what the witness cosigned."""
    return RestoredLog(
        hub.db,
        clock=hub.clock,
        origin=hub.config.log_origin,
        hub_key=hub.keys.identity,
        restoration=hub.log.guard,
        witness=hub.parties.witness,
        links=lambda: hub.links,
        on_change=hub.roster.reload,
        timeout_s=hub.config.log.cosign_timeout_s,
    )


def move_feed(hub: Hub, party: Party, held_seq: int) -> bool:
    """A party that holds more of its feed than a restored hub goes on from there, and hears again what all must.

    The witness holds what this database does not: nothing is written before it was heard.
    """
    guard, is_witness = hub.log.guard, party.kind == WITNESS
    if is_witness:
        guard.hold(log_size=hub.log.reader.size(), witness_size=None, now=hub.clock())
    if not guard.move_feed(party.party_id, held_seq, while_held=is_witness):
        return False
    if not guard.held():
        with hub.db.session() as session:
            facts: dict[str, Fact] = {"party_id": party.party_id, "after": held_seq}
            hub.log.append(session, "feed-moved", hub.config.hub_id, facts=facts)
            hub.notices.tell(session, party.party_id)
            hub.models.tell(session, party.party_id)
    return True


def finish(hub: Hub, reason: str) -> None:
    """The operator says that all is back that was lost with the database.

    Raises:
        StateError: there is nothing to finish, the witness was not heard yet, or there is no reason.
    """
    if not reason.strip():
        raise StateError("This needs a reason.", field="reason", remedy="Say how it was made sure: --reason.")
    with hub.db.session() as session:
        done = hub.log.guard.finish(session, hub.clock())
        facts: dict[str, Fact] = {
            "before": done.log_size,
            "after": done.witness_size,
            "lost": sum(done.lost.values()),
            "reason": reason.strip()[:MAX_REASON],
        }
        hub.log.append(session, "hub-restored", hub.config.hub_id, facts=facts)


def known_sends(hub: Hub, question: str) -> str:
    """Carry a node's question about its sends to the witness; PeerError where it cannot be asked, or refuses."""
    party = hub.roster.party(peek_kid(question, typ="charges-question"))
    verify_model(question, party.sign_key, ChargesQuestion, typ="charges-question", kid=party.party_id)
    witness = hub.parties.witness()
    if witness is None:
        raise PeerError("No witness is enrolled.", remedy="Enrol the regulator's witness first.")
    timeout = hub.config.log.cosign_timeout_s
    return hub.links.request(witness.party_id, "charges", question.encode(), timeout).decode("ascii", "replace")
