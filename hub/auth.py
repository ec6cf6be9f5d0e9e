"""Who may ask without a token: parties and merchants by a signature over each single request."""

from __future__ import annotations

from crypto.dated import verify_dated
from crypto.jws import peek_kid
from crypto.wire.consent_request import ConsentsQuestion
from crypto.wire.party import Party
from crypto.wire.service import SignedRequest
from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import ForbiddenError, UnauthorisedError
from hub.merchant_signatures import verify_request
from hub.nonces import Nonces
from hub.party_signatures import verify_body
from hub.roster import RosterKeeper


class PartyAuth:
    """Accepts a party's signed request once, from the cosigned roster's key."""

    def __init__(self, roster: RosterKeeper, *, clock: Clock, nonces: Nonces) -> None:
        self._roster = roster
        self._clock = clock
        self._nonces = nonces

    def check(self, authorization: str | None, *, method: str, path: str) -> Party:
        """Accept `Authorization: Digua <JWS request>` for this method and path (with its query string).

        Raises:
            UnauthorisedError: no such header, or the request is for something else or out of time.
            PartyUnknownError: the party is not on the cosigned roster.
            SignatureError: the signature is wrong.
            ReplayError: its nonce came before.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "digua":
            raise UnauthorisedError(
                "This needs a party's signature.",
                field="Authorization",
                remedy="Send `Authorization: Digua <JWS of type request>`.",
            )
        party = self._roster.party(peek_kid(token.strip(), typ="request"))
        keys, now = self._roster.keys_of(party), self._clock()
        request = verify_dated(
            token.strip(), keys, SignedRequest, typ="request", kid=party.party_id, date=lambda _request: now
        )
        if (request.party_id, request.method, request.path) != (party.party_id, method, path):
            raise UnauthorisedError(
                "The signature is for another request.", field="Authorization", remedy="Sign this method and path."
            )
        self._nonces.spend(party.party_id.encode() + request.nonce, seconds(request.issued_at), seconds(now))
        return party

    def question(self, token: str) -> ConsentsQuestion:
        """Accept a JWS `consents-question` once.

        Raises:
            PartyUnknownError, SignatureError, ForbiddenError, UnauthorisedError: see `verify_body`.
            ReplayError: its nonce came before.
        """
        now = self._clock()
        party, body = verify_body(self._roster, token, "consents-question", ConsentsQuestion, now=now)
        self._nonces.spend(party.party_id.encode() + body.nonce, seconds(body.issued_at), seconds(now))
        return body


class MerchantAuth:
    """Accepts a merchant's signed request once, under its newest enrolled key."""

    def __init__(self, db: Database, *, clock: Clock, nonces: Nonces) -> None:
        self._db = db
        self._clock = clock
        self._nonces = nonces

    def check(self, token: str) -> bytes:
        """Accept a JWS `merchant-request` and return the merchant's pseudonym.

        Raises:
            MerchantKeyUnknownError: no key is enrolled for its key id.
            SignatureError, KeyFormatError: it does not verify.
            ForbiddenError: it is about another merchant than its signer.
            UnauthorisedError, ReplayError: it is out of time, or its nonce came before.
        """
        pseudonym, request = verify_request(self._db, token)
        if request.pii_principal_id != pseudonym:
            raise ForbiddenError(
                "The request is about another merchant than the one who signed it.",
                field="pii_principal_id",
                remedy="Each merchant asks for its own records.",
            )
        self._nonces.spend(pseudonym + request.nonce, seconds(request.issued_at), seconds(self._clock()))
        return pseudonym
