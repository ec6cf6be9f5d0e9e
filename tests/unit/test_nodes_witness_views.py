"""What the regulator's pages show: a merchant's opened record, a reconciled journal, what the programme costs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint
from crypto.jws import generate_merchant_key, peek_payload, sign_merchant
from crypto.log_index import commit
from crypto.merkle import leaf_hash
from crypto.merkle import root as tree_root
from crypto.wire.audit import LogEntry
from crypto.wire.service import MerchantRecords, OpenedEntry, RecordedConsent, RecordedEvent
from nodes.errors import JournalError
from nodes.journal import Decided, Decision, Journal
from nodes.ledger import Ledger
from nodes.store import Store
from nodes.witness.checkpoints import CosignedCheckpoints
from nodes.witness.comparing import reconcile_journal
from nodes.witness.mirror import Mirror, open_mirror
from nodes.witness.mirror_search import MirrorSearch
from nodes.witness.openings import MAX_RECORD_BYTES, RecordUnreadable, open_record, read_record
from nodes.witness.overview import Overviews, Spending
from tests.federation import make_world, run_scorecard

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
PSEUDONYM = bytes(range(32))
KEY = generate_merchant_key()
MODEL = f"sha256:{'a' * 64}"


def mirrored(folder: Path, leaves: Sequence[bytes]) -> Mirror:
    class Hub:
        def entries(self, start: int, limit: int) -> tuple[str, ...]:
            return tuple(leaf.decode() for leaf in leaves[start : start + limit])

        def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
            raise AssertionError("one block needs no proof")

    head = Checkpoint("hub.example/log", len(leaves), tree_root([leaf_hash(leaf) for leaf in leaves]))
    mirror = Mirror(open_mirror(folder), cosigned=lambda: head, log=Hub(), clock=lambda: NOW)
    mirror.catch_up()
    return mirror


def signed(body: dict[str, object], typ: str) -> str:
    return sign_merchant(json.dumps(body).encode(), KEY, typ=typ, kid=PSEUDONYM.hex())


class Merchant:
    """A merchant's entries as a hub logs them, with the salts that the record has."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self.opened: list[OpenedEntry] = []

    def add(
        self, kind: str, record_id: str, *, token: str | None = None, logged: bool = True, **facts: str | int
    ) -> None:
        salt = bytes([len(self.opened) + 1]) * 16
        hidden = {"consent": commit(salt, record_id.encode()).hex()}
        if token is not None:
            hidden["artefact"] = commit(salt, hashlib.sha256(peek_payload(token)).digest()).hex()
        entry = LogEntry.model_validate(
            {
                "type": kind,
                "time": NOW + timedelta(minutes=len(self.opened)),
                "actor": "hub",
                "subject": commit(salt, PSEUDONYM),
                "facts": {**facts, **hidden},
            }
        )
        leaf = canonical_bytes(entry)
        index = len(self.leaves) if logged else None
        self.opened.append(OpenedEntry(log_index=index, entry=leaf.decode(), salt=salt))
        if logged:
            self.leaves.append(leaf)


@pytest.fixture
def merchant() -> Merchant:
    return Merchant()


def records(merchant: Merchant, *consents: RecordedConsent) -> MerchantRecords:
    return MerchantRecords(
        pii_principal_id=PSEUDONYM,
        time=NOW,
        consents=consents,
        queries=(),
        entries=tuple(merchant.opened),
        keys=(),
    )


def test_a_record_opens_its_entries_and_gives_each_consent_its_history(merchant: Merchant, tmp_path: Path) -> None:
    given, revoked = signed({"a": 1}, "consent"), signed({"b": 2}, "consent-event")
    merchant.add("consent", "r1", token=given)
    merchant.add("consent", "r2", token=signed({"c": 3}, "consent"))
    merchant.add("query", "r1", model_id=MODEL, sources="tax-01", request_hash="a" * 64, item=0)
    merchant.add("consent-event", "r1", token=revoked, event="revoked")
    merchant.add("query", "r2", logged=False)
    event = RecordedEvent(event="revoked", token=revoked, log_index=3)
    first = RecordedConsent(record_id="r1", state="revoked", consent=given, events=(event,), log_index=0)
    second = RecordedConsent(record_id="r2", state="given", consent=given, events=(), log_index=1)
    search = MirrorSearch(mirrored(tmp_path, merchant.leaves).store)

    opened = open_record(records(merchant, first, second), search)
    assert [each.place for each in opened.entries] == ["verified"] * 4 + ["not-yet"]
    one, two = opened.histories
    assert [(step.entry.type, step.index, step.signed) for step in one.steps] == [
        ("consent", 0, True),
        ("query", 2, False),
        ("consent-event", 3, True),
    ]
    assert [(step.entry.type, step.signed) for step in two.steps] == [("consent", False), ("query", False)]
    assert (opened.number("verified"), opened.number("absent")) == (4, 0)


def test_a_record_that_the_log_does_not_bear_out_is_shown_as_such(merchant: Merchant, tmp_path: Path) -> None:
    for number in range(3):
        merchant.add("query", f"r{number}")
    search = MirrorSearch(mirrored(tmp_path, merchant.leaves).store)
    made_up = merchant.opened[0].model_copy(update={"entry": merchant.opened[0].entry.replace('"hub"', '"bank-01"')})
    others = merchant.opened[1].model_copy(update={"salt": bytes(16)})
    merchant.opened[:2] = [made_up, others]
    opened = open_record(records(merchant), search)
    assert sorted(each.place for each in opened.entries) == ["absent", "foreign", "verified"]


def test_a_download_and_a_reply_of_the_hub_are_read_and_nothing_else(merchant: Merchant) -> None:
    merchant.add("query", "r1")
    whole = records(merchant)
    plain = whole.model_dump_json()
    assert read_record(plain.encode()) == whole
    download = {"format": "digua-own-record-1", "records": json.loads(plain), "signed_content": []}
    assert read_record(json.dumps(download).encode()) == whole
    for wrong in (b"", b"\xff", b"[]", b"{}", b'{"format":"digua-own-record-1"}', b"[" * 100_000, b'{"a":' * 100_000):
        with pytest.raises(RecordUnreadable):
            read_record(wrong)
    with pytest.raises(RecordUnreadable, match="larger"):
        read_record(b" " * (MAX_RECORD_BYTES + 1))


# reconciliation


@pytest.fixture
def node(tmp_path: Path) -> Iterator[tuple[Store, Journal]]:
    store = Store.open(tmp_path / "tax" / "node.db")
    yield store, Journal(store, "tax-01", clock=lambda: NOW + timedelta(minutes=30))
    store.close()


def hub_query(number: int, *, minutes: int) -> bytes:
    facts = {"request_hash": f"{number:064x}", "item": 0, "sources": "tax-01,utility-01", "model_id": MODEL}
    return canonical_bytes(LogEntry(type="query", time=NOW + timedelta(minutes=minutes), actor="bank-01", facts=facts))


def node_query(store: Store, journal: Journal, number: int, *, minutes: int) -> None:
    with store.session() as session:
        decided = Decided(number.to_bytes(32, "big"), {}, [Decision(0, "answered")])
        journal.queries(session, [decided], NOW + timedelta(minutes=minutes))


def test_each_query_that_one_side_lacks_is_named(node: tuple[Store, Journal], tmp_path: Path) -> None:
    leaves = [hub_query(1, minutes=1), hub_query(2, minutes=2), hub_query(4, minutes=40)]
    search = MirrorSearch(mirrored(tmp_path, leaves).store)
    store, journal = node
    node_query(store, journal, 1, minutes=1)
    node_query(store, journal, 3, minutes=3)
    journal.note("model-release", {"model_id": "m"})
    found = reconcile_journal([line.to_json() for line in journal.lines()], search)
    assert (found.party, found.lines, found.comparison.compared, found.comparison.undecided) == ("tax-01", 3, 1, 1)
    assert [(int(each.request_hash, 16), each.only_in) for each in found.comparison.discrepancies] == [
        (2, "hub"),
        (3, "node"),
    ]


def test_a_journal_that_was_altered_or_is_none_is_refused(node: tuple[Store, Journal], tmp_path: Path) -> None:
    search = MirrorSearch(mirrored(tmp_path, [hub_query(1, minutes=1)]).store)
    store, journal = node
    for number in (1, 2, 3):
        node_query(store, journal, number, minutes=number)
    lines = [line.to_json() for line in journal.lines()]
    cases = [
        [lines[0], lines[2]],
        [lines[0].replace("answered", "refused"), *lines[1:]],
        [],
        ["nothing"],
        ['{"seq":1,"hash":"00","note":"[]"}'],
        ["[" * 100_000],
    ]
    for case in cases:
        with pytest.raises(JournalError):
            reconcile_journal(case, search)


# overview


def test_the_overview_counts_what_the_witness_charged(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world", merchants=120, noise_off=False)
    released = run_scorecard(world, world.noisy_plan())
    context = world.federation.witness_context
    campaign = released.terms.campaign_id
    facts = {"campaign_id": campaign, "name": "small", "stages": "scorecard", "epsilon": "3", "delta": "1e-05"}
    leaves = [
        canonical_bytes(LogEntry(type="campaign-started", time=NOW, actor="hub", facts=facts)),
        hub_query(1, minutes=-60 * 24),
        hub_query(2, minutes=5),
        canonical_bytes(
            LogEntry(
                type="campaign-ended",
                time=NOW + timedelta(minutes=9),
                actor="hub",
                facts={"campaign_id": campaign, "status": "succeeded", "code": None, "party": None},
            )
        ),
    ]
    ledger: Ledger = context.ledger
    store = ledger._store
    spending = Spending(store, ledger)
    overviews = Overviews(
        mirrored(tmp_path, leaves), CosignedCheckpoints(store), spending, context.roster, clock=lambda: NOW
    )
    found = overviews.overview(waiting_models=0, waiting_parties=2)
    (line,) = found.campaigns
    assert (line.campaign_id, line.name, line.status, line.attempts) == (campaign, "small", "succeeded", 1)
    assert line.cost == pytest.approx(found.spent)
    assert found.spent == pytest.approx(ledger.spent().epsilon)
    assert found.spent > 0
    assert {each.party_id for each in found.nodes} == {each.party_id for each in released.terms.roster}
    assert all(each.total == pytest.approx(found.spent) and each.limit == ledger.epsilon for each in found.nodes)
    assert [(each.day, each.queries) for each in found.days[:3]] == [
        ("2026-03-01", 1),
        ("2026-02-28", 1),
        ("2026-02-27", 0),
    ]
    assert (found.newest, found.age_seconds, found.waiting_parties) == (None, None, 2)
    assert all(each.this_year == 0 or each.this_year == pytest.approx(each.total) for each in found.nodes)
    world.federation.grid.close()
