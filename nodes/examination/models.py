"""Models at a node: released by the witness's signature, made of exactly the bytes that were released."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from sqlalchemy import select

from crypto.dated import verify_dated
from crypto.errors import CryptoError
from crypto.wire.campaign import ModelRelease, ModelWithdrawal
from models.artefact import ModelArtefact
from models.errors import ModelsError
from models.findings import Finding, Findings
from models.said import Said, said
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.models import ModelRow
from nodes.tables.witness import ProposedModelRow, SignedReleaseRow
from nodes.witness.release import WITHDRAWN

_REMEDY = said("stop the node: it must not answer with this model; delete nothing, and tell the hub's operator")


def examine_models(store: Store, roster: RosterBook, party_id: str) -> Iterator[Finding]:
    """B1 to B3 of `nodes.model_book`, again, from what is stored."""
    found = Findings("models", party_id)
    number, absent, faulty = 0, 0, False
    with store.reading() as session:
        for row in session.scalars(select(ModelRow).order_by(ModelRow.model_id)):
            number += 1
            absent += row.artefact is None
            what = _fault_of(row, roster)
            if what is not None:
                faulty = True
                yield found.fault(said("model {id}: {what}", id=row.model_id, what=what), _REMEDY)
    if not faulty:
        yield found.ok(
            said(
                "{number} models are the witness's, with exactly the released bytes ({absent} not fetched yet)",
                number=number,
                absent=absent,
            )
        )


def _fault_of(row: ModelRow, roster: RosterBook) -> Said | None:
    try:
        if row.release is not None:
            signed = verify_dated(
                row.release, roster.witness_keys, ModelRelease, typ="model-release", kid=roster.witness_id
            )
            if (signed.model_id, signed.scope, signed.campaign_id) != (row.model_id, row.scope, row.campaign_id):
                return said("its release is of another model or scope")
        if row.withdrawal is not None:
            taken = verify_dated(
                row.withdrawal, roster.witness_keys, ModelWithdrawal, typ="model-withdrawal", kid=roster.witness_id
            )
            if taken.model_id != row.model_id:
                return said("its withdrawal is of another model")
    except CryptoError:
        return said("what lets it out, or takes it back, is not signed by the witness's pinned key")
    if row.artefact is None:
        return None
    return artefact_fault(row.model_id, row.artefact)


def artefact_fault(model_id: str, artefact: bytes) -> Said | None:
    """Whether the bytes are not those of the id, or are no model within the published bounds."""
    if model_id != f"sha256:{hashlib.sha256(artefact).hexdigest()}":
        return said("its bytes are not those that were released")
    try:
        ModelArtefact.from_bytes(artefact)
    except ModelsError as problem:
        return Said(problem.message)
    return None


def examine_signed(store: Store, roster: RosterBook, party_id: str) -> Iterator[Finding]:
    """At the witness: what it signed about models is by its own key, and what was proposed is what its id says."""
    found = Findings("releases", party_id)
    number, faulty = 0, False
    remedy = said("keep the file; find out who altered the witness's store, and withdraw the model")
    with store.reading() as session:
        for row in session.scalars(select(SignedReleaseRow)):
            number += 1
            if not _own_signature(row, roster):
                faulty = True
                yield found.fault(
                    said(
                        "what the witness signed about model {id} ({scope}) does not verify",
                        id=row.model_id,
                        scope=row.scope,
                    ),
                    remedy,
                )
        for proposed in session.scalars(select(ProposedModelRow)):
            if (what := artefact_fault(proposed.model_id, proposed.artefact)) is not None:
                faulty = True
                yield found.fault(said("model {id}: {what}", id=proposed.model_id, what=what), remedy)
    if not faulty:
        yield found.ok(said("{number} releases and withdrawals bear the witness's own signature", number=number))


def _own_signature(row: SignedReleaseRow, roster: RosterBook) -> bool:
    keys, who = roster.witness_keys, roster.witness_id
    try:
        if row.scope == WITHDRAWN:
            withdrawal = verify_dated(row.token, keys, ModelWithdrawal, typ="model-withdrawal", kid=who)
            return withdrawal.model_id == row.model_id
        release = verify_dated(row.token, keys, ModelRelease, typ="model-release", kid=who)
    except CryptoError:
        return False
    return (release.model_id, release.scope) == (row.model_id, row.scope)
