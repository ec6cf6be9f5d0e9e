"""Merchants' public keys: enrolled by the platform, countersigned by a bank, served with their proof (0).

M1  The platform signs a batch: the Merkle root over its merchants' canonical leaves.
M2  A bank countersigns the same bytes: the platform alone must not be able to invent consents.
M3  The hub checks both signatures against the cosigned roster, the root against the leaves, and that no key is older
    than the one it replaces (nodes go by that time), stores and logs.
M4  A node gets one leaf with its proof and both signatures, and trusts nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Select, func, insert, select
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from crypto.errors import CryptoError
from crypto.jws import merchant_public, parse_canonical, peek_kid, peek_payload, verify
from crypto.merkle import HASH_BYTES, leaf_hash, node_hash
from crypto.wire.party import MerchantKeyBatch, MerchantKeyLeaf, MerchantKeyStatement, MerchantKeySubmission, Party
from crypto.wire.service import MerchantKeysReceipt, RecordedKey
from hub.clock import Clock, moment, seconds
from hub.db import Database
from hub.errors import NotFoundError
from hub.log import AuditLog, Fact
from hub.merchant_errors import MerchantKeysError
from hub.parties import CLIENT, WITNESS
from hub.roster import RosterKeeper
from hub.tables.parties import MerchantKeyBatchRow, MerchantKeyRow

BATCH_TYPE = "merchant-keys"
COUNTERSIGNATURE_TYPE = "merchant-keys-countersignature"


def tree_with_proofs(leaf_hashes: Sequence[bytes]) -> tuple[bytes, list[list[bytes]]]:
    """Return the root over at least one leaf hash, and every leaf's inclusion proof, hashing each node once."""
    proofs: list[list[bytes]] = [[] for _ in leaf_hashes]
    level = list(leaf_hashes)
    members = [[index] for index in range(len(level))]
    while len(level) > 1:
        above: list[bytes] = []
        above_members: list[list[int]] = []
        for left in range(0, len(level) - 1, 2):
            for index in members[left]:
                proofs[index].append(level[left + 1])
            for index in members[left + 1]:
                proofs[index].append(level[left])
            above.append(node_hash(level[left], level[left + 1]))
            above_members.append(members[left] + members[left + 1])
        if len(level) % 2:
            above.append(level[-1])
            above_members.append(members[-1])
        level, members = above, above_members
    return level[0], proofs


def _refused(
    message: str, field: str, remedy: str = "Correct the batch and have it signed again."
) -> MerchantKeysError:
    return MerchantKeysError(message, field=field, remedy=remedy)


class MerchantKeys:
    """The book of merchants' keys; a merchant's newest key counts."""

    def __init__(self, db: Database, log: AuditLog, roster: RosterKeeper, *, clock: Clock) -> None:
        self._db = db
        self._log = log
        self._roster = roster
        self._clock = clock

    def store(self, submission: MerchantKeySubmission) -> MerchantKeysReceipt:
        """M3: check a batch and store it, all or nothing.

        Raises:
            MerchantKeysError: signatures over different bytes, wrong kinds of signers, a root that is not the
                leaves', a leaf that is not one public key, a merchant twice, a key older than the one it would
                replace, or a batch id that was used.
            PartyUnknownError: a signer is not on the cosigned roster.
            SignatureError: a signature is wrong.
        """
        batch = self._verify(submission)
        leaves = [canonical_bytes(leaf) for leaf in submission.leaves]
        _check_leaves(submission.leaves)
        root, proofs = tree_with_proofs([leaf_hash(leaf) for leaf in leaves])
        if root != batch.root:
            raise _refused("The batch's root is not that of its leaves.", "root")
        with self._db.session() as session:
            if session.get(MerchantKeyBatchRow, batch.batch_id) is not None:
                raise _refused("A batch of this id is stored already.", "batch_id", "Give every batch a fresh id.")
            replaced = _count_replaced(session, [leaf.pseudonym for leaf in submission.leaves], batch.issued_at)
            session.add(
                MerchantKeyBatchRow(
                    batch_id=batch.batch_id,
                    platform=batch.platform,
                    countersigner=batch.countersigner,
                    batch=submission.batch,
                    countersignature=submission.countersignature,
                    received_at=seconds(self._clock()),
                )
            )
            session.flush()
            rows = [
                {
                    "pseudonym": leaf.pseudonym,
                    "batch_id": batch.batch_id,
                    "position": position,
                    "leaf": leaves[position],
                    "proof": b"".join(proofs[position]),
                }
                for position, leaf in enumerate(submission.leaves)
            ]
            session.execute(insert(MerchantKeyRow), rows)
            facts: dict[str, Fact] = {
                "batch_id": batch.batch_id,
                "size": batch.size,
                "replaced": replaced,
                "countersigner": batch.countersigner,
                "root": batch.root.hex(),
            }
            self._log.append(session, "merchant-keys", batch.platform, facts=facts)
        return MerchantKeysReceipt(batch_id=batch.batch_id, stored=batch.size)

    def _verify(self, submission: MerchantKeySubmission) -> MerchantKeyBatch:
        platform = self._roster.party(peek_kid(submission.batch, typ=BATCH_TYPE))
        countersigner = self._roster.party(peek_kid(submission.countersignature, typ=COUNTERSIGNATURE_TYPE))
        signed = verify(submission.batch, platform.sign_key, typ=BATCH_TYPE, kid=platform.party_id)
        countersigned = verify(
            submission.countersignature,
            countersigner.sign_key,
            typ=COUNTERSIGNATURE_TYPE,
            kid=countersigner.party_id,
        )
        if signed != countersigned:
            raise _refused("The two signatures are not over the same bytes.", "countersignature")
        batch = parse_canonical(signed, MerchantKeyBatch)
        _check_signers(batch, platform, countersigner)
        if batch.size != len(submission.leaves):
            raise _refused(f"The batch says {batch.size} keys and brings {len(submission.leaves)}.", "size")
        return batch

    def statement(self, pseudonym: bytes) -> MerchantKeyStatement:
        """M4: return what a node needs to trust the merchant's key; NotFoundError where none is enrolled."""
        statement = self.statements([pseudonym]).get(pseudonym)
        if statement is None:
            raise NotFoundError(
                "No key of this merchant is enrolled.",
                field="pii_principal_id",
                remedy="The platform enrols the merchant's key with POST /v1/merchant-keys.",
            )
        return statement

    def statements(self, pseudonyms: Iterable[bytes]) -> dict[bytes, MerchantKeyStatement]:
        """Return statements of many merchants by pseudonym; those without a key are absent."""
        wanted = list(set(pseudonyms))
        found: dict[bytes, MerchantKeyStatement] = {}
        with self._db.reading() as session:
            for start in range(0, len(wanted), 500):
                found.update(_statements(session, wanted[start : start + 500]))
        return found

    def history(self, pseudonym: bytes) -> tuple[RecordedKey, ...]:
        """Return all keys of a merchant with those who enrolled and countersigned them, the newest first."""
        with self._db.reading() as session:
            keys = keys_of(session, pseudonym)
            batches = {key.batch_id: session.get_one(MerchantKeyBatchRow, key.batch_id) for key in keys}
        return tuple(
            RecordedKey(
                jwk=MerchantKeyLeaf.model_validate_json(key.leaf).jwk,
                enrolled_by=batches[key.batch_id].platform,
                countersigned_by=batches[key.batch_id].countersigner,
                issued_at=_batch_of(batches[key.batch_id].batch).issued_at,
                received_at=moment(batches[key.batch_id].received_at),
                current=place == 0,
            )
            for place, key in enumerate(keys)
        )


def _check_signers(batch: MerchantKeyBatch, platform: Party, countersigner: Party) -> None:
    if (batch.platform, batch.countersigner) != (platform.party_id, countersigner.party_id):
        raise _refused("The batch names other parties than those who signed it.", "platform")
    if platform.kind != CLIENT:
        raise _refused("Merchants' keys are enrolled by a client, the platform.", "platform")
    if countersigner.kind in (CLIENT, WITNESS):
        raise _refused(
            "The countersignature must be a source's, such as a bank's.",
            "countersigner",
            "Have a party countersign that is neither client nor witness.",
        )


def _check_leaves(leaves: Sequence[MerchantKeyLeaf]) -> None:
    if len({leaf.pseudonym for leaf in leaves}) != len(leaves):
        raise _refused("A merchant occurs twice in the batch.", "leaves")
    for position, leaf in enumerate(leaves):
        try:
            public = merchant_public(leaf.jwk)
        except CryptoError as error:
            raise _refused(f"Leaf {position}: {error.message}", f"leaves.{position}.jwk") from error
        if public != leaf.jwk:
            raise _refused(f"Leaf {position} has more than the members of one public key.", f"leaves.{position}.jwk")


def _count_replaced(session: Session, pseudonyms: Sequence[bytes], issued_at: datetime) -> int:
    """How many merchants have a key by now; refuses where it was issued later than the one that is to replace it."""
    known = 0
    for start in range(0, len(pseudonyms), 500):
        newest = _newest_ids(pseudonyms[start : start + 500])
        known += session.scalar(select(func.count(MerchantKeyRow.id)).where(MerchantKeyRow.id.in_(newest))) or 0
        batches = select(MerchantKeyRow.batch_id).where(MerchantKeyRow.id.in_(newest)).distinct()
        query = select(MerchantKeyBatchRow.batch).where(MerchantKeyBatchRow.batch_id.in_(batches))
        if any(_batch_of(token).issued_at > issued_at for token in session.scalars(query)):
            raise _refused("A merchant of the batch has a key that was issued later.", "issued_at")
    return known


def _newest_ids(pseudonyms: Sequence[bytes]) -> Select[int]:
    return (
        select(func.max(MerchantKeyRow.id))
        .where(MerchantKeyRow.pseudonym.in_(pseudonyms))
        .group_by(MerchantKeyRow.pseudonym)
    )


def _batch_of(token: str) -> MerchantKeyBatch:
    """A stored batch; it was verified before it was stored."""
    return MerchantKeyBatch.model_validate_json(peek_payload(token))


def _statements(session: Session, pseudonyms: Sequence[bytes]) -> dict[bytes, MerchantKeyStatement]:
    query = (
        select(MerchantKeyRow, MerchantKeyBatchRow)
        .join(MerchantKeyBatchRow, MerchantKeyBatchRow.batch_id == MerchantKeyRow.batch_id)
        .where(MerchantKeyRow.id.in_(_newest_ids(pseudonyms)))
    )
    return {key.pseudonym: statement_of(key, batch) for key, batch in session.execute(query)}


def statement_of(key: MerchantKeyRow, batch: MerchantKeyBatchRow) -> MerchantKeyStatement:
    """Return a stored key as the statement that travels to nodes."""
    return MerchantKeyStatement(
        batch=batch.batch,
        countersignature=batch.countersignature,
        leaf=MerchantKeyLeaf.model_validate_json(key.leaf),
        index=key.position,
        proof=tuple(key.proof[i : i + HASH_BYTES] for i in range(0, len(key.proof), HASH_BYTES)),
    )


def newest_keys(session: Session, pseudonyms: Iterable[bytes]) -> dict[bytes, MerchantKeyRow]:
    """Return the rows of merchants' newest keys by pseudonym; those without a key are absent."""
    wanted = list(set(pseudonyms))
    found: dict[bytes, MerchantKeyRow] = {}
    for start in range(0, len(wanted), 500):
        newest = _newest_ids(wanted[start : start + 500])
        rows = session.scalars(select(MerchantKeyRow).where(MerchantKeyRow.id.in_(newest)))
        found.update((row.pseudonym, row) for row in rows)
    return found


def keys_of(session: Session, pseudonym: bytes) -> list[MerchantKeyRow]:
    """Return all keys that were ever enrolled for a merchant, the newest first."""
    query = select(MerchantKeyRow).where(MerchantKeyRow.pseudonym == pseudonym)
    return list(session.scalars(query.order_by(MerchantKeyRow.id.desc())))
