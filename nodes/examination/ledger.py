"""The ledger against the attempts: nothing left without its charge, nothing was charged less than its terms say.

G1  The bytes on record are those that were charged.
G2  Every attempt that sent a term has its line, under the same manifest and with the same bytes. Lines are never
    deleted, so an attempt without one has lost its charge.
G3  A charge was taken back only where the attempt is void.
G4  A line is charged the mechanisms that its campaign's terms state; of an encoder's tries, one of each run.
G5  ε is computed anew from the lines, once by loss distributions and once in closed form where that is exact enough.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from crypto.attempts import NodeAttempt, WitnessAttempt
from crypto.wire.base import WireModel
from models.accounting import gdp_epsilon, gdp_mu
from models.findings import Finding, Findings, of_error
from models.said import said
from nodes.attempt_states import read_state
from nodes.charges import Charge, compose, stage_of
from nodes.config import NodeConfig
from nodes.errors import NodeError
from nodes.ledger import FORGOTTEN, Ledger
from nodes.rounds_check import is_try_of
from nodes.store import Store
from nodes.tables.attempts import AttemptRow
from nodes.tables.campaigns import CampaignPrivacyRow
from nodes.tables.ledger import SentRow
from nodes.tables.witness_attempts import WitnessAttemptRow

AGREEMENT = 0.01
"""By how much closed form and loss distributions may differ (docs/privacy.md)."""


@dataclass(frozen=True)
class _Attempt:
    """What an attempt's own record says: `term` is the exact bytes that left, None where none did."""

    attempt: str
    h: bytes
    phase: str
    term: bytes | None


def examine_ledger(store: Store, config: NodeConfig) -> Iterator[Finding]:
    """Compare every line with what the attempts say (G1 to G5)."""
    found = Findings("ledger", config.party_id)
    ledger = Ledger(store, config.budget.epsilon, config.budget.delta)
    try:
        charges = {each.attempt: each for each in ledger.charges()}
        attempts = list(_attempts(store, config.kind))
    except (NodeError, ValueError) as problem:
        yield found.fault(*of_error(problem))
        return
    faults = [
        *_altered_bytes(store, found),
        *_without_line(attempts, charges, found),
        *_underpaid(store, attempts, charges, found),
    ]
    yield from faults
    if forgotten := sum(each.sha256 == FORGOTTEN for each in charges.values()):
        yield found.warning(
            said(
                "{number} lines are charged by the witness's record: what was sent is not here any more",
                number=forgotten,
            ),
            said("nothing, if this node was restored from a backup; else find out who set its store back"),
        )
    yield from _spent(ledger, charges, found, faulty=bool(faults))


def _attempts(store: Store, kind: str) -> Iterator[_Attempt]:
    with store.reading() as session:
        if kind == "witness":
            for record in session.scalars(select(WitnessAttemptRow)):
                state = read_state(WitnessAttempt, record)
                yield _Attempt(state.attempt, state.h, state.phase, state.term)
            return
        for row in session.scalars(select(AttemptRow)):
            own = read_state(NodeAttempt, row)
            yield _Attempt(own.attempt, own.h, own.phase, own.sent)


def _altered_bytes(store: Store, found: Findings) -> Iterator[Finding]:
    """G1; payloads are large, so they are read one at a time."""
    with store.reading() as session:
        ids = session.scalars(select(SentRow.attempt).order_by(SentRow.attempt)).all()
        for attempt in ids:
            row = session.get_one(SentRow, attempt)
            forgotten = row.sha256 == FORGOTTEN and not row.payload  # of before a restore
            if not forgotten and hashlib.sha256(row.payload).digest() != row.sha256:
                yield found.fault(
                    said("the bytes on record of attempt {attempt} are not those that were charged", attempt=attempt),
                    said("stop the node and keep the file; find out who altered it"),
                )
            session.expunge(row)


def _without_line(attempts: Sequence[_Attempt], charges: dict[str, Charge], found: Findings) -> Iterator[Finding]:
    """G2, G3."""
    for each in attempts:
        charge = charges.get(each.attempt)
        if charge is None:
            if each.term is not None:
                yield found.fault(
                    said("attempt {attempt} sent a term, and the ledger has no charge of it", attempt=each.attempt),
                    said("stop the node: its ledger was altered or set back; count the campaign as spent, and ask why"),
                )
            continue
        if charge.h != each.h or (each.term is not None and hashlib.sha256(each.term).digest() != charge.sha256):
            yield found.fault(
                said("attempt {attempt} was charged under another manifest or other bytes", attempt=each.attempt),
                said("stop the node and keep the file; find out who altered it"),
            )
        if charge.refunded and each.phase != "void":
            yield found.fault(
                said("the charge of attempt {attempt} was taken back, and it is not void", attempt=each.attempt),
                said("start the node, so that it hears the decision again; if this stays, the ledger was altered"),
            )


def _underpaid(
    store: Store, attempts: Sequence[_Attempt], charges: dict[str, Charge], found: Findings
) -> Iterator[Finding]:
    """G4."""
    with store.reading() as session:
        stated = {
            (row.campaign_id, row.stage): _mechanisms(json.loads(row.stated)["mechanisms"])
            for row in session.scalars(select(CampaignPrivacyRow))
        }
    for charge in charges.values():
        due = stated.get((charge.campaign_id, stage_of(charge.campaign_id, charge.attempt) or ""))
        if due is None or charge.refunded:
            continue
        paid = _mechanisms([_plain(each) for each in charge.mechanisms])
        if paid != due and not (not paid and _paid_by_another_try(charge, attempts, charges)):
            yield found.fault(
                said("attempt {attempt} is charged less or other than its terms state", attempt=charge.attempt),
                said("stop the node: its ledger was altered; count the campaign's full epsilon as spent"),
            )


def _paid_by_another_try(charge: Charge, attempts: Sequence[_Attempt], charges: dict[str, Charge]) -> bool:
    runs = [each.attempt for each in attempts if is_try_of(each.attempt, charge.attempt)]
    runs = runs or [charge.attempt.rsplit("/", 1)[0]]
    tries = (each for run in runs for each in charges.values() if is_try_of(run, each.attempt))
    return any(each.mechanisms and not each.refunded for each in tries)


def _mechanisms(values: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """In a form to compare: canonical JSON writes 30.0 as 30, which is equal. Left out is a table's grid, which follows
    from how many nodes are left."""
    return [{name: value for name, value in each.items() if name != "scale"} for each in values]


def _plain(mechanism: WireModel) -> dict[str, object]:
    return mechanism.model_dump(mode="json")


def _spent(ledger: Ledger, charges: dict[str, Charge], found: Findings, *, faulty: bool) -> Iterator[Finding]:
    """G5."""
    spent = ledger.spent()
    standing = [each for each in charges.values() if not each.refunded]
    mechanisms = compose(standing)
    terms = [mechanism for each in standing for mechanism in each.mechanisms]
    sampled = any(getattr(each, "sampling_rate", 1.0) < 1 for each in terms)
    if mechanisms and math.isfinite(spent.epsilon) and not sampled and not any(each.delta_sum for each in standing):
        closed = gdp_epsilon(gdp_mu(mechanisms), ledger.delta)
        if abs(spent.epsilon - closed) > AGREEMENT * closed + AGREEMENT:
            yield found.fault(
                said(
                    "epsilon is {pld} by loss distributions, {closed} in closed form", pld=spent.epsilon, closed=closed
                ),
                said("report this with the versions of digua and its libraries: one of the two is wrong"),
            )
    what = said(
        "{lines} lines; epsilon {spent} of {budget} spent in {campaigns} campaigns, computed anew",
        lines=len(charges),
        spent=f"{spent.epsilon:.4f}",
        budget=f"{ledger.epsilon:g}",
        campaigns=len(spent.campaigns),
    )
    if spent.epsilon > ledger.epsilon * (1 + 1e-9):
        yield found.warning(what, said("more than the owner's budget: the node refuses every campaign"))
    elif not faulty:
        yield found.ok(what)
