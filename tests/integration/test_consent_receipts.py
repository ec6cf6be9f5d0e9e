"""Receipts for consents and events: what a hub acknowledged and withheld shows when its log is reconciled."""

from __future__ import annotations

import json
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from crypto.canonical import canonical_bytes
from crypto.consent_receipts import check_acknowledgement
from crypto.errors import ProofError, SignatureError
from crypto.jws import sign_model
from crypto.key_line import KeyLine
from crypto.keys import IdentityKey
from crypto.merkle import leaf_hash
from crypto.wire.consent import Acknowledgement, ConsentSubmission, FeedPage, SubmissionReceipt
from hub.app import create_app
from hub.cli import app
from hub.erasure import erase_merchant
from hub.errors import AuditFileError
from hub.reconciliation import reconcile_receipts
from nodes.config import HubAddress, key_to_text
from nodes.consent_receipts import keep_receipts, submit_artefacts
from nodes.consents import TAKEN, _payload_sha256
from nodes.errors import ConfigError
from nodes.hub_client import HubClient
from nodes.journal import JournalNote
from nodes.roster import RosterBook
from tests.hub_merchants import MarketWorld, Merchant
from tests.hub_world import lines_of, write_lines

NODE = "tax-01"


@dataclass
class Pinned:
    """Of a node's roster book, what receipts need."""

    hub_id: str
    hub_keys: KeyLine


class ReceiptWorld(MarketWorld):
    """A hub over its own API, and a platform's node that submits."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.key = self.hub.keys.identity.public
        self.pinned = Pinned("hub-lishui", KeyLine.of(self.key))
        self.bend = lambda answer: answer
        self.http = TestClient(create_app(self.hub))  # the background does not run
        self.client = HubClient(
            HubAddress(url="http://127.0.0.1:1"),
            party_id="platform",
            identity=self.members["platform"].identity,
            clock=lambda: self.now,
            transport=httpx.MockTransport(self._relay),
        )
        self.receipts = base / "receipts.ndjson"
        self.journal: list[JournalNote] = []
        self._place = 0

    def _relay(self, request: httpx.Request) -> httpx.Response:
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        answer = self.http.request(request.method, request.url.path, content=request.content, headers=headers)
        assert answer.headers.get("cache-control") == "no-store"
        return httpx.Response(answer.status_code, content=self.bend(answer.content))

    def submit(self, *tokens: str, events: bool = False) -> SubmissionReceipt:
        kind = "consent-event" if events else "consent"
        roster: RosterBook = self.pinned  # type: ignore[assignment]
        taken = submit_artefacts(self.client, roster, kind, ConsentSubmission(tokens=tokens))
        keep_receipts(taken.receipts, self.receipts)
        return taken

    def follow(self) -> None:
        """The node's feed, noted in its journal."""
        page = FeedPage.model_validate_json(self.hub.feed.page(NODE, self._place).body)
        self._place += len(page.items)
        hashes = [str(_payload_sha256(item)) for item in page.items if item.kind.startswith("consent")]
        self.note(TAKEN, sha256=",".join(hashes))

    def note(self, kind: str, **facts: str) -> None:
        self.journal.append(JournalNote(type=kind, time=self.now, actor=NODE, facts=dict(facts)))

    def later(self) -> tuple[Path, Path]:
        """Two minutes pass, and both sides go on writing; exports of the log and the journal."""
        self.now += timedelta(minutes=2)
        with self.hub.db.session() as session:
            self.hub.log.append(session, "erasure", "hub-lishui", facts={"entries": 0})
        self.settle()
        self.note("query-sent", model_id="none")
        path = self.base / "journal.ndjson"
        write_lines(path, [{"seq": n, "note": canonical_bytes(each).decode()} for n, each in enumerate(self.journal)])
        return self.export(), path


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ReceiptWorld]:
    world = ReceiptWorld(tmp_path)
    yield world
    world.client.close()
    world.hub.close()


@pytest.fixture
def shop(world: ReceiptWorld) -> Merchant:
    return world.merchant("shop")


def withheld(world: ReceiptWorld) -> list[tuple[str, str]]:
    verdict = reconcile_receipts(world.receipts, *world.later(), hub_keys=KeyLine.of(world.key))
    assert verdict.undecided == 0
    return [(each.kind, each.missing_in) for each in verdict.withheld]


def test_a_receipt_names_the_entry_of_its_artefact(world: ReceiptWorld, shop: Merchant) -> None:
    record_id, token = world.consent(shop)
    first = world.submit(token, token)
    assert (first.stored, first.known) == (1, 1)
    assert first.receipts[0] == first.receipts[1]
    event = world.submit(world.event(shop, record_id, "paused"), events=True)
    world.now += timedelta(seconds=5)
    again = world.submit(token)  # what is known gets its receipt again
    assert (again.stored, again.known) == (0, 1)
    world.settle()
    leaves = [leaf_hash(str(line["entry"]).encode()) for line in lines_of(world.export()) if "entry" in line]
    found = []
    for acknowledged in (*first.receipts, *event.receipts, *again.receipts):
        assert acknowledged is not None
        receipt = check_acknowledgement(acknowledged, KeyLine.of(world.key), hub_id="hub-lishui")
        assert receipt.leaf in leaves
        assert receipt.parties == ("bank-01", "platform", "tax-01", "utility-01")
        found.append((receipt.kind, receipt.leaf))
    assert found[0] == found[1] == found[3]
    assert found[2][0] == "consent-event"
    kept = world.receipts.read_text().splitlines()
    assert [Acknowledgement.model_validate_json(line) for line in kept] == [
        *first.receipts,
        *event.receipts,
        *again.receipts,
    ]
    assert stat.S_IMODE(world.receipts.stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="cannot be written"):
        keep_receipts(first.receipts, world.base / "absent" / "receipts")


def test_after_an_erasure_there_is_no_receipt_any_more(world: ReceiptWorld, shop: Merchant) -> None:
    record_id, token = world.consent(shop)
    world.submit(token)
    world.submit(world.event(shop, record_id, "revoked"), events=True)
    erase_merchant(world.hub, shop.pseudonym)
    again = world.submit(token)
    assert (again.known, again.receipts) == (1, (None,))
    assert len(world.receipts.read_text().splitlines()) == 2


def test_a_hub_that_does_not_acknowledge_what_was_sent_is_refused(world: ReceiptWorld, shop: Merchant) -> None:
    (_, one), (_, two) = world.consent(shop), world.consent(shop)
    given = world.submit(one, two)
    first, second = given.receipts
    assert first is not None
    assert second is not None
    receipt = check_acknowledgement(first, KeyLine.of(world.key))
    forged = sign_model(receipt, IdentityKey.generate(), typ="consent-receipt", kid="hub-lishui")
    crossed = sign_model(
        receipt.model_copy(update={"leaf": leaf_hash(second.entry.encode())}),
        world.hub.keys.identity,
        typ="consent-receipt",
        kid="hub-lishui",
    )
    cases = [
        ((second, first), ProofError, "about another artefact"),
        ((first,), ProofError, "missing"),
        ((first.model_copy(update={"receipt": forged}), second), SignatureError, "signature"),
        ((first.model_copy(update={"entry": second.entry}), second), ProofError, "another entry"),
        ((first.model_copy(update={"receipt": crossed}), second), ProofError, "another entry"),
        (
            (second.model_copy(update={"receipt": crossed}), second),
            ProofError,
            "about another artefact",
        ),
        ((first.model_copy(update={"salt": second.salt}), second), ProofError, "about another artefact"),
        ((first.model_copy(update={"entry": "{}"}), second), ProofError, "no entry"),
    ]
    before = world.receipts.read_bytes()
    for receipts, error, what in cases:
        bent = given.model_copy(update={"receipts": receipts}).model_dump_json().encode()
        world.bend = lambda _answer, bent=bent: bent
        with pytest.raises(error, match=what):
            world.submit(one, two)
    assert world.receipts.read_bytes() == before


def test_honest_logs_and_feeds_have_everything(world: ReceiptWorld, shop: Merchant) -> None:
    record_id, token = world.consent(shop)
    world.submit(token)
    world.follow()
    world.submit(world.event(shop, record_id, "revoked"), events=True)
    _, elsewhere = world.consent(
        shop, sources={"bank": "bank-01", "utility": "utility-01"}, recipients=("platform",), separate_consent=()
    )
    world.submit(elsewhere)  # names the node nowhere
    # What is newer than an export is not judged by it.
    world.settle()
    write_lines(world.base / "early", [{"seq": 0, "note": canonical_bytes(world.journal[0]).decode()}])
    early = reconcile_receipts(world.receipts, world.export(), world.base / "early", hub_keys=KeyLine.of(world.key))
    assert (early.withheld, early.decided, early.undecided) == ((), 2, 1)
    world.follow()
    assert withheld(world) == []


def test_an_event_that_is_left_out_of_one_feed_shows(
    world: ReceiptWorld, shop: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_id, token = world.consent(shop)
    world.submit(token)
    publish = world.hub.feed.publish_many

    def leave_out(session: object, items: list[object]) -> None:
        publish(session, [type(each)(each.parties - {NODE}, each.kind, token=each.token) for each in items])  # type: ignore

    monkeypatch.setattr(world.hub.feed, "publish_many", leave_out)
    world.submit(world.event(shop, record_id, "revoked"), events=True)
    world.follow()
    assert withheld(world) == [("consent-event", "node")]


def test_an_event_that_is_never_logged_shows(world: ReceiptWorld, shop: Merchant) -> None:
    record_id, token = world.consent(shop)
    world.submit(token)
    world.submit(world.event(shop, record_id, "revoked"), events=True)
    world.follow()
    hub_export, journal = world.later()
    # The hub leaves the entry out of what it exports.
    lines = [line for line in lines_of(hub_export) if '"revoked"' not in str(line.get("entry"))]
    write_lines(hub_export, lines)
    verdict = reconcile_receipts(world.receipts, hub_export, journal, hub_keys=KeyLine.of(world.key))
    assert [(each.kind, each.missing_in) for each in verdict.withheld] == [("consent-event", "hub")]

    arguments = ["audit", "reconcile", str(hub_export), str(journal), "--receipts", str(world.receipts)]
    refused = CliRunner().invoke(app, [*arguments, "--json"])
    assert refused.exit_code != 0
    shown = CliRunner().invoke(app, [*arguments, "--hub-key", key_to_text(world.key), "--json"])
    assert shown.exit_code == 1, shown.output
    facts = json.loads(shown.stdout)
    assert facts["ok"] is False
    assert [each["missing_in"] for each in facts["consents"]["withheld"]] == ["hub"]
    assert (facts["consents"]["decided"], facts["consents"]["undecided"]) == (2, 0)
    plain = CliRunner().invoke(app, [*arguments, "--hub-key", key_to_text(world.key)], env={"DIGUA_LANG": "zh"})
    assert "枢纽已确认但被扣留" in plain.stdout


def test_a_receipt_that_the_hub_did_not_sign_accuses_nobody(world: ReceiptWorld, shop: Merchant) -> None:
    world.submit(world.consent(shop)[1])
    world.follow()
    exports = world.later()
    with pytest.raises(AuditFileError, match="does not verify"):
        reconcile_receipts(world.receipts, *exports, hub_keys=KeyLine.of(IdentityKey.generate().public))
    world.receipts.write_text(json.dumps({"receipt": secrets.token_hex(8)}) + "\n")
    with pytest.raises(AuditFileError, match="does not verify"):
        reconcile_receipts(world.receipts, *exports, hub_keys=KeyLine.of(world.key))
