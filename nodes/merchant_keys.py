"""Merchants' keys at a node: made into batches by the platform, countersigned by a bank, verified by all (0).

M1  The platform's agent collects its merchants' public keys under one Merkle root and signs the batch.
M2  A bank's agent countersigns the same bytes if every merchant of it is a customer of its own: the platform alone must
    not be able to invent consents.
M4  A node that receives a consent verifies both signatures and the key's place in the batch against the cosigned
    roster. (M3 is the hub's.)

When a signer has rotated its key, its batches are to be signed again: no older key is trusted.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from crypto.canonical import canonical_bytes
from crypto.errors import ProofError, SignatureError
from crypto.jws import merchant_public, parse_canonical, peek_kid, sign_model, verify, verify_model
from crypto.keys import Signer
from crypto.merkle import leaf_hash, root, verify_inclusion
from crypto.wire.base import SUITE, Token, WireModel
from crypto.wire.party import (
    MerchantKeyBatch,
    MerchantKeyLeaf,
    MerchantKeyStatement,
    MerchantKeySubmission,
    Party,
)
from nodes.errors import PolicyRefusal
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.roster import PseudonymRow

BATCH_TYPE = "merchant-keys"
COUNTERSIGNATURE_TYPE = "merchant-keys-countersignature"
_LOOKUP = 500  # SQLite binds a limited number of values
_MAX_CACHED = 4096


class MerchantKeyDraft(WireModel):
    """A batch that the platform has signed and a bank is to countersign; it travels as a file between the two."""

    batch: Token
    leaves: tuple[MerchantKeyLeaf, ...]


@dataclass(frozen=True)
class VerifiedKey:
    """A merchant's key that platform and bank both signed for.

    Attributes:
        issued_at: when its batch was signed; a merchant's newest key counts.
    """

    pseudonym: bytes
    jwk: dict[str, str]
    issued_at: datetime


class MerchantKeyVerifier:
    """Verifies statements (M4). Batches come again and again: verified ones are remembered until the roster changes."""

    def __init__(self, roster: RosterBook) -> None:
        self._roster = roster
        self._lock = threading.Lock()
        self._verified: dict[tuple[str, str], MerchantKeyBatch] = {}
        self._version = -1

    def verify(self, statement: MerchantKeyStatement) -> VerifiedKey:
        """The key in a statement.

        Raises:
            SignatureError: a signature is wrong, or the two are over different bytes.
            PeerError: a signer is not in the cosigned roster.
            PolicyRefusal: a signer is of the wrong kind or not the one that the batch names.
            ProofError: the key is not in the batch. (What uses the key refuses one that is malformed.)
        """
        batch = self._batch(statement.batch, statement.countersignature)
        leaf = canonical_bytes(statement.leaf)
        verify_inclusion(leaf_hash(leaf), statement.index, batch.size, statement.proof, batch.root)
        return VerifiedKey(statement.leaf.pseudonym, dict(statement.leaf.jwk), batch.issued_at)

    def _batch(self, token: str, countersignature: str) -> MerchantKeyBatch:
        with self._lock:
            if self._version != self._roster.version or len(self._verified) > _MAX_CACHED:
                self._verified.clear()
                self._version = self._roster.version
            known = self._verified.get((token, countersignature))
        if known is not None:
            return known
        signer = self._roster.party(peek_kid(countersignature, typ=COUNTERSIGNATURE_TYPE))
        countersigned = verify(countersignature, signer.sign_key, typ=COUNTERSIGNATURE_TYPE, kid=signer.party_id)
        batch, payload = read_batch(token, self._roster)
        if countersigned != payload:
            raise SignatureError(
                "the two signatures on a batch of merchants' keys are over different bytes",
                field="countersignature",
                remedy="have the bank countersign the batch as the platform signed it",
            )
        _check_countersigner(batch, signer)
        with self._lock:
            self._verified[token, countersignature] = batch
        return batch


def read_batch(token: str, roster: RosterBook) -> tuple[MerchantKeyBatch, bytes]:
    """The platform's batch and its exact bytes.

    Raises:
        SignatureError: the platform's signature is wrong.
        PeerError: it is not in the cosigned roster.
        PolicyRefusal: it is no client, or the batch names another platform.
    """
    platform = roster.party(peek_kid(token, typ=BATCH_TYPE))
    payload = verify(token, platform.sign_key, typ=BATCH_TYPE, kid=platform.party_id)
    batch = parse_canonical(payload, MerchantKeyBatch)
    if platform.kind != "client" or batch.platform != platform.party_id:
        raise PolicyRefusal(
            "merchant-keys-signer",
            f"{platform.party_id} may not enrol merchants' keys in this batch",
            field="platform",
            remedy="merchants' keys are enrolled by the client that the batch names",
        )
    return batch, payload


def draft_batch(
    leaves: Sequence[MerchantKeyLeaf],
    *,
    identity: Signer,
    platform: str,
    countersigner: Party,
    batch_id: str,
    now: datetime,
) -> MerchantKeyDraft:
    """M1: sign a batch of keys.

    Args:
        leaves: 1 to 65,536 keys, one a merchant.
        identity, platform: the platform's key and id.
        countersigner: the bank that knows these merchants.
        batch_id: 32 hex digits, fresh.
        now: time of signing.

    Raises:
        PolicyRefusal: no keys, a merchant twice, or a party that cannot countersign.
        KeyFormatError: a leaf holds anything else than the members of one public key.
    """
    _check_leaves(leaves)
    batch = MerchantKeyBatch(
        suite=SUITE,
        batch_id=batch_id,
        platform=platform,
        countersigner=countersigner.party_id,
        size=len(leaves),
        root=_root(leaves),
        issued_at=now,
    )
    _check_countersigner(batch, countersigner)
    return MerchantKeyDraft(batch=sign_model(batch, identity, typ=BATCH_TYPE, kid=platform), leaves=tuple(leaves))


def countersign(
    draft: MerchantKeyDraft, *, identity: Signer, party: Party, roster: RosterBook, store: Store
) -> MerchantKeySubmission:
    """M2: countersign a batch whose merchants are all own customers.

    That the key is really the merchant's is for the bank to know, e.g. as the merchant confirmed it in the bank's own
    app or at its counter; the agent checks that it is a customer at all.

    Args:
        draft: from the platform.
        identity, party: this bank's key and its entry in the roster.
        roster: whom the node trusts.
        store: holds the pseudonyms of the node's own customers.

    Raises:
        SignatureError, PeerError: the platform's signature or the platform is not to be trusted.
        PolicyRefusal: another countersigner is named, or a merchant is not among the node's own customers.
        ProofError: the leaves are not those of the batch.
        KeyFormatError: a leaf is no public key.
    """
    batch, _ = read_batch(draft.batch, roster)
    _check_countersigner(batch, party)
    _check_leaves(draft.leaves)
    if len(draft.leaves) != batch.size or _root(draft.leaves) != batch.root:
        raise ProofError(
            "the keys are not those of the batch", field="leaves", remedy="ask the platform for the batch again"
        )
    strangers = len(draft.leaves) - _customers(store, [leaf.pseudonym for leaf in draft.leaves])
    if strangers:
        raise PolicyRefusal(
            "merchant-not-customer",
            f"{strangers} of {len(draft.leaves)} merchants are not customers of {party.party_id}",
            field="leaves",
            remedy="let the platform sign a batch with this bank's own customers only",
        )
    return MerchantKeySubmission(
        batch=draft.batch,
        countersignature=sign_model(batch, identity, typ=COUNTERSIGNATURE_TYPE, kid=party.party_id),
        leaves=draft.leaves,
    )


def check_submission(submission: MerchantKeySubmission, roster: RosterBook) -> MerchantKeyBatch:
    """What the platform checks before it hands a countersigned batch to the hub.

    Raises:
        SignatureError, PeerError, PolicyRefusal, ProofError: see `MerchantKeyVerifier.verify`.
    """
    batch, payload = read_batch(submission.batch, roster)
    signer = roster.party(batch.countersigner)
    signed = verify_model(
        submission.countersignature,
        signer.sign_key,
        MerchantKeyBatch,
        typ=COUNTERSIGNATURE_TYPE,
        kid=signer.party_id,
    )
    if canonical_bytes(signed) != payload or _root(submission.leaves) != batch.root:
        raise ProofError(
            "the countersigned batch is not the one that was signed",
            field="countersignature",
            remedy="have the bank countersign the batch again",
        )
    return batch


def _customers(store: Store, pseudonyms: Sequence[bytes]) -> int:
    """How many of these pseudonyms are of the node's own customers."""
    found = 0
    with store.reading() as session:
        for start in range(0, len(pseudonyms), _LOOKUP):
            part = pseudonyms[start : start + _LOOKUP]
            found += len(session.scalars(select(PseudonymRow.pseudonym).where(PseudonymRow.pseudonym.in_(part))).all())
    return found


def _check_leaves(leaves: Sequence[MerchantKeyLeaf]) -> None:
    if not leaves or len({leaf.pseudonym for leaf in leaves}) != len(leaves):
        raise PolicyRefusal(
            "merchant-keys-invalid",
            "a batch has no keys, or a merchant twice",
            field="leaves",
            remedy="give one key per merchant",
        )
    for leaf in leaves:
        if merchant_public(leaf.jwk) != leaf.jwk:
            raise PolicyRefusal(
                "merchant-keys-invalid",
                "a key has more members than one public key",
                field="leaves",
                remedy="leave out all but kty, crv, x and y",
            )


def _check_countersigner(batch: MerchantKeyBatch, party: Party) -> None:
    if batch.countersigner != party.party_id or party.kind in ("client", "witness"):
        raise PolicyRefusal(
            "merchant-keys-signer",
            f"{party.party_id} may not countersign this batch",
            field="countersigner",
            remedy="name a source, such as the merchants' bank, and have that party countersign",
        )


def _root(leaves: Sequence[MerchantKeyLeaf]) -> bytes:
    return root([leaf_hash(canonical_bytes(leaf)) for leaf in leaves])
