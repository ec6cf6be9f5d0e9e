"""The matrix: which process is killed at which step, and what must follow; docs/operations.md shows the same table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Follows = Literal["same", "next", "without", "ends"]
SAID = {
    "same": "goes on from what is on record",
    "next": "the attempt is void; a new one of the same nodes",
    "without": "the attempt is void; a new one without the node, which takes its charge back",
    "ends": "the attempt is void, and the campaign ends: it names the party and what to do",
}


@dataclass(frozen=True)
class Cell:
    """One kill.

    Attributes:
        process: whose; `worker` is the process that runs a campaign, or its supervisor.
        step: of docs/protocol.md.
        where: what is on record and what is not.
        point: `module:function` of the product.
        moment: before or after that function.
        within: only inside this function.
        holds: only where an argument holds this text.
        skip: so many times it is only passed.
        follows: of a campaign's step: what comes of the attempt; else "same".
        stage: that the attempt is of.
        counts: whether it ends an attempt by itself; another cell's kill does where two die together.
    """

    process: str
    step: str
    where: str
    point: str
    moment: Literal["before", "after"] = "after"
    within: str = ""
    holds: str = ""
    skip: int = 0
    follows: Follows = "same"
    stage: Literal["encoder", "scorecard", "evaluation", ""] = "scorecard"
    counts: bool = True

    @property
    def name(self) -> str:
        """As results are listed."""
        return f"{self.process} · {self.step} · {self.where}"

    @property
    def ends_attempt(self) -> bool:
        """Whether another attempt follows."""
        return self.counts and self.follows in ("next", "without")


RECORD = "hub.campaign_record:CampaignRecord"
NODE, WITNESS = "nodes.table_stage", "nodes.witness_stage"
SAVE, WITNESS_SAVE = "nodes.attempts:AttemptStore.save", "nodes.witness_attempts:WitnessAttemptStore.save"
SEND, ROUNDS = "nodes.ledger:Ledger.record_send", "nodes.encoder_stage:train_round"
LINK = "hub.links:Links.request_async"
ADOPT = "hub.models:ModelRegistry._adopt"

WORKER = (
    Cell("worker", "T0", "cosigned, the hub has no record of it", f"{RECORD}.manifest", "before", follows="next"),
    Cell("worker", "T0", "the manifest is on record", f"{RECORD}.manifest", follows="next"),
    Cell("worker", "T1", "all nodes accepted", "hub.attempt_run:obtain_acceptances", follows="next"),
    Cell("worker", "T1′", "the seeds are here", "hub.scorecard_stage:_exchange", "before", follows="next"),
    Cell("worker", "T2", "the rows are here", "hub.scorecard_stage:_exchange", follows="next"),
    Cell("worker", "T3", "all terms are here, and charged", "hub.scorecard_stage:_share", follows="next"),
    Cell("worker", "T3′", "the witness released, no table is kept", "hub.table_opening:read_release"),
    Cell("worker", "T4", "the table is kept, nobody has heard of it", f"{RECORD}.opened"),
    Cell("worker", "register", "the model is not registered", "hub.models:ModelRegistry.register", "before"),
    Cell("worker", "register", "the model is registered, not named", "hub.models:ModelRegistry.register"),
)
SUPERVISOR = (
    Cell("worker", "start", "the supervisor, after it began the campaign", "hub.supervisor:Supervisor._launch"),
    Cell("worker", "T4", "the nodes have heard, the hub has no decision", f"{RECORD}.decision", "before"),
    Cell("worker", "register", "the campaign has its model", "hub.campaign_book:CampaignBook.set_model"),
    Cell("worker", "end", "before its end is written", "hub.campaign_book:CampaignBook.end", "before"),
    Cell("worker", "end", "after its end is written", "hub.campaign_book:CampaignBook.end"),
)
WITNESSES = (
    Cell("witness", "T0", "not cosigned", "nodes.witness_attempts:WitnessAttemptStore.create", "before"),
    Cell("witness", "T0", "cosigned, not sent", "nodes.witness_attempts:WitnessAttemptStore.create"),
    Cell("witness", "T1′", "seeds drawn, not kept", WITNESS_SAVE, "before", within=f"{WITNESS}:seed"),
    Cell("witness", "T1′", "seeds kept, not sent", WITNESS_SAVE, within=f"{WITNESS}:seed"),
    Cell("witness", "T3′", "not charged", SEND, "before", within=f"{WITNESS}:release"),
    Cell("witness", "T3′", "charged, not released", SEND, within=f"{WITNESS}:release"),
    Cell("tax-1", "T4", "it heard of the release, not kept", SAVE, "before", within=f"{NODE}:outcome"),
    Cell("witness", "release", "signed, not kept", "nodes.witness.release:ReleaseDesk._keep", "before"),
    Cell("witness", "release", "signed and kept, not sent", "nodes.witness.release:ReleaseDesk._keep"),
)
VOIDS = (
    Cell(
        "witness",
        "T3′",
        "charged, not released, and the worker dies while it waits",
        SEND,
        within=f"{WITNESS}:release",
        follows="next",
        counts=False,
    ),
    Cell(
        "worker",
        "T3′",
        "it waits for the witness, which died",
        "hub.campaign_run:CampaignRun._wait_for",
        "before",
        follows="next",
    ),
    Cell("witness", "T4", "void, not sent", WITNESS_SAVE, within=f"{WITNESS}:abort"),
    Cell("witness", "T3′", "released, not sent", WITNESS_SAVE, within=f"{WITNESS}:release"),
)
HUB = (
    Cell("hub", "order", "stored, not answered", "hub.campaign_book:CampaignBook.create"),
    Cell("hub", "T0", "the terms on their way", LINK, "before", holds="query.cosign", follows="next"),
    Cell("hub", "T1", "a node accepted", LINK, holds="train.accept", follows="next"),
    Cell("hub", "T1′", "the witness gave seeds", LINK, holds="query.seeds", follows="next"),
)
HUB_LATER = (
    Cell("hub", "T2", "the seeds on their way", LINK, "before", holds="train.exchange", follows="next"),
    Cell("hub", "T3", "a node sent its term", LINK, holds="train.share", follows="next"),
    Cell("hub", "T3′", "the witness released", LINK, holds="query.release"),
    Cell("hub", "T4", "the decision on its way", LINK, "before", holds="train.outcome"),
    Cell("hub", "release", "signed, not kept", ADOPT, "before"),
    Cell("hub", "release", "kept, not answered", ADOPT),
)
NODES_T1 = (
    Cell("bank-1", "T1", "nothing kept", SAVE, "before", within=f"{NODE}:accept", follows="without"),
    Cell("tax-1", "T1", "accepted, not sent", SAVE, within=f"{NODE}:accept", skip=1, follows="without"),
)
NODES_T2 = (
    Cell("bank-1", "T2", "rows masked, not on record", SAVE, "before", within=f"{NODE}:exchange", follows="without"),
    Cell("tax-1", "T2", "rows on record, not sent", SAVE, within=f"{NODE}:exchange", skip=1, follows="without"),
)
NODES_T3 = (
    Cell("bank-1", "T3", "not charged", SEND, "before", within=f"{NODE}:share", follows="without"),
    Cell("tax-1", "T3", "charged, the step not kept", SEND, within=f"{NODE}:share", skip=1, follows="without"),
)
NODES_T4 = (
    Cell("bank-1", "T3", "charged and kept, not sent", SAVE, within=f"{NODE}:share", follows="without"),
    Cell("tax-1", "T4", "refunded, the void not kept", "nodes.ledger:Ledger.refund", follows="without"),
)
ONLY_ONE = (
    Cell("utility-1", "T2", "the only node of its kind", SAVE, within=f"{NODE}:exchange", follows="next"),
    Cell("utility-1", "T2", "the only node of its kind, again", SAVE, within=f"{NODE}:exchange", follows="ends"),
)
ENCODER = (
    Cell("bank-1", "E2", "not charged", SEND, "before", within=ROUNDS, skip=1, stage="encoder"),
    Cell(
        "witness",
        "E2",
        "released, not sent",
        WITNESS_SAVE,
        within="nodes.witness_rounds:release_round",
        skip=2,
        stage="encoder",
    ),
    Cell("worker", "E2", "opened, no checkpoint", f"{RECORD}.round_opened", "before", skip=2, stage="encoder"),
    Cell("worker", "E2", "the checkpoint is kept", f"{RECORD}.round_opened", stage="encoder"),
    Cell("hub", "E2", "a node sent its term", LINK, holds="train.round", skip=8, stage="encoder"),
    Cell("bank-2", "E2", "charged, the step not kept", SEND, within=ROUNDS, skip=4, stage="encoder"),
    Cell("worker", "E3", "the encoder is registered, not named", "hub.models:ModelRegistry.register", stage="encoder"),
    Cell(
        "worker",
        "E3",
        "the witness released it",
        "hub.campaign_run:CampaignRun._release_for_evaluation",
        stage="encoder",
    ),
)
EVALUATION = (
    Cell("worker", "V2", "points logged, not passed on", f"{RECORD}.points_passed", follows="next", stage="evaluation"),
    Cell(
        "hub", "V2", "a source sent its points", LINK, holds="train.points", skip=3, follows="next", stage="evaluation"
    ),
    Cell("witness", "V3", "charged, not released", SEND, within=f"{WITNESS}:release", skip=1, stage="evaluation"),
    Cell("worker", "V4", "the histogram is kept", f"{RECORD}.opened", stage="evaluation"),
)
EVALUATION_NODES = (
    Cell(
        "tax-1",
        "V1",
        "accepted, not sent",
        SAVE,
        within="nodes.evaluation_stage:accept",
        follows="without",
        stage="evaluation",
    ),
    Cell(
        "bank-1",
        "V3",
        "charged, the step not kept",
        SEND,
        within="nodes.evaluation_stage:count",
        skip=0,
        follows="without",
        stage="evaluation",
    ),
)

CAMPAIGN: tuple[Cell, ...] = (
    *WORKER,
    *SUPERVISOR,
    *WITNESSES,
    *VOIDS,
    *HUB,
    *HUB_LATER,
    *NODES_T1,
    *NODES_T2,
    *NODES_T3,
    *NODES_T4,
    *ONLY_ONE,
    *ENCODER,
    *EVALUATION,
    *EVALUATION_NODES,
)
WATCHED = (
    f"{NODE}:share",
    "nodes.evaluation_stage:count",
    ROUNDS,
    f"{WITNESS}:release",
    f"{WITNESS}:abort",
    "nodes.witness_rounds:release_round",
    "nodes.scoring:Scorer.answer",
)
"""Answers of these are written down, to be compared."""


def points() -> list[str]:
    """All functions that are wrapped."""
    return sorted({p for each in (*CAMPAIGN, *QUERY) for p in (each.point, each.within) if p} | set(WATCHED))


QUERIES = "hub.queries:Queries"
QUERY: tuple[Cell, ...] = (
    Cell("hub", "Q1", "the request is not on record", f"{QUERIES}._accept", "before", stage=""),
    Cell("hub", "Q2", "stored and logged, not forwarded", f"{QUERIES}._accept", stage=""),
    Cell("hub", "Q3", "the sources have answered, not stored", f"{QUERIES}._store", "before", stage=""),
    Cell("hub", "Q4", "the answers are stored, not sent", f"{QUERIES}._store", stage=""),
    Cell("hub", "Q5", "in the log, not cosigned", "hub.cosigning:Cosigner._ask", "before", stage=""),
    Cell("hub", "Q5", "cosigned, the cosignature is not kept", "hub.cosigning:Cosigner._ask", stage=""),
    Cell("tax-1", "S5", "the answer is not on record", "nodes.scoring:Scorer._answer_group", "before", stage=""),
    Cell("tax-1", "S5", "the answer is on record, not sent", "nodes.scoring:Scorer._answer_group", stage=""),
    Cell(
        "witness",
        "Q5",
        "the checkpoint is not cosigned",
        "nodes.witness.checkpoints:CheckpointCosigner.cosign",
        "before",
        stage="",
    ),
    Cell("bank-1", "A1", "the request is signed, not kept", "nodes.requester:Requester.prepare", stage=""),
    Cell("bank-1", "A1", "the request is kept, not sent", "nodes.requester:Requester._send", "before", stage=""),
    Cell("bank-1", "A3", "answered, not kept", "nodes.requester:Requester._send", stage=""),
    Cell("bank-1", "B1", "the batch is stored, not answered", "nodes.batch_book:BatchBook.create", stage=""),
    Cell("bank-1", "B2", "its requests are stored, not sent", "nodes.batches:Batches._ask_next", stage=""),
    Cell("bank-1", "B3", "its answers came, not kept", "nodes.enquiries:Enquiries.send", stage=""),
    Cell("hub", "C4", "the consent is not stored", "hub.consents:Consents._store", stage=""),
    Cell("hub", "C4", "the consent is stored, not answered", "hub.consents:Consents.submit", stage=""),
    Cell(
        "tax-1",
        "feed",
        "the consent is not kept",
        "nodes.consents:ConsentStore.apply_all",
        "before",
        holds="",
        stage="",
    ),
    Cell(
        "tax-1",
        "feed",
        "the consent is kept, its place in the feed is not",
        "nodes.consents:ConsentStore.apply_all",
        stage="",
    ),
    Cell("hub", "C4", "the revocation is not stored", "hub.consents:Consents._change", stage=""),
    Cell("hub", "C4", "the revocation is stored, not answered", "hub.consents:Consents.submit_events", stage=""),
    Cell(
        "tax-1",
        "feed",
        "the revocation is kept, its place in the feed is not",
        "nodes.consents:ConsentStore.apply_all",
        stage="",
    ),
)


def table() -> list[str]:
    """The matrix as the documentation shows it: a row for each process and step, and what follows."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for each in (*CAMPAIGN, *QUERY):
        rows.setdefault((each.process.partition("-")[0], each.step, each.follows), []).append(each.where)
    lines = ["| process | step | killed when | what follows |", "| --- | --- | --- | --- |"]
    for (process, step, follows), where in sorted(rows.items(), key=lambda row: row[0][0]):
        lines.append(f"| {process} | {step} | {'; '.join(dict.fromkeys(where))} | {SAID[follows]} |")
    return lines
