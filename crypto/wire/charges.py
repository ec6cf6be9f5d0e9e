"""What the witness knows that a node has sent: a node whose store was set back gets its ledger from it (3)."""

from __future__ import annotations

from crypto.wire.base import Hash, Identifier, Moment, Nonce, PartyId, Suite, WireModel
from crypto.wire.campaign import MechanismTerms


class ChargesQuestion(WireModel):
    """JWS type `charges-question`, by a node: which of my sends do you know?"""

    suite: Suite
    party_id: PartyId
    nonce: Nonce
    issued_at: Moment


class KnownSend(WireModel):
    """One send of the node, as the witness knows it.

    Attributes:
        run: of a try of an encoder round, the run's attempt; a run is charged once.
        certain: the witness has the node's receipt, or the run has ended; otherwise the node may have sent or not.
    """

    attempt: Identifier
    campaign_id: Identifier
    run: Identifier | None = None
    h: Hash
    mechanisms: tuple[MechanismTerms, ...]
    delta_sum: float
    certain: bool


class KnownSends(WireModel):
    """JWS type `charges`, by the witness: every attempt of this party that it did not void; answers the nonce."""

    suite: Suite
    party_id: PartyId
    nonce: Nonce
    issued_at: Moment
    sends: tuple[KnownSend, ...]
