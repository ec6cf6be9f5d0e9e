"""What all attempts over a Flower grid have in common: T0, T1, voids, who must leave (docs/protocol.md, 3 and 4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from pydantic import ValidationError

from crypto.errors import CryptoError
from crypto.jws import verify_model
from crypto.parcel import Parcel
from crypto.wire.campaign import Acceptance, Cosignature, Decision, Refusal, RosterEntry, Terms
from hub.campaign_errors import CampaignError, QuorumError, YearlyBudgetError
from hub.campaign_plan import CampaignPlan, CampaignStore, Progress, ProgressCallback, Step
from hub.cohort import Cohort
from hub.grids.channel import Channel, Lost, Reply
from hub.manifests import Manifest
from hub.witness_seat import WitnessSeat

_WITNESS_TRIES = 3


class LostNodesError(Exception):
    """Parties that ended an attempt, and why."""

    def __init__(self, lost: Mapping[str, str]) -> None:
        super().__init__(", ".join(f"{party}: {why}" for party, why in lost.items()))
        self.lost = dict(lost)


@dataclass
class AttemptRun:
    """One attempt under way."""

    channel: Channel
    plan: CampaignPlan
    progress: ProgressCallback
    manifest: Manifest
    began: float
    seconds: dict[str, float] = field(default_factory=dict)
    cosigned: bool = False

    @property
    def attempt(self) -> str:
        """The attempt's id."""
        return self.manifest.terms.attempt

    @property
    def roster(self) -> tuple[RosterEntry, ...]:
        """The attempt's nodes, in order."""
        return self.manifest.terms.roster

    def tell(self, step: Step, done: int, total: int, detail: str = "") -> None:
        """Reports a step."""
        stage, elapsed = self.manifest.terms.stage, time.monotonic() - self.began
        self.progress(Progress(stage, self.attempt, step, done, total, elapsed, detail))

    def ask(self, message: str, step: Step, parcels: Mapping[str, Parcel]) -> dict[str, Reply]:
        """One trip to the nodes, timed and reported."""
        return self.ask_made(message, step, parcels.__getitem__, parties=list(parcels))

    def ask_made(
        self, message: str, step: Step, parcel_of: Callable[[str], Parcel], *, parties: Sequence[str] = ()
    ) -> dict[str, Reply]:
        """As `ask`, where a node's parcel is made when it is sent, and not kept; all nodes unless some are named."""
        parties = parties or [entry.party_id for entry in self.roster]
        self.tell(step, 0, len(parties))
        start = time.monotonic()
        replies = self.channel.ask_made(dict.fromkeys(parties, message), parcel_of, self.attempt)
        self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - start
        self.tell(step, sum(isinstance(reply, Parcel) for reply in replies.values()), len(parties))
        return replies

    def ask_witness(self, message: str, step: Step, parcel: Parcel) -> Parcel:
        """One trip to the witness, timed and reported; raises as `ask_witness`."""
        self.tell(step, 0, 1)
        start = time.monotonic()
        reply = ask_witness(self.channel, self.plan.seat, message, parcel, self.attempt)
        self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - start
        self.tell(step, 1, 1)
        return reply


def check_quorum(
    plan: CampaignPlan, cohort: Cohort, lost: Mapping[str, str], *, kinds: Collection[str] | None = None
) -> None:
    """Refuses to go on with too few nodes.

    Args:
        plan: the campaign.
        cohort: of the nodes that are left.
        lost: who left, and why.
        kinds: those that take part in this stage; all of the schema where not given.

    Raises:
        QuorumError: naming the kind, and which nodes were lost and why.
    """
    why = "; ".join(f"{party}: {reason}" for party, reason in lost.items())
    for kind in plan.schema.kinds_in_order() if kinds is None else kinds:
        here, due = len(cohort.nodes_of(kind)), max(1, plan.quorum.get(kind, 1))
        if here < due:
            raise QuorumError(
                f"kind {kind} has {here} nodes of the {due} that the campaign needs" + (f" ({why})" if why else ""),
                field=f"quorum.{kind}",
                remedy="bring the lost nodes back, or lower the quorum, and start a new campaign",
            )
    if cohort.size == 0 or len(cohort.nodes) < plan.t_collude + 1:
        raise QuorumError(
            f"{len(cohort.nodes)} nodes with {cohort.size} merchants cannot withstand {plan.t_collude} colluding nodes"
            + (f" ({why})" if why else ""),
            field="t_collude",
            remedy="bring in more nodes or consents, or lower t_collude",
        )


def obtain_cosignature(run: AttemptRun) -> str:
    """T0: the witness's cosignature of this manifest."""
    for block in range(run.manifest.blocks.count - 1):
        run.ask_witness("query.slices", "cosign", run.manifest.pieces_for_witness(block))
    reply = run.ask_witness("query.cosign", "cosign", run.manifest.for_witness())
    token, witness = reply.text("cosignature"), run.plan.seat
    cosignature = witness.said(token, Cosignature, typ="cosignature")
    if (cosignature.attempt, cosignature.h) != (run.attempt, run.manifest.h):
        raise witness_at_fault(witness, "cosigned another manifest than the one it was given")
    run.cosigned = True
    return token


def obtain_acceptances(
    run: AttemptRun, cosignature: str, *, message: str = "train.accept", further: Parcel | None = None
) -> str:
    """T1: all acceptances, in order of the roster, separated by spaces.

    Args:
        run: the attempt.
        cosignature: the witness's.
        message: what nodes are asked, `train.admit` in an evaluation.
        further: what every node is sent besides.

    Raises:
        LostNodesError: who refuses or gives no valid acceptance.
    """
    for block in range(run.manifest.blocks.count - 1):
        gone = refusers(
            run.roster, run.ask_made("train.slice", "accept", partial(run.manifest.piece_for_party, block=block))
        )
        if gone:
            raise LostNodesError(gone)
    more = further or Parcel()
    parcels: dict[str, Parcel] = {}
    for index, entry in enumerate(run.roster):
        own = run.manifest.for_node(index, cosignature, run.plan.encoders, run.plan.encoder_releases)
        parcels[entry.party_id] = Parcel({**own.texts, **more.texts}, {**own.arrays, **more.arrays})
    replies = run.ask(message, "accept", parcels)
    tokens: dict[str, str] = {}
    lost = refusers(run.roster, replies)
    for entry in run.roster:
        reply = replies[entry.party_id]
        if entry.party_id in lost or not isinstance(reply, Parcel):
            continue
        try:
            token = reply.text("acceptance")
            acceptance = verify_model(token, entry.sign_key, Acceptance, typ="acceptance", kid=entry.party_id)
        except (CryptoError, ValidationError):
            lost[entry.party_id] = "no valid acceptance"
            continue
        named = (acceptance.party_id, acceptance.attempt, acceptance.h)
        if named != (entry.party_id, run.attempt, run.manifest.h):
            lost[entry.party_id] = "accepted another manifest"
        tokens[entry.party_id] = token
    if lost:
        raise LostNodesError(lost)
    return " ".join(tokens[entry.party_id] for entry in run.roster)


def void_attempt(channel: Channel, witness: WitnessSeat, terms: Terms, h: bytes, store: CampaignStore) -> None:
    """T4 of an attempt that cannot be released: the witness's void, told to every node, so that charges are refunded.

    Raises:
        CampaignError: the witness cannot be reached, or has released the attempt.
    """
    announce_decision(channel, terms, h, ask_void(channel, witness, terms, h), store)


def ask_void(channel: Channel, witness: WitnessSeat, terms: Terms, h: bytes) -> str:
    """The witness's signed void; asked again it is signed anew, with the key that holds then.

    Raises:
        CampaignError: the witness cannot be reached, or has released the attempt.
    """
    reply = ask_witness(channel, witness, "query.abort", Parcel({"attempt": terms.attempt}), terms.attempt)
    token = reply.text("decision")
    decision = witness.said(token, Decision, typ="decision")
    if (decision.attempt, decision.h, decision.decision) != (terms.attempt, h, "void"):
        raise witness_at_fault(witness, "signed another decision than the void that was asked")
    return token


def announce_decision(channel: Channel, terms: Terms, h: bytes, token: str, store: CampaignStore) -> None:
    """T4: the decision, to every node of the attempt; who did not hear it is on record."""
    parcels = {entry.party_id: Parcel({"decision": token}) for entry in terms.roster}
    replies = channel.ask("train.outcome", parcels, terms.attempt)
    undelivered = tuple(
        entry.party_id
        for entry in terms.roster
        if isinstance(reply := replies[entry.party_id], Lost) or read_refusal(reply, entry) is not None
    )
    store.decision(terms.attempt, h, token, undelivered)


def ask_witness(channel: Channel, witness: WitnessSeat, step: str, parcel: Parcel, attempt: str) -> Parcel:
    """One trip to the witness, tried again when it is lost; its steps repeat their answers.

    Raises:
        CampaignError: it stays lost, or refuses.
        YearlyBudgetError: it refuses, as programme statistics would cost more than a year may.
    """
    reply: Reply = Lost("not asked")
    for number in range(_WITNESS_TRIES):
        if number:
            channel.wait_for([witness.party_id])
        reply = channel.ask_one(step, witness.party_id, parcel, attempt)
        if isinstance(reply, Parcel):
            break
    if isinstance(reply, Lost):
        raise witness_at_fault(witness, f"gave no answer to {step}: {reply.reason}")
    refusal = read_refusal(reply, witness.now())
    if refusal is None:
        return reply
    if refusal.partition(":")[0] == YearlyBudgetError.code:
        raise YearlyBudgetError(
            f"the witness {witness.party_id} refused {step}: {refusal}",
            field="epsilon",
            remedy="Wait until the time that the node names, or order fewer cells or a smaller epsilon.",
            party=witness.party_id,
        )
    raise witness_at_fault(witness, f"refused {step}: {refusal}")


def read_refusal(reply: Parcel, entry: RosterEntry) -> str | None:
    """A party's signed refusal as `code` or `code: detail`, or None if the reply is none."""
    token = reply.texts.get("refusal")
    if token is None:
        return None
    try:
        refusal = verify_model(token, entry.sign_key, Refusal, typ="refusal", kid=entry.party_id)
    except CryptoError as forged:
        return forged.code
    return f"{refusal.code}: {refusal.detail}" if refusal.detail else refusal.code


def refusers(roster: Collection[RosterEntry], replies: Mapping[str, Reply]) -> dict[str, str]:
    """Who is lost or refuses, and why."""
    lost: dict[str, str] = {}
    for entry in roster:
        reply = replies[entry.party_id]
        why = reply.reason if isinstance(reply, Lost) else read_refusal(reply, entry)
        if why is not None:
            lost[entry.party_id] = why
    return lost


def witness_at_fault(witness: WitnessSeat, what: str) -> CampaignError:
    """The error of a campaign that the witness does not let go on."""
    return CampaignError(
        f"the witness {witness.party_id} {what}",
        field="witness",
        remedy="look at the witness's own log; undecided attempts stay charged until it signs a void",
        party=witness.party_id,
    )
