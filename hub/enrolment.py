"""Enrolment with a one-time token and proof of possession, and rotation of keys (0).

E1  The operator issues a token, bound to one kind and one party id; only its SHA-256 is stored.
E2  The party signs its request with the very key it brings: it holds that key.
E3  The hub checks token and signature, stores the party and logs it, in one transaction; the token is spent.
E4  The witness's owner approves the party by name; only then does the roster hold it (`hub.roster`).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import timedelta

from pydantic import ValidationError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from crypto.errors import KeyFormatError, SignatureError
from crypto.jws import peek_kid, peek_payload, verify_model
from crypto.keys import fingerprint
from crypto.training_key import public_pem
from crypto.wire.party import EnrolmentRequest, KeyRotation, Party
from crypto.wire.service import SIGNED_REQUEST_SECONDS, EnrolmentReceipt
from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import EnrolmentError, PartyExistsError, PartyUnknownError
from hub.log import AuditLog, Fact
from hub.parties import WITNESS, find_witness, party_of, witness_of
from hub.tables.parties import EnrolmentTokenRow, KeySuccessionRow, PartyRow, RevokedKeyRow

TOKEN_BYTES = 24


def _token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _refused(message: str, field: str, remedy: str) -> EnrolmentError:
    return EnrolmentError(message, field=field, remedy=remedy)


class Enrolment:
    """Writes the book of parties.

    Args:
        db, log, clock: the hub's.
        hub_id: the actor of tokens in the log.
        on_change: called after a commit that the roster should follow.
        on_enrol: called within the transaction that enrols a party, with its id.
    """

    def __init__(
        self,
        db: Database,
        log: AuditLog,
        *,
        hub_id: str,
        clock: Clock,
        on_change: Callable[[], None],
        on_enrol: Callable[[Session, str], None],
    ) -> None:
        self._db = db
        self._log = log
        self._hub_id = hub_id
        self._clock = clock
        self._on_change = on_change
        self._on_enrol = on_enrol

    def issue_token(self, kind: str, party_id: str, *, valid_for: timedelta, replace: bool = False) -> str:
        """E1: make a token for one party.

        Args:
            kind: a schema's kind, ``client`` or ``witness``.
            party_id: the id that the party will have.
            valid_for: until when it may be used.
            replace: lets a party that lost its keys enrol again under its id.

        Raises:
            EnrolmentError: the kind is ``hub``.
            PartyExistsError: the id is enrolled, or was revoked, and `replace` is not given; or there is a witness.
        """
        if kind == "hub":
            raise _refused("The hub does not enrol with itself.", "kind", "Name a source kind, client or witness.")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        expires = self._clock() + valid_for
        with self._db.session() as session:
            _check_free(session, kind, party_id, replace=replace)
            session.add(
                EnrolmentTokenRow(
                    token_sha256=_token_hash(token),
                    kind=kind,
                    party_id=party_id,
                    replace=replace,
                    expires_at=seconds(expires),
                )
            )
            facts: dict[str, Fact] = {
                "party_id": party_id,
                "kind": kind,
                "replace": replace,
                "expires_at": seconds(expires),
            }
            self._log.append(session, "enrolment-token", self._hub_id, facts=facts)
        return token

    def enrol(self, request_token: str) -> EnrolmentReceipt:
        """E2, E3: take a party in.

        Args:
            request_token: compact JWS `enrolment`.

        Raises:
            EnrolmentError: the one-time token is unknown, spent, expired or for another; or the request is stale.
            PartyExistsError: the id is enrolled already.
            SignatureError: the request is not signed by the key it brings.
        """
        brought = _brought_key(request_token)
        kid = peek_kid(request_token, typ="enrolment")
        request = verify_model(request_token, brought, EnrolmentRequest, typ="enrolment", kid=kid)
        party = request.party
        if kid != party.party_id:
            raise _refused("The request names another party than its key id.", "party_id", "Sign it again.")
        if (request.voprf_key is None) == (party.kind == WITNESS):
            raise _refused(
                "The witness, and only the witness, brings a VOPRF key.",
                "voprf_key",
                "Enrol with `digua-node enrol`, which knows what each kind brings.",
            )
        _check_training_key(party)
        self._check_fresh(seconds(request.issued_at))
        now = seconds(self._clock())
        with self._db.session() as session:
            replace = _spend(session, request, now)
            _check_free(session, party.kind, party.party_id, replace=replace)
            _check_key(session, party)
            witness = witness_of(session)
            if party.kind == WITNESS and witness is not None and party.sign_key not in witness.keys.publics:
                # Its keys so far count no more, for anybody who pins the one that it brings.
                session.execute(delete(KeySuccessionRow).where(KeySuccessionRow.party_id == party.party_id))
            session.merge(PartyRow(**party.model_dump(), voprf_key=request.voprf_key, enrolled_at=now, changed_at=now))
            self._log.append(session, "enrolment", party.party_id, facts=_key_facts(party))
            self._on_enrol(session, party.party_id)
        self._on_change()
        return EnrolmentReceipt(party_id=party.party_id, approved=False)

    def rotate(self, rotation_token: str) -> EnrolmentReceipt:
        """Take a party's new keys: the statement by its old key, with the new key's own signature inside.

        Raises:
            PartyUnknownError: no such party.
            EnrolmentError: id, kind or region change, the statement is stale, or it is the witness's.
            SignatureError: either signature is wrong.
        """
        party_id = peek_kid(rotation_token, typ="key-rotation")
        with self._db.session() as session:
            row = session.get(PartyRow, party_id)
            if row is None:
                raise PartyUnknownError(f"{party_id} is not enrolled.", field="kid", remedy="Enrol first.")
            old = party_of(row)
            rotation = verify_model(rotation_token, old.sign_key, KeyRotation, typ="key-rotation", kid=party_id)
            new = _rotated(rotation)
            if (new.party_id, new.kind, new.region) != (old.party_id, old.kind, old.region) or (
                rotation.party_id != party_id
            ):
                raise _refused(
                    "A rotation changes keys and title only.", "new_party", "Enrol anew to change kind or region."
                )
            if old.kind == WITNESS:
                raise _refused(
                    "The witness's key is pinned by every node: its successor is announced to all of them.",
                    "new_party",
                    "Use `digua-node witness rotate-key`.",
                )
            _check_training_key(new)
            _check_key(session, new)
            self._check_fresh(seconds(rotation.issued_at))
            if new == old:
                # By the new key already: a node that lost our answer asks whether its keys were taken.
                return EnrolmentReceipt(party_id=party_id, approved=False)
            row.sign_key, row.box_key, row.title = new.sign_key, new.box_key, new.title
            row.training_key = new.training_key
            row.changed_at = seconds(self._clock())
            self._log.append(session, "key-rotation", party_id, facts=_key_facts(new))
        self._on_change()
        return EnrolmentReceipt(party_id=party_id, approved=False)

    def _check_fresh(self, issued_at: int) -> None:
        if abs(seconds(self._clock()) - issued_at) > SIGNED_REQUEST_SECONDS:
            raise _refused(
                "The request's time is more than 5 minutes from the hub's.", "issued_at", "Set the clock, sign again."
            )


def _check_free(session: Session, kind: str, party_id: str, *, replace: bool) -> None:
    known = session.get(PartyRow, party_id)
    if known is not None and (not replace or known.kind != kind):
        raise PartyExistsError(
            f"{party_id} is enrolled already, as {known.kind}.",
            field="party_id",
            remedy="Rotate its keys; or, where they are lost, issue a token with --replace and the same kind.",
        )
    if known is None and not replace:
        revoked = session.scalar(select(RevokedKeyRow.revoked_at).where(RevokedKeyRow.party_id == party_id).limit(1))
        if revoked is not None:
            raise PartyExistsError(
                f"{party_id} was revoked.",
                field="party_id",
                remedy="Where it may come back, issue one with --replace: it needs new keys and the witness's word.",
            )
    witness = find_witness(session)
    if kind == WITNESS and witness is not None and witness.party_id != party_id:
        raise PartyExistsError(
            f"{witness.party_id} is the witness; there is one only.",
            field="kind",
            remedy="Replace its keys under the same id.",
        )


def _check_key(session: Session, party: Party) -> None:
    if session.get(RevokedKeyRow, party.sign_key) is not None:
        raise _refused("This identity key was revoked.", "sign_key", "Make new keys in a new keys folder.")


def _spend(session: Session, request: EnrolmentRequest, now: int) -> bool:
    row = session.get(EnrolmentTokenRow, _token_hash(request.token))
    if row is None or row.used_at is not None or row.expires_at < now:
        # One sentence for all three: a guesser learns nothing.
        raise _refused(
            "The one-time token is unknown, used or expired.", "token", "Ask the hub's operator for a new one."
        )
    if (row.kind, row.party_id) != (request.party.kind, request.party.party_id):
        raise _refused(f"The token is for {row.party_id} of kind {row.kind}.", "token", "Enrol under this id and kind.")
    row.used_at = now
    return row.replace


def _brought_key(token: str) -> bytes:
    """Read the key that the request brings, **unverified**, so that it can be verified with it (E2)."""
    try:
        return EnrolmentRequest.model_validate_json(peek_payload(token)).party.sign_key
    except (SignatureError, ValidationError) as error:
        raise _refused("This is not an enrolment request.", "body", "Enrol with `digua-node enrol`.") from error


def _rotated(rotation: KeyRotation) -> Party:
    try:
        key = Party.model_validate_json(peek_payload(rotation.new_party)).sign_key
    except (SignatureError, ValidationError) as error:
        raise _refused("The statement brings no party.", "new_party", "Rotate with `digua-node rotate`.") from error
    return verify_model(rotation.new_party, key, Party, typ="rotated-party", kid=rotation.party_id)


def _check_training_key(party: Party) -> None:
    """A point that is none would stop the SuperLink from taking any node in."""
    if party.training_key is not None:
        try:
            public_pem(party.training_key)
        except KeyFormatError as error:
            raise _refused(str(error), "training_key", "Make the node's keys with `digua-node init`.") from error


def _key_facts(party: Party) -> dict[str, Fact]:
    return {
        "party_id": party.party_id,
        "kind": party.kind,
        "region": party.region,
        "sign_key": fingerprint(party.sign_key),
        "box_key": fingerprint(party.box_key),
        "training_key": None if party.training_key is None else fingerprint(party.training_key),
    }
