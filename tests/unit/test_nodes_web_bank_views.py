"""What the bank's pages show, before any page: scores, consents, files, usage, ledger, data, contribution, journal."""

from __future__ import annotations

import ast
import json
import re
import secrets
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from crypto.identifiers import uscc_check_digit
from crypto.wire.campaign import TablesMechanism
from crypto.wire.consent import DataCategory, Frequency, Purpose
from crypto.wire.scoring import RefusalCode
from models.divergence import Divergence
from models.i18n import catalogue
from nodes.consents import ConsentState
from nodes.enquiries import Enquiry
from nodes.frozen_counts import BinCounts, FrozenCounts
from nodes.gateway_batches import BatchDesk
from nodes.services import Services
from nodes.training_context import TrainingData
from nodes.web import bank_words
from nodes.web.bank_consents import ConsentDesk
from nodes.web.bank_contribution import ContributionDesk, information_values
from nodes.web.bank_files import CheckedFile, FileDesk, checked_file
from nodes.web.bank_journal import FACTS, GROUPS, TYPES, JournalDesk
from nodes.web.bank_ledger import LedgerDesk, ledger_csv
from nodes.web.bank_quality import QualityDesk, drift_tone
from nodes.web.bank_scores import NoScore, ScoreDesk, ScoreSheet
from nodes.web.bank_usage import UsageDesk
from nodes.web.bank_words import PURPOSES, REMEDIES, STATES, refused
from tests.scoring_answers import expected_score
from tests.scoring_world import ScoringWorld

ROOT = Path(__file__).parents[2]
NOBODY = "N999"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    world.release()
    yield world
    world.close()


@pytest.fixture
def bank(world: ScoringWorld) -> Services:
    """A bank that asks about its own customers, of whom M001 is not yet known to consent to it."""
    world.heartbeat()
    world.relay.seen.clear()
    return world.nodes["bank-02"]


def customer(world: ScoringWorld, **changes: object) -> str:
    """One more merchant, whom bank-02 knows and may ask about."""
    merchant = world.newcomer()
    world.know("bank-02", merchant)
    world.give(merchant, recipients=("bank-02",), **changes)
    return merchant


def ask(bank: Services, merchant: str, *, form: str | None = None, lang: str = "en") -> ScoreSheet | NoScore:
    form = form or secrets.token_hex(16)
    return ScoreDesk(bank).score(form, "li", merchant, purpose="credit-scoring", model_id=None, lang=lang)


def test_a_score_with_all_that_a_file_needs(world: ScoringWorld, bank: Services) -> None:
    merchant = customer(world)
    sheet = ask(bank, f" {merchant.lower()} ")
    assert isinstance(sheet, ScoreSheet)
    assert sheet.score == expected_score(world, merchant)
    assert [(line.kind, line.party, line.state) for line in sheet.sources] == [
        ("Bank", "bank-01", "answered"),
        ("Tax", "tax-01", "answered"),
        ("Utility", "utility-01", "answered"),
    ]
    assert sheet.consent is not None
    assert sheet.consent.reasons_allowed
    assert sheet.proof is not None
    assert (sheet.proof.log, sheet.proof.index) == ("hub.example/log", int(sheet.proof.size) - 1)
    assert sheet.reasons
    assert all(text.endswith(": lowered the score") for text in sheet.reasons)
    assert [part.band for part in sheet.bands if part.here] == [sheet.band]
    shown = [part for part in sheet.bands if part.low is not None]
    assert sum(part.width for part in shown) == pytest.approx(100, abs=0.1)
    assert [part.low for part in shown] == sorted(part.low or 0 for part in shown)
    assert 0 <= sheet.marker <= 100
    assert not sheet.local


def test_a_form_sent_twice_asks_nobody_twice(world: ScoringWorld, bank: Services) -> None:
    merchant = customer(world)
    first = ask(bank, merchant, form="a" * 32)
    asked = len(world.relay.seen)
    assert asked == 3
    assert ask(bank, merchant, form="a" * 32) == first
    assert len(world.relay.seen) == asked
    other = ask(bank, customer(world), form="a" * 32)
    assert isinstance(other, NoScore)
    assert other.refused.code == "gateway-refused"
    assert isinstance(ask(bank, merchant, form="b" * 32), ScoreSheet)
    assert len(world.relay.seen) == 2 * asked


def test_refusals_name_source_reason_and_remedy(world: ScoringWorld, bank: Services) -> None:
    merchant = customer(world)
    world.relay.lost = {"utility-01"}
    found = ask(bank, merchant, lang="zh")
    world.relay.lost = set()
    assert isinstance(found, NoScore)
    assert [line.state for line in found.sources] == ["answered", "answered", "silent"]
    silent = found.sources[2].refused
    assert silent is not None
    assert (silent.title, silent.party) == ("数据来源无法连接", "utility-01")
    assert silent.remedy is not None
    assert "再试" in silent.remedy
    without = ask(bank, "M003", form="c" * 32)
    assert isinstance(without, NoScore)
    assert (without.refused.code, without.sources) == ("consent-unknown", ())
    assert "consent" in str(without.refused.remedy)


def test_a_wrong_identifier_is_told_without_repeating_it(tmp_path: Path, bank: Services) -> None:
    found = ask(bank, "a\x07b", lang="zh")
    assert isinstance(found, NoScore)
    assert (found.refused.detail, found.refused.remedy) == ("含有控制字符", "请去掉控制字符。")


def test_consents_show_what_a_query_still_lacks(world: ScoringWorld, bank: Services) -> None:
    merchant = customer(world)
    desk = ConsentDesk(bank)
    found = desk.look(merchant, purpose="credit-scoring", lang="en")
    assert found.ready
    assert found.known
    (sheet,) = found.sheets
    assert (sheet.state, sheet.used, sheet.left, sheet.frequency) == ("In force", None, None, "5 per day")
    assert [step.state for step in sheet.history] == ["good", "open"]
    assert not desk.look(merchant, purpose="pre-qualification", lang="en").ready
    unknown = desk.look(NOBODY, purpose="credit-scoring", lang="zh")
    assert (unknown.known, unknown.ready, [each.code for each in unknown.lacks]) == (False, False, ["consent-unknown"])
    narrow = world.newcomer()
    world.know("bank-02", narrow)
    categories = tuple(DataCategory(category=each, data_class="C1") for each in ("bank", "tax", "utility"))
    record = world.give(
        narrow, recipients=("bank-02",), pii_information=categories, sources={"bank": "bank-02", "tax": "tax-01"}
    )
    world.change(record, "paused", merchant=narrow)
    world.change(record, "resumed", merchant=narrow)
    world.change(record, "revoked", merchant=narrow)
    (sheet,) = desk.look(narrow, purpose="credit-scoring", lang="zh").sheets
    assert [each.code for each in sheet.lacks] == ["consent-revoked", "too-few-sources", "category-not-consented"]
    assert [step.text for step in sheet.history][1:] == ["商户暂停授权", "商户恢复授权", "商户撤回授权"]
    assert (sheet.used, sheet.left) == (0, 5)
    assert not sheet.reasons_allowed


def test_a_source_counts_the_uses_of_a_consent(world: ScoringWorld) -> None:
    merchant = world.newcomer()
    world.know("lender", merchant)
    world.give(merchant, recipients=("lender", "bank-01"), frequency=Frequency(count=1, per="day"))
    world.nodes["lender"].enquiries.score(Enquiry(merchant))
    (sheet,) = ConsentDesk(world.nodes["bank-01"]).look(merchant, purpose="credit-scoring", lang="en").sheets
    assert (sheet.used, sheet.left) == (1, 0)
    assert [each.code for each in sheet.lacks] == ["frequency-exceeded"]


def uscc(body: str) -> str:
    return body + uscc_check_digit(body)


def test_a_file_is_checked_row_by_row_before_anybody_is_asked() -> None:
    good = uscc("91331100MA2E0ABC1")
    wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
    rows = [good, wrong, "", "123", good.lower()]
    data = (
        "\ufeffid,consent_id\n" + "".join(f"{row},\n" for row in rows) + f"{uscc('91331100MA2E0ABC2')},x\n"
    ).encode()
    found = checked_file(data, "uscc", "zh")
    assert [(each.row, each.column, each.text) for each in found.problems] == [
        (2, "id", "校验位不符"),
        (3, "id", "为空"),
        (4, "id", "有 3 位，应为 18 位"),
        (5, "id", "该商户已在第 1 行出现"),
        (6, "consent_id", "不是授权编号（应为 32 位十六进制数）"),
    ]
    assert (found.wrong, found.ready, len(found.enquiries)) == (5, False, 1)
    assert wrong not in repr(found.problems)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "no column named id"),
        (b"merchant\nM001\n", "no column named id"),
        (b"id\n", "names no merchants"),
        ("id\n商户".encode("gbk"), "not UTF-8"),
        (b'id\n"M001\n', "check its quotes"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(data: bytes, text: str) -> None:
    refusal = checked_file(data, "opaque", "en").refusal
    assert refusal is not None
    assert text in refusal.detail


def test_a_batch_from_hand_in_to_results(world: ScoringWorld, bank: Services) -> None:
    merchants = [customer(world), customer(world)]
    work = BatchDesk(bank.batches)
    desk = FileDesk(bank, work)
    data = "\n".join(["id", *merchants, "=M003"]).encode()
    made = desk.hand_in("d" * 32, "li", data, purpose="credit-scoring", model_id=None, lang="en")
    assert isinstance(made, str)
    assert desk.hand_in("d" * 32, "li", data, purpose="credit-scoring", model_id=None, lang="en") == made
    assert desk.count() == 1
    desk.pause(made)
    assert desk.line(made, "en").state == "paused"
    work.start()
    desk.resume(made)
    deadline = time.monotonic() + 60
    while desk.line(made, "en").state != "finished":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    work.stop()
    line = desk.lines(limit=10, offset=0, lang="zh")[0]
    assert (line.total, line.done, line.scored, line.refused, line.purpose) == (3, 3, 2, 1, "信用评分")
    assert [(each.code, number) for each, number in line.reasons] == [("consent-unknown", 1)]
    text = "".join(desk.results(made, "zh"))
    assert text.startswith("\ufeff商户标识,")
    assert "'=M003" in text  # no spreadsheet takes it for a formula
    desk.forget(made)
    assert desk.count() == 0
    bad = desk.hand_in("e" * 32, "li", b"id\n\n,\n", purpose="credit-scoring", model_id=None, lang="en")
    assert isinstance(bad, CheckedFile)
    assert not bad.ready


def test_usage_by_day_purpose_and_outcome(world: ScoringWorld, bank: Services) -> None:
    before = UsageDesk(bank).look(days=7, lang="zh")
    merchant = customer(world)
    ask(bank, merchant, form="1" * 32)
    world.relay.lost = {"tax-01"}
    for _ in range(2):  # sent twice, counted once
        ask(bank, customer(world) if _ == 0 else merchant, form=("2" if _ == 0 else "1") * 32)
    world.relay.lost = set()
    after = UsageDesk(bank).look(days=7, lang="zh")
    assert after.asked - before.asked == 2
    assert after.scored - before.scored == 1
    assert {each.code: number for each, number in after.reasons}["source-unreachable"] >= 1
    assert after.lines[0].purpose == "信用评分"
    (model,) = [each for each in after.models if each.usable]
    assert (model.kind, model.state) == ("评分卡", "在用")
    assert model.asked == after.asked
    assert UsageDesk(bank).look(days=1, lang="en").feed_age == 0


def test_the_ledger_against_the_budget(world: ScoringWorld, bank: Services) -> None:
    ledger = bank.runtime.ledger
    mechanisms = (TablesMechanism(mechanism="discrete-gaussian-cells", stage="scorecard", sigma=40.0, count=100),)
    for number, campaign in enumerate(("c-1", "c-1", "c-2")):
        ledger.record_send(
            campaign_id=campaign,
            attempt=f"{campaign}/scorecard/{number}",
            h=bytes([number]) * 32,
            payload=b"x" * 100,
            mechanisms=mechanisms,
        )
    ledger.refund("c-1/scorecard/1", b"\x01" * 32)
    sheet = LedgerDesk(bank).look("zh")
    assert sheet.spent == pytest.approx(ledger.spent().epsilon)
    assert sheet.spent < sum(each.epsilon for each in sheet.campaigns)  # composed, not added
    assert [(each.name, each.sends, each.refunded) for each in sheet.campaigns] == [("c-1", 2, 1), ("c-2", 1, 0)]
    assert [(each.name, each.sends) for each in sheet.years] == [("2026", 3)]
    assert sheet.left == pytest.approx(sheet.budget - sheet.spent)
    assert sheet.factor == pytest.approx(np.exp(sheet.spent))
    assert [each.state for each in sheet.sends] == ["charged", "refunded", "charged"]
    assert (sheet.sends[0].size, sheet.sends[0].stage) == (100, "评分卡")
    assert sheet.refunds == 1
    assert len(list(ledger_csv(ledger.charges()))) == 4
    FrozenCounts(bank.runtime.store).keep(world.schema.hash(), "c-2", world.now, counted(3))
    brought = ContributionDesk(bank).look("en")
    found = {each.campaign: (each.rows, each.sends, each.size) for each in brought.campaigns}
    assert found == {"c-1": (None, 2, 200), "c-2": (3, 1, 100)}


def counted(rows: int) -> BinCounts:
    counts = BinCounts((3,))
    counts.add(np.zeros((rows, 1), dtype=np.uint8))
    return counts


def test_the_weight_of_own_features_in_models_in_use(world: ScoringWorld) -> None:
    (model,) = ContributionDesk(world.nodes["bank-01"]).look("en").models
    assert [(each.title, each.low, each.high, each.span) for each in model.features] == [
        ("Loans", -60, 20, 80),
        ("Age", -40, 30, 70),
    ]
    spans = {"age": 70, "loans": 80, "income": 150, "late": 115}
    assert model.share == pytest.approx(100 * 150 / sum(spans.values()), abs=0.2)


def test_information_values_of_own_rows_are_stated_with_intervals_where_there_are_enough(world: ScoringWorld) -> None:
    model = world.nodes["bank-01"].models.newest()
    assert model is not None
    rng = np.random.default_rng(3)
    blocks = [each.feature for each in model.card.features if each.feature.kind == "bank"]

    def values(rows: int) -> dict[str, Divergence]:
        outcome = (rng.random(rows) < 0.8).astype(np.uint8)
        codes = np.stack(
            [np.clip(rng.integers(0, each.width, rows) - 1 + outcome, 0, each.width - 1) for each in blocks], axis=1
        ).astype(np.uint8)
        data = TrainingData(np.zeros((rows, 32), dtype=np.uint8), codes, outcome)
        return information_values(model.schema, model.card, "bank", data)

    assert values(8) == {}
    found = values(4000)
    assert set(found) == {each.name for each in blocks}
    for each in found.values():
        assert each.low <= each.value <= each.high
    assert any(each.beyond_noise for each in found.values())


def test_the_check_of_the_tables_runs_beside_the_server(world: ScoringWorld) -> None:
    runtime = world.nodes["bank-01"].runtime
    desk = QualityDesk(runtime)
    assert (desk.look("en").state, desk.look("en").reports) == ("none", ())
    assert finished(desk).rows == 4
    (report,) = desk.look("zh").reports
    assert (report.schema, report.rows, report.problem) == ("small", 4, None)
    assert [each.title for each in report.features] == ["年龄", "贷款笔数"]
    assert report.labels == (("违约", 1), ("正常", 2), ("无标签", 1))
    assert any("标签" in text for text in report.warnings)
    assert [drift_tone(each) for each in (None, 0.0, 0.15, 0.5)] == ["neutral", "good", "warn", "bad"]
    table = runtime.config.datasets[0].file
    assert table is not None
    before = table.read_text()
    table.write_text(before.replace("M002,40", "M002,forty"))
    finished(desk)
    (report,) = desk.look("zh").reports
    table.write_text(before)
    assert report.problem is not None
    assert "第 3 行，age 列" in report.problem.detail
    assert "forty" not in repr(report)


def finished(desk: QualityDesk) -> object:
    desk.start()
    deadline = time.monotonic() + 60
    while desk.look("en").state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return desk.look("en")


def test_the_journal_in_words(world: ScoringWorld, bank: Services) -> None:
    ask(bank, customer(world), form="9" * 32)
    source = JournalDesk(world.nodes["bank-01"])
    page = source.page("answered", before=None, lang="zh", limit=1)
    (entry,) = page.entries
    assert (entry.type, entry.outcome, entry.good) == ("来源查询", "已答复", True)
    assert page.before == entry.seq
    older = source.page("answered", before=page.before, lang="zh", limit=1)
    assert older.entries[0].seq < entry.seq
    own = JournalDesk(bank).page("asked", before=None, lang="en").entries
    assert [each.type for each in own[:2]] == ["Query answered", "Query sent"]
    check = source.verify()
    assert check.entries == page.total
    assert len(list(source.export())) == page.total
    assert json.loads(next(source.export()))["seq"] == 1


def test_every_note_that_a_bank_writes_has_words() -> None:
    witness = {"voprf", "model-signed", "model-proposed", "mirror-alarm"}
    found = set()
    for file in sorted((ROOT / "nodes").rglob("*.py")):
        found |= set(re.findall(r"\.note\(\s*\"([a-z-]+)\"", file.read_text(encoding="utf-8")))
    assert len(found) > 15
    assert found - witness - set(TYPES) == set()
    assert {each for _, types in GROUPS.values() for each in types} <= set(TYPES)


def test_every_code_of_a_score_has_a_title_and_a_remedy() -> None:
    for code in [*get_args(RefusalCode), *REMEDIES]:
        for lang in ("zh", "en"):
            said = refused(code, lang)
            assert code in REMEDIES, code
            assert said.title != code, (code, lang)
            assert said.remedy
        assert refused(code, "zh").remedy != refused(code, "en").remedy, code


def test_every_text_of_the_views_is_translated() -> None:
    assert set(PURPOSES) == set(get_args(Purpose))
    assert set(STATES) == set(get_args(ConsentState))
    words = [*PURPOSES.values(), *STATES.values(), *bank_words.EVENTS.values(), *bank_words.UNITS.values()]
    words += [*bank_words.LIVES.values(), *FACTS.values(), *TYPES.values(), *(text for text, _ in GROUPS.values())]
    for file in sorted((ROOT / "nodes" / "web").glob("bank*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("say", "unreadable"):
                place = 1 if getattr(node.func, "id", "") == "say" else 0
                text = node.args[place]
                words += [
                    each.value for each in ast.walk(text) if isinstance(each, ast.Constant) and " " in str(each.value)
                ]
    assert len(words) > 70
    texts = catalogue("nodes")
    known = {"model ", "stage ", "model is ", "rolled back", "in use", "for evaluation"}
    missing = sorted({str(word) for word in words if word not in known and not texts.has("zh", str(word))})
    assert not missing


def test_time_passes_for_a_consent(world: ScoringWorld) -> None:
    merchant = customer(world, valid_until=world.now + timedelta(days=1))
    world.pass_time(days=2)
    (sheet,) = ConsentDesk(world.nodes["bank-02"]).look(merchant, purpose="credit-scoring", lang="zh").sheets
    assert (sheet.state, [each.code for each in sheet.lacks]) == ("已到期", ["consent-expired"])
    assert sheet.history[-1].text == "授权到期"
    assert sheet.history[-1].state == "bad"
