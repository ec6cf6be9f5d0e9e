"""Brings the witness's decisions to nodes that were away, and has left-over attempts decided (docs/protocol.md, T4).

A node's charge for a void attempt is taken back only when it has the witness's signed void; a campaign that ended while
the witness was out of reach leaves attempts without any decision.
"""

from __future__ import annotations

import threading

import structlog

from crypto.dated import verify_any, verify_signer
from crypto.errors import CryptoError
from crypto.parcel import Parcel
from crypto.wire.campaign import Decision, Terms
from hub.campaign_book import OpenAttempt
from hub.campaign_record import CampaignRecord
from hub.campaign_services import CampaignServices
from hub.errors import HubError
from hub.parties import Witness
from hub.recruiting import roster_entry
from hub.witness_seat import WitnessSeat

LOOK_S = 2.0
_TRIP_S = 30.0
_STOP_S = 5.0
_logger = structlog.get_logger("hub.campaigns")


class DecisionCourier:
    """A thread that looks every few seconds who is back."""

    def __init__(self, services: CampaignServices, *, look_s: float = LOOK_S) -> None:
        self._services = services
        self._look_s = look_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._hopeless: set[str] = set()

    def start(self) -> None:
        """Begin to look."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._loop, name="decision-courier", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End within seconds."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def deliver(self) -> int:
        """Look once; return how many decisions arrived or were made."""
        connected = self._services.links().connected()
        done = 0
        for party_id, attempts in self._services.book.undelivered().items():
            if party_id in connected:
                done += sum(self._tell(party_id, attempt) for attempt in attempts)
        witness = self._services.parties.witness()
        if witness is not None and witness.party_id in connected:
            for left in self._services.book.undecided():
                done += self._settle(left)
        return done

    def _loop(self) -> None:
        while not self._stopping.wait(self._look_s):
            try:
                self.deliver()
            except Exception:
                _logger.exception("decision-courier-failed")

    def _tell(self, party_id: str, attempt: str) -> bool:
        from hub.grids.agent import AgentGrid  # noqa: PLC0415  (Flower is slow to import)
        from hub.grids.channel import Channel, Lost  # noqa: PLC0415

        token = self._signed_now(attempt)
        if token is None:
            return False
        grid = AgentGrid(self._services.links(), {2: party_id})
        try:
            parcel = Parcel({"decision": token})
            reply = Channel(grid, {party_id: 2}, _TRIP_S).ask_one("train.outcome", party_id, parcel, attempt)
        finally:
            grid.close()
        if isinstance(reply, Lost):
            return False
        if "refusal" in reply.texts:  # asked again it would say the same
            _logger.warning("decision-refused", party=party_id, attempt=attempt)
        self._services.book.delivered(attempt, party_id)
        return True

    def _signed_now(self, attempt: str) -> str | None:
        """The decision under the witness's key of now, as nodes take no other; None where that cannot be had now."""
        from hub.grids.agent import AgentGrid  # noqa: PLC0415
        from hub.grids.channel import Channel  # noqa: PLC0415
        from hub.table_opening import decided_again  # noqa: PLC0415

        services, book = self._services, self._services.book
        token, signed, witness = book.decision(attempt), book.terms(attempt), services.parties.witness()
        if token is None or signed is None or witness is None:
            return None
        decided, signer = verify_signer(token, witness.keys, Decision, typ="decision", kid=witness.party_id)
        if signer == witness.keys.at(book.clock()):
            return token
        if witness.party_id not in services.links().connected():
            return None
        terms = verify_any(signed, services.identity.line, Terms, typ="terms", kid=book.hub_id)
        grid = AgentGrid(services.links(), {2: witness.party_id})
        try:
            channel = Channel(grid, {witness.party_id: 2}, _TRIP_S)
            token = decided_again(channel, self._seat(witness), terms, decided.h, decided.decision)
        except (HubError, CryptoError) as refused:
            _logger.warning("decision-not-renewed", attempt=attempt, code=refused.code, reason=str(refused))
            return None
        finally:
            grid.close()
        book.renew_decision(attempt, token)
        return token

    def _seat(self, witness: Witness) -> WitnessSeat:
        return WitnessSeat(roster_entry(witness.party), lambda: witness.keys, self._services.book.clock)

    def _settle(self, left: OpenAttempt) -> bool:
        from hub.grids.agent import AgentGrid  # noqa: PLC0415
        from hub.grids.channel import Channel  # noqa: PLC0415
        from hub.table_opening import settle_attempt  # noqa: PLC0415

        services, book = self._services, self._services.book
        witness = services.parties.witness()
        if witness is None or left.attempt in self._hopeless:
            return False
        key = services.identity
        terms = verify_any(left.terms, key.line, Terms, typ="terms", kid=book.hub_id)
        parties = [witness.party_id, *(entry.party_id for entry in terms.roster)]
        numbers = dict(enumerate(parties, start=2))
        grid = AgentGrid(services.links(), numbers)
        channel = Channel(grid, {party: number for number, party in numbers.items()}, _TRIP_S)
        record = CampaignRecord(book, left.campaign_id, hub_key=key)
        try:
            settle_attempt(channel, self._seat(witness), terms, left.h, record, reopen=False)
        except (HubError, CryptoError) as refused:
            if witness.party_id in services.links().connected():
                self._hopeless.add(left.attempt)
            _logger.warning("attempt-not-settled", attempt=left.attempt, code=refused.code, reason=str(refused))
            return False
        finally:
            grid.close()
        return True
