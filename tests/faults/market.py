"""A market in a federation of processes: a released model, merchants, and what must be true of the logs."""

from __future__ import annotations

import base64
import itertools
import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from crypto.jws import peek_payload
from hub.audit import verify_export
from hub.demo.merchants import Merchant, consent_of
from hub.reconciliation import reconcile
from hub.tables.log import CheckpointRow, LogEntryRow, LogPendingRow, SubjectSaltRow
from models.artefact import ModelArtefact
from models.scorecard import Scorecard
from nodes.tables.consents import ConsentRow
from nodes.tables.scoring import UseRow
from tests.faults.campaigns import run_campaign
from tests.faults.world import REQUESTER, FaultWorld

SOURCES = ("bank-1", "tax-1", "utility-1")


class Market:
    """A released model, and merchants of the requester's that nobody has asked about.

    Attributes:
        requests: how many requests were answered.
    """

    def __init__(self, world: FaultWorld) -> None:
        self.world = world
        self.requests = 0
        done = run_campaign(world, (), release=True)
        assert done.state["status"] == "succeeded", done.state["failure"]
        self.model_id = str(done.state["model_id"])
        artefact = ModelArtefact.from_bytes(world.hub.models.artefact(self.model_id, unreleased=True))
        self.card: Scorecard = artefact.card()
        made = world.made
        self._chosen = [
            row
            for row in range(len(made.ids))
            if made.lets_score(row) and {made.sources[kind][row] for kind in made.sources} == set(SOURCES)
        ]
        self._rows = iter(self._chosen)
        self._again = itertools.cycle(self._chosen)

    def merchant(self) -> tuple[int, Merchant]:
        """The next one."""
        row = next(self._rows)
        return row, self.world.made.merchants[row]

    def somebody(self) -> tuple[int, Merchant]:
        """One of the same, who may have been asked about before and has not withdrawn."""
        row = next(row for row in self._again if row not in self.world.withdrawn)
        return row, self.world.made.merchants[row]

    def log(self) -> list[dict[str, Any]]:
        """All entries of the log."""
        return log_of(self.world)

    def verifiers(self) -> dict[str, bytes]:
        """Keys that sign its checkpoints."""
        hub, witness = self.world.hub, self.world.hub.parties.witness()
        assert witness is not None
        return {hub.config.log_origin: hub.keys.identity.public, witness.party_id: witness.sign_key}

    def score(self, row: int) -> int:
        """What its joined row scores."""
        codes = {kind: codes[row : row + 1] for kind, codes in self.world.made.codes.items()}
        return int(self.card.score(codes)[0])

    def uses(self, source: str, record_id: str) -> int:
        """How often a source counted a consent's use by a query."""
        store = self.world.store(source)
        try:
            with store.reading() as session:
                mine = UseRow.record_id == record_id, UseRow.model_id == self.model_id
                return len(session.scalars(select(UseRow).where(*mine)).all())
        finally:
            store.engine.dispose()


def consent(merchant: Merchant) -> tuple[str, str]:
    """Another consent of a merchant, to its bank."""
    return consent_of(
        merchant,
        purposes=("credit-scoring", "model-training"),
        recipients=(REQUESTER,),
        reasons=False,
        count=5,
        now=datetime.now(UTC),
    )


def held(world: FaultWorld, party: str, record_id: str) -> str | None:
    """The last event of a consent at a node."""
    store = world.store(party)
    try:
        with store.reading() as session:
            row = session.get(ConsentRow, record_id)
            return None if row is None else row.state
    finally:
        store.engine.dispose()


def ended_batch(world: FaultWorld, batch_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] = world.get_gateway(f"/batches/{batch_id}")
    return found if found["state"] == "finished" else None


def log_of(world: FaultWorld) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := world.hub.log.reader.entries(len(found), 1000):
        found += [json.loads(leaf) for leaf in page]
    return found


def quiet(world: FaultWorld) -> bool:
    """Whether nothing waits for its place in the log, or for the witness."""
    with world.hub.db.reading() as session:
        waiting = session.scalar(select(func.count()).select_from(LogPendingRow))
        newest = session.scalars(select(CheckpointRow).order_by(CheckpointRow.size.desc()).limit(1)).one()
        return waiting == 0 and newest.cosigned


def queries_logged(world: FaultWorld) -> set[tuple[str, int]]:
    """Every query in the log, once; a second entry of the same is a failure."""
    found = [
        (each["facts"]["request_hash"], each["facts"]["item"]) for each in log_of(world) if each["type"] == "query"
    ]
    assert len(found) == len(set(found))
    return set(found)


def entries_about(world: FaultWorld, merchant: Merchant) -> Counter[str]:
    """Types of the log's entries about a merchant, once all are in order."""
    query = (
        select(LogEntryRow.leaf)
        .join(SubjectSaltRow, SubjectSaltRow.pending_id == LogEntryRow.pending_id)
        .where(SubjectSaltRow.pseudonym == merchant.pseudonym)
    )
    with world.hub.db.reading() as session:
        found = Counter(json.loads(leaf)["type"] for leaf in session.scalars(query))
    del found["deletion"]  # sources prove it in their own time after a consent has ended
    return found


def check_logs(world: FaultWorld, requests: int) -> None:
    """The log is whole, every query is at hub and source alike, and no source answered one request in two ways."""
    world.until(world.connected, what="all links")
    export = world.base / "log.ndjson"
    export.write_bytes(b"".join(world.hub.log.reader.export()))
    witness = world.hub.parties.witness()
    assert witness is not None
    verdict = verify_export(
        export, {world.hub.config.log_origin: world.hub.keys.identity.public, witness.party_id: witness.sign_key}
    )
    assert verdict.ok, verdict.findings
    failed = {
        each["facts"]["request_hash"]
        for each in log_of(world)
        if each["type"] == "query-result" and each["facts"].get("failures")
    }
    for source in SOURCES:
        journal = world.journal(source, world.base / f"{source}.ndjson")
        differing = reconcile(Path(export), journal, node=source)
        # What a source never saw, the hub logged before it asked, and logged that it was refused.
        assert {each.only_in for each in differing} <= {"hub"}, differing
        assert {each.request_hash for each in differing} <= failed, differing
    answered: dict[tuple[str, str], set[bytes]] = defaultdict(set)
    for source in SOURCES:
        for line in world.answers(source):
            if "answer" in line:
                token = base64.b64decode(line["answer"])
                said = json.loads(peek_payload(token.decode()))
                if said["answered"]:
                    answered[source, said["request_hash"]].add(token)
    assert len(answered) >= requests * len(SOURCES)
    assert all(len(tokens) == 1 for tokens in answered.values())
