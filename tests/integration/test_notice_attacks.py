"""Notices at nodes against a hub that lies: it can make nodes stricter, and what it withholds shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from crypto.canonical import canonical_bytes
from crypto.keys import IdentityKey
from crypto.wire.audit import LogEntry
from crypto.wire.consent import PrivacyNotice
from crypto.wire.notice import NoticeSubmission
from hub.demo.notices import EXPLAINED
from hub.notice_reconciliation import WithheldNotice, reconcile_notices
from nodes.counting_consents import asked_under
from nodes.errors import PolicyRefusal
from nodes.journal import QUERY
from tests.scoring_world import SOURCES, ScoringWorld

PARTIES = ("bank-01", "lender", "platform", "tax-01", "utility-01", "witness")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path, parties=PARTIES)
    yield world
    world.close()


def asking(world: ScoringWorld, days: float = 1, version: str = "2") -> NoticeSubmission:
    return NoticeSubmission.model_validate(
        {
            "notice": "credit-scoring",
            "version": version,
            "purposes": EXPLAINED["credit-scoring"],
            "zh": f"告知书第{version}版",
            "en": f"Notice, version {version}",
            "reconsent": True,
            "ends_at": world.now + timedelta(days=days),
        }
    )


def codes(world: ScoringWorld, **changes: object) -> dict[str, str]:
    record, model_id = world.give(**changes), world.release()
    token = world.request(record, model_id)
    return {source: world.codes(source, token)[0] for source in SOURCES.values()}


def notes(world: ScoringWorld, party: str, kind: str) -> list[dict[str, object]]:
    lines = [json.loads(line.entry) for line in world.nodes[party].journal.lines()]
    return [line["facts"] for line in lines if line["type"] == kind]


def test_a_consent_under_a_text_that_was_never_registered_is_not_answered(world: ScoringWorld) -> None:
    unknown = PrivacyNotice(version="1", language="zh", sha256="0" * 64)
    assert set(codes(world, privacy_notice=unknown).values()) == {"notice-unknown"}
    assert set(codes(world).values()) == {"answered"}


def test_nodes_end_consents_to_an_old_notice_at_the_stated_second(world: ScoringWorld) -> None:
    record, model_id = world.give(), world.release()
    world.notice(asking(world))
    world.pass_time(days=1, seconds=-1)
    assert world.codes("tax-01", world.request(record, model_id)) == ["answered"]
    merchants = np.frombuffer(record.pii_principal_id, dtype=np.uint8).reshape(1, 32)
    bank = world.nodes["bank-01"].consents
    assert bank.counting(merchants, world.schema) == [record.record_id]
    world.pass_time(seconds=1)
    assert world.codes("tax-01", world.request(record, model_id)) == ["notice-superseded"]
    assert bank.counting(merchants, world.schema) == [None]
    with pytest.raises(PolicyRefusal, match="no active consent"):
        bank.sources(merchants, world.schema)
    lender = world.nodes["lender"].consents
    assert lender.state(record.record_id, world.now) == "notice-superseded"
    held = asked_under(lender.of_merchant(record.pii_principal_id, world.now), "lender", "credit-scoring")
    assert held is not None
    assert held.state == "notice-superseded"


def test_an_end_survives_restarts_and_later_statements(world: ScoringWorld) -> None:
    record, model_id = world.give(), world.release()
    world.notice(asking(world))
    world.notice(asking(world, days=900, version="3"))
    world.pass_time(days=1)
    world.reopen("tax-01")
    assert world.codes("tax-01", world.request(record, model_id)) == ["notice-superseded"]


def test_replays_and_forgeries_change_nothing(world: ScoringWorld) -> None:
    record, model_id = world.give(), world.release()
    forged = world.notice_item(asking(world, days=0), serial=9, key=IdentityKey.generate())
    genuine = world.notice_item(asking(world), serial=3)
    for item in (forged, genuine, genuine):
        world.feed("tax-01", item)
    assert [code for _, code in world.nodes["tax-01"].runtime.feed.refused()] == ["signature-invalid"]
    assert [note["serial"] for note in notes(world, "tax-01", "notice-taken")] == [1, 2, 3]
    assert world.codes("tax-01", world.request(record, model_id)) == ["answered"]


def test_two_statements_under_one_serial_are_both_kept_and_noted(world: ScoringWorld) -> None:
    record, model_id = world.give(), world.release()
    world.feed("tax-01", world.notice_item(asking(world, days=9, version="2"), serial=3))
    world.feed("tax-01", world.notice_item(asking(world, days=1, version="2b"), serial=3))
    (contradiction,) = notes(world, "tax-01", "notice-contradicted")
    assert contradiction["serial"] == 3
    world.pass_time(days=1)
    assert world.codes("tax-01", world.request(record, model_id)) == ["notice-superseded"]


def test_a_hidden_supersession_shows_when_journals_are_reconciled(world: ScoringWorld, tmp_path: Path) -> None:
    record, model_id = world.give(), world.release()
    submission = asking(world)
    world.notice(submission, to=[name for name in world.nodes if name != "tax-01"])
    logged = logged_of(world, "utility-01")
    world.pass_time(days=1)
    token = world.request(record, model_id)
    assert world.codes("tax-01", token) == ["answered"]  # it cannot know
    assert world.codes("utility-01", token) == ["notice-superseded"]  # and yet the requester gets no score
    found = reconciled(world, "tax-01", logged, tmp_path)
    assert [(each.serial, each.missing_in) for each in found] == [(3, "node")]
    assert reconciled(world, "utility-01", logged, tmp_path) == []


def test_a_notice_told_to_one_node_and_not_logged_shows_too(world: ScoringWorld, tmp_path: Path) -> None:
    logged = logged_of(world, "tax-01")
    world.notice(asking(world), to=["tax-01"])
    world.pass_time(minutes=5)
    found = reconciled(world, "tax-01", logged, tmp_path)
    assert [(each.serial, each.missing_in) for each in found] == [(3, "hub")]


def logged_of(world: ScoringWorld, party: str) -> list[bytes]:
    """Entries of a hub's log that has the notices that this party knows of."""
    return [
        canonical_bytes(LogEntry(type="notice", time=world.now, actor="hub", facts=note))  # type: ignore[arg-type]
        for note in notes(world, party, "notice-taken")
    ]


def reconciled(world: ScoringWorld, party: str, logged: list[bytes], folder: Path) -> list[WithheldNotice]:
    """Compare such a log, which ends now, with the party's journal, in which something stands after the notices."""
    world.nodes[party].journal.note("scored-locally", {})
    last = canonical_bytes(LogEntry(type=QUERY, time=world.now, actor="hub"))  # type: ignore[arg-type]
    hub_export, node_export = folder / "hub.ndjson", folder / "node.ndjson"
    lines = [json.dumps({"entry": leaf.decode()}) for leaf in (*logged, last)]
    hub_export.write_text("\n".join(lines) + "\n", encoding="utf-8")
    world.nodes[party].journal.export(node_export)
    return reconcile_notices(hub_export, node_export)
