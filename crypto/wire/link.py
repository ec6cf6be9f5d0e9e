"""Frames of the one outbound connection of a node (msgpack of these fields on a WebSocket)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from crypto.wire.assessment import ImpactAssessment
from crypto.wire.base import Code, Identifier, Moment, Nonce, PartyId, Suite, Token, WireModel

FrameType = Literal[
    "challenge",
    "hello",
    "welcome",
    "feed",
    "feed-ack",
    "flower",
    "query",
    "voprf",
    "charges",
    "cosign-checkpoint",
    "log-tail",
    "cosign-roster",
    "release-model",
    "withdraw-model",
    "rollback-model",
    "reply",
    "problem",
]


class Frame(BaseModel):
    """A frame in Python form. `body` is JSON of the type's model, or a Flower message's protobuf bytes.

    `trace` names the request that a frame belongs to, for the logs of both sides (W3C `traceparent`); nothing is
    decided by it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: FrameType
    id: Annotated[str, Field(min_length=1, max_length=64)]
    reply_to: str | None = None
    body: bytes
    trace: Annotated[str, Field(pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$")] | None = None


class Challenge(WireModel):
    """Hub to node, first frame."""

    hub_id: PartyId
    nonce: Nonce


class Hello(WireModel):
    """JWS type `hello`, by the node: answers the challenge and says how much of its feed it holds."""

    suite: Suite
    party_id: PartyId
    hub_id: PartyId
    nonce: Nonce
    feed_seq: Annotated[int, Field(ge=0)]
    software: Annotated[str, Field(max_length=64)]
    issued_at: Moment


class Welcome(WireModel):
    """Hub to node: the link is up. `roster` is the newest cosigned roster, when there is one.

    `successions` say which keys of hub and witness follow which; each is signed for itself.
    """

    party_id: PartyId
    roster: Token | None
    successions: tuple[Token, ...] = ()


class FeedAck(WireModel):
    """Node to hub: stored durably up to `seq`."""

    seq: Annotated[int, Field(ge=0)]


class RosterProposal(WireModel):
    """Hub to witness: JSON of the roster to cosign. The reply's body is a JWS `roster`, or a problem that names
    the parties its owner has not approved."""

    roster: str


class RoundShares(WireModel):
    """The counted try of one encoder round: exact share bytes and JWS `round-receipt` by party."""

    attempt: Identifier
    """`<run>/<round>.<try>`."""
    parameters: bytes
    """At which the gradients were taken: little-endian float64, the bytes that the receipts name by their hash."""
    shares: dict[PartyId, bytes]
    receipts: dict[PartyId, Token]


class EarlierTable(WireModel):
    """A released scorecard, and the exact share bytes from which the witness opens its table again."""

    artefact: str
    attempt: Identifier
    shares: dict[PartyId, bytes]


class ReleaseProposal(WireModel):
    """Hub to witness: a model to release, with the nodes' exact share bytes, so that it can make the model again.

    Scorecards come with the `shares` of their attempt by party, checked against the receipts that the witness holds,
    and with those of the `earlier` tables that were counted with theirs; encoders with all `rounds` in order, and with
    the artefact of the model that they `start` from, if any.
    """

    artefact: str
    attempt: str | None
    scope: Literal["evaluation", "release"]
    assessment: ImpactAssessment | None = None
    """Of the models of this campaign, for scope `release`."""
    shares: dict[PartyId, bytes] = {}
    rounds: tuple[RoundShares, ...] = ()
    earlier: tuple[EarlierTable, ...] = ()
    start: str | None = None


class WithdrawalProposal(WireModel):
    """Hub to witness: withdraw this model."""

    model_id: str
    reason: str


class RollbackProposal(WireModel):
    """Hub to witness: of this line use this released model again, and those `over` it no more."""

    line: str
    model_id: str
    over: tuple[str, ...]
    reason: str


class ProblemBody(WireModel):
    """RFC 9457 over the link: a typed refusal of a remote party, with its name."""

    code: Code
    title: str
    detail: str
    field: str | None = None
    remedy: str | None = None
    party: PartyId | None = None
