"""Who the hub is, enrolment, the cosigned roster, merchants' keys."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from crypto.wire.party import MerchantKeySubmission
from crypto.wire.service import EnrolmentReceipt, HubInfo, MerchantKeysReceipt, SuccessionReceipt
from hub.api.dependencies import AdminOnly, HubOf, RawBody, TokenBody, answer, parse
from hub.api.described import JOSE, about
from hub.api.views import PartyList
from hub.errors import NotFoundError
from hub.restored_hub import known_sends

router = APIRouter(prefix="/v1", tags=["parties"])


@router.get("/info", **about(gives=HubInfo))
def read_info(hub: HubOf) -> Response:
    """Say who the hub is; nodes compare with what they pinned."""
    return answer(hub.info())


@router.post("/enrolments", **about(takes="enrolment", gives=EnrolmentReceipt, status=201))
def enrol(hub: HubOf, token: TokenBody) -> Response:
    """Enrol with a JWS `enrolment`."""
    return answer(hub.enrolment.enrol(token), 201)


@router.post("/key-rotations", **about(takes="key-rotation", gives=EnrolmentReceipt))
def rotate(hub: HubOf, token: TokenBody) -> Response:
    """Rotate keys with a JWS `key-rotation`."""
    return answer(hub.enrolment.rotate(token))


@router.post("/key-successions", **about(takes="key-succession", gives=SuccessionReceipt))
def announce_key(hub: HubOf, token: TokenBody) -> Response:
    """Announce the witness's next signing key with a JWS `key-succession`."""
    return answer(hub.witness_rotation.announce(token))


@router.post("/charges", **about(takes="charges-question", gives=(JOSE,)))
def read_charges(hub: HubOf, token: TokenBody) -> Response:
    """Carry a node's JWS `charges-question` to the witness, and its answer, a JWS `charges`, back."""
    return PlainTextResponse(known_sends(hub, token), media_type=JOSE)


@router.get("/roster", **about(gives=(JOSE,)))
def read_roster(hub: HubOf) -> Response:
    """Return the newest roster as the witness signed it."""
    current = hub.roster.current()
    if current is None:
        raise NotFoundError(
            "The witness has cosigned no roster yet.",
            remedy="Start the witness's agent and have its owner approve the parties.",
        )
    return PlainTextResponse(current[0], media_type=JOSE)


@router.get("/parties", dependencies=[AdminOnly], **about(gives=PartyList, caller="administrator", made=True))
def list_parties(hub: HubOf) -> dict[str, object]:
    """List the enrolled parties, and who still waits for the witness."""
    pending = set(hub.roster.pending())
    connected = hub.links.connected()
    return {
        "parties": [
            {
                "party_id": party.party_id,
                "kind": party.kind,
                "region": party.region,
                "title": party.title,
                "approved": party.party_id not in pending,
                "connected": party.party_id in connected,
            }
            for party in hub.parties.all()
        ]
    }


@router.post("/merchant-keys", **about(takes=MerchantKeySubmission, gives=MerchantKeysReceipt, status=201))
def store_merchant_keys(hub: HubOf, body: RawBody) -> Response:
    """Store a countersigned batch of merchants' keys."""
    return answer(hub.merchant_keys.store(parse(body, MerchantKeySubmission)), 201)
