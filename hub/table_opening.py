"""The end of a table attempt: shares, the witness's term, the opened table; and what to do with one that was cut off.

After a restart of the hub an attempt may be undecided, or released by the witness and not yet kept by the hub. Nodes
and witness repeat what they sent, so nothing is asked of the merchants' privacy twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from crypto.canonical import digest
from crypto.count_trees import plain_sum
from crypto.errors import CryptoError
from crypto.jws import verify_model
from crypto.parcel import Parcel
from crypto.secure_sum import open_sum
from crypto.table_grid import terms_grid, terms_layout
from crypto.wire.campaign import Decision, Receipt, Terms
from hub.attempt_run import (
    AttemptRun,
    announce_decision,
    ask_void,
    ask_witness,
    refusers,
    void_attempt,
    witness_at_fault,
)
from hub.campaign_errors import CampaignError
from hub.campaign_plan import CampaignStore, ReleasedTable
from hub.grids.channel import Channel, Reply
from hub.witness_seat import WitnessSeat

Share = NDArray[np.uint32]


def read_shares(
    terms: Terms, h: bytes, replies: Mapping[str, Reply], lost: dict[str, str]
) -> tuple[dict[str, Share], dict[str, str]]:
    """T3: every node's term and receipt, in order of the roster; who gave none that is valid is added to `lost`."""
    shares: dict[str, Share] = {}
    receipts: dict[str, str] = {}
    for entry in terms.roster:
        reply = replies[entry.party_id]
        if entry.party_id in lost or not isinstance(reply, Parcel) or "refusal" in reply.texts:
            continue  # whoever refused without being lost accused another, who is
        try:
            token, term = reply.text("receipt"), reply.array("term", np.uint32, 1)
            receipt = verify_model(token, entry.sign_key, Receipt, typ="receipt", kid=entry.party_id)
        except (CryptoError, ValidationError):
            lost[entry.party_id] = "no valid receipt"
            continue
        sent = (receipt.party_id, receipt.attempt, receipt.h, receipt.sha256)
        if sent != (entry.party_id, terms.attempt, h, digest(_bytes(term))):
            lost[entry.party_id] = "a receipt of other bytes"
        shares[entry.party_id], receipts[entry.party_id] = term, token
    return shares, receipts


def read_release(witness: WitnessSeat, terms: Terms, h: bytes, reply: Parcel) -> tuple[str, Share]:
    """T3′: the witness's signed release and its term.

    Raises:
        CampaignError: it decided otherwise, or its decision names another term.
        CryptoError: a part is missing or not signed by it.
    """
    token, term = reply.text("decision"), reply.array("term", np.uint32, 1)
    decision = witness.said(token, Decision, typ="decision")
    if (decision.attempt, decision.h, decision.decision) != (terms.attempt, h, "released"):
        raise witness_at_fault(witness, "signed another decision than a release")
    if decision.term_sha256 != digest(_bytes(term)):
        raise witness_at_fault(witness, "sent a term that its decision does not name")
    return token, term


def open_shares(
    terms: Terms,
    h: bytes,
    shares: Mapping[str, Share],
    receipts: Mapping[str, str],
    release: tuple[str, Share],
    *,
    seconds: Mapping[str, float],
    lost: Mapping[str, str],
) -> ReleasedTable:
    """T4: the noisy table; of an evaluation, V4: the noisy histogram; of a bins stage, Q3: the noisy trees.

    Raises:
        RangeError: a total is beyond its bound.
    """
    token, term = release
    everything = [*shares.values(), term]
    if terms.stage in ("evaluation", "bins"):
        _, plain = plain_sum(terms)
        counts = plain.counts(open_sum(everything, bound=plain.bound))
    else:
        grid = terms_grid(terms)
        counts = grid.counts(terms_layout(terms), open_sum(everything, bound=grid.bound))
    return ReleasedTable(
        terms=terms,
        h=h,
        counts=counts,
        shares={party: _bytes(share) for party, share in shares.items()},
        receipts=dict(receipts),
        decision=token,
        attempts=int(terms.attempt.rpartition("/")[2]),
        seconds=dict(seconds),
        lost=dict(lost),
    )


def open_attempt(
    run: AttemptRun,
    store: CampaignStore,
    acceptances: str,
    shares: Mapping[str, Share],
    receipts: Mapping[str, str],
    *,
    lost: Mapping[str, str],
) -> ReleasedTable:
    """T3′ and T4, of a table or a histogram: the witness's release, the sum, its keeping, and the word to all.

    Args:
        shares, receipts: of all parties of the roster, as `read_shares` returned them.
        lost: party → why, of former attempts.
    """
    terms, h = run.manifest.terms, run.manifest.h
    ordered = " ".join(receipts[entry.party_id] for entry in run.roster)
    documents = {"attempt": run.attempt, "acceptances": acceptances, "receipts": ordered}
    final = run.ask_witness("query.release", "release", Parcel(documents))
    release = read_release(run.plan.seat, terms, h, final)
    opened = open_shares(terms, h, shares, receipts, release, seconds=run.seconds, lost=lost)
    run.tell("open", 1, 1)
    # Kept before anybody hears of it: an attempt that was announced is never looked at again.
    store.opened(opened)
    start = time.monotonic()
    announce_decision(run.channel, terms, h, opened.decision, store)
    return replace(opened, seconds={**run.seconds, "outcome": time.monotonic() - start})


def settle_attempt(
    channel: Channel, witness: WitnessSeat, terms: Terms, h: bytes, store: CampaignStore, *, reopen: bool
) -> ReleasedTable | None:
    """Ends an attempt that was cut off: void if it still can be; else its release is announced.

    Args:
        channel: to the witness and the attempt's nodes.
        witness: the witness.
        terms, h: of the attempt.
        store: told of the decision, and of the table if it is opened.
        reopen: open the table of a released attempt from what the nodes sent before.

    Returns:
        The table, if the attempt was released and `reopen` is set.

    Raises:
        CampaignError: the witness is out of reach, or nodes are whose shares the table needs.
    """
    try:
        void_attempt(channel, witness, terms, h, store)
    except CampaignError as refused:
        try:
            release = _ask_release(channel, witness, terms, h)
        except CampaignError:
            raise refused from None
        table = _repeated(channel, terms, h, release) if reopen else None
        if table is not None:
            store.opened(table)
        announce_decision(channel, terms, h, release[0], store)
        return table
    return None


def decided_again(
    channel: Channel, witness: WitnessSeat, terms: Terms, h: bytes, decided: Literal["released", "void"]
) -> str:
    """A decision that the witness took already, signed anew with the key that holds now (R5).

    Raises:
        CampaignError: the witness cannot be reached, or decided otherwise.
    """
    if decided == "void":
        return ask_void(channel, witness, terms, h)
    return _ask_release(channel, witness, terms, h)[0]


def _ask_release(channel: Channel, witness: WitnessSeat, terms: Terms, h: bytes) -> tuple[str, Share]:
    reply = ask_witness(channel, witness, "query.release", Parcel({"attempt": terms.attempt}), terms.attempt)
    return read_release(witness, terms, h, reply)


def _repeated(channel: Channel, terms: Terms, h: bytes, release: tuple[str, Share]) -> ReleasedTable:
    parcels = {entry.party_id: Parcel({"attempt": terms.attempt}) for entry in terms.roster}
    replies = channel.ask("train.share", parcels, terms.attempt)
    lost = refusers(terms.roster, replies)
    if lost:
        channel.wait_for(list(lost))
        replies |= channel.ask("train.share", {party: parcels[party] for party in lost}, terms.attempt)
        lost = refusers(terms.roster, replies)
    shares, receipts = read_shares(terms, h, replies, lost)
    if lost:
        raise CampaignError(
            f"attempt {terms.attempt} was released before the hub stopped; to open it again "
            + ", ".join(f"{party} is needed ({why})" for party, why in lost.items()),
            field="nodes",
            remedy="bring these nodes back, then start a new campaign; what was sent stays charged",
        )
    return open_shares(terms, h, shares, receipts, release, seconds={}, lost={})


def _bytes(term: NDArray[Any]) -> bytes:
    return term.astype("<u4", copy=False).tobytes()
