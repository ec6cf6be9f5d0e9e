"""Who may ask: the administrator by a bearer token, parties and merchants by a signature over each single request."""

from __future__ import annotations

import hashlib
import hmac
import threading

from crypto.jws import peek_kid, verify_model
from crypto.wire.consent_request import ConsentsQuestion
from crypto.wire.party import Party
from crypto.wire.service import SIGNED_REQUEST_SECONDS, SignedRequest
from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import ForbiddenError, ReplayError, UnauthorisedError
from hub.merchant_signatures import verify_request
from hub.party_signatures import verify_body
from hub.roster import RosterKeeper


class BearerAuth:
    """Compares a token in constant time; holds its hash only.

    Args:
        token: the secret.
        whose: what it is called, e.g. ``the administrator's token``.
        where: the field of hub.yaml that names its file.
    """

    def __init__(self, token: str, *, whose: str, where: str) -> None:
        self._sha256 = hashlib.sha256(token.encode()).digest()
        self._whose = whose
        self._where = where

    def check(self, authorization: str | None) -> None:
        """Accept `Authorization: Bearer <token>`; UnauthorisedError otherwise."""
        scheme, _, token = (authorization or "").partition(" ")
        given = hashlib.sha256(token.strip().encode()).digest()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, self._sha256):
            raise UnauthorisedError(
                f"This needs {self._whose}.",
                field="Authorization",
                remedy=f"Send `Authorization: Bearer <token>`; the token lies in the hub's {self._where}.",
            )


class SpentNonces:
    """Lets each nonce pass once, for as long as its request is in time."""

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def spend(self, nonce: bytes, issued: int, now: int) -> None:
        """Spend a nonce.

        Raises:
            UnauthorisedError: the request's time is more than five minutes from the hub's.
            ReplayError: the nonce came before.
        """
        if abs(now - issued) > SIGNED_REQUEST_SECONDS:
            raise UnauthorisedError(
                "The signature's time is more than 5 minutes from the hub's.",
                field="issued_at",
                remedy="Set the clock, sign again.",
            )
        with self._lock:
            if nonce in self._seen:
                raise ReplayError(
                    "This signed request was used before.", field="nonce", remedy="Sign each request anew."
                )
            self._seen[nonce] = issued
            # Oldest first; what is out of time is refused anyway and need not be remembered.
            if len(self._seen) % 1024 == 0:
                self._seen = {n: t for n, t in self._seen.items() if now - t <= SIGNED_REQUEST_SECONDS}


class PartyAuth:
    """Accepts a party's signed request once, from the cosigned roster's key."""

    def __init__(self, roster: RosterKeeper, *, clock: Clock) -> None:
        self._roster = roster
        self._clock = clock
        self._nonces = SpentNonces()

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
        request = verify_model(token.strip(), party.sign_key, SignedRequest, typ="request", kid=party.party_id)
        if (request.party_id, request.method, request.path) != (party.party_id, method, path):
            raise UnauthorisedError(
                "The signature is for another request.", field="Authorization", remedy="Sign this method and path."
            )
        self._nonces.spend(party.party_id.encode() + request.nonce, seconds(request.issued_at), seconds(self._clock()))
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

    def __init__(self, db: Database, *, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._nonces = SpentNonces()

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
