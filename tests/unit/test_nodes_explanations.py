"""Explanations: from a node's own rows alone, over the counter or sealed to the merchant who asked, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crypto.jws import generate_merchant_key, peek_payload
from crypto.keys import BoxKey
from crypto.ticket_boxes import open_text, ticket_context
from crypto.wire.ticket import TEXT_CHARACTERS, TicketAnswer
from models.artefact import ScorecardEntry
from models.encoder_scores import ENCODER_FEATURE_WIDTH
from models.errors import DataError
from models.explanation import explain, lines_of
from models.schema_file import load_schema
from models.scorecard import FeaturePoints
from models.tables import feature_bins
from nodes.cli import app as cli
from nodes.errors import PolicyRefusal
from nodes.explanations import ExplanationDesk
from nodes.services import Services, released_encoder
from nodes.sources.csv import CsvSource
from nodes.sources.table import NodeTable
from tests.hub_merchants import Merchant
from tests.node_commands import RelayServer, call, done, refused
from tests.platform_world import PlatformWorld
from tests.scoring_answers import expected_score, write_config
from tests.scoring_world import POINTS, ScoringWorld
from tests.unit.test_hub_invitations import post
from tests.unit.test_hub_tickets import own, ticket
from tests.unit.test_models_counterfactual import card_of
from tests.unit.test_nodes_scoring import encoder_artefact
from tests.unit.test_nodes_web_tickets import FORM, Role, Site, submit


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path_factory.mktemp("explained"))
    world.release()
    server = RelayServer(world)
    for name in world.nodes:
        write_config(world, name, server.url)
    yield world
    server.close()
    world.close()


def notes(services: Services, kind: str) -> list[dict[str, object]]:
    entries = [json.loads(line.entry) for line in services.journal.lines()]
    return [entry["facts"] for entry in entries if entry["type"] == kind]


def test_a_source_explains_its_own_part_and_asks_nobody(world: ScoringWorld) -> None:
    bank = world.nodes["bank-01"]
    asked = len(world.relay.seen)
    score = expected_score(world, "M003")
    found = bank.explanations.explain("M003", author="officer-1", score=score)
    # M003 is over 50 with five loans: (30, -60) of at most (30, 20).
    assert [(each.feature, each.bin, each.points, each.most) for each in found.standings] == [
        ("loans", 2, -60, 20),
        ("age", 2, 30, 30),
    ]
    assert found.goal is not None
    assert found.goal.score == score
    assert not found.whole
    assert {move.feature for each in found.single for move in each.moves} == {"loans"}
    assert notes(bank, "explanation-made")[-1] == {"model_id": world.artefact().model_id, "author": "officer-1"}
    assert len(world.relay.seen) == asked
    nobody = world.nodes["utility-01"].explanations.explain("M003", author="x")
    assert (dict(nobody.absent), nobody.goal, nobody.single) == ({"utility": 7}, None, ())


def test_who_holds_no_rows_explains_nothing(world: ScoringWorld) -> None:
    for party in ("platform", "lender"):
        with pytest.raises(PolicyRefusal) as refusal:
            world.nodes[party].explanations.explain("M003", author="x")
        assert refusal.value.reason == "source-failed"
        assert notes(world.nodes[party], "explanation-made") == []
    with pytest.raises(PolicyRefusal):
        world.nodes["bank-01"].explanations.explain("M003", author="x", model_id="0" * 64)
    with pytest.raises(DataError):
        world.nodes["bank-01"].explanations.explain("M003", author="x", score=1000)


def test_the_command_tells_it_at_the_counter_in_both_languages(
    world: ScoringWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGUA_LANG", "en")
    told = call(world, "bank-01", "merchants", "explain", "--id", "M003")
    assert told.exit_code == 0, told.output
    assert "Loans: > 3. Points below the most possible: 80." in told.stdout
    assert "Loans: ≤ 1 instead of > 3: +80" in told.stdout
    both = done(call(world, "bank-01", "merchants", "explain", "--id", "M003", "--json"))
    assert "贷款笔数：> 3，比该项最高分少 80 分。" in str(both["zh"])
    assert "Loans: > 3" in str(both["en"])
    file = tmp_path / "told.txt"
    written = call(world, "bank-01", "merchants", "explain", "--id", "M003", "--lang", "zh", "--out", file)
    assert written.exit_code == 0, written.output
    assert "贷款笔数" not in written.stdout
    assert "不构成任何承诺" in file.read_text(encoding="utf-8")
    assert file.stat().st_mode & 0o077 == 0
    refused(call(world, "bank-01", "merchants", "explain", "--id", "M003", "--score", "12", "--json"), "data-invalid")


@pytest.fixture
def encoded(tmp_path: Path) -> Iterator[ScoringWorld]:
    encoded = ScoringWorld(tmp_path)
    yield encoded
    encoded.close()


def test_an_encoders_part_is_the_one_that_is_scored_and_moves_with_its_features(encoded: ScoringWorld) -> None:
    world = encoded
    bank, encoder_id = world.nodes["bank-01"], world.release(encoder_artefact(world))
    features = feature_bins(world.schema, {"bank": ENCODER_FEATURE_WIDTH})
    points = {**POINTS, "encoder:bank": tuple(-5 * bin for bin in range(ENCODER_FEATURE_WIDTH))}
    card = replace(
        world.artefact().card(), base=680, features=tuple(FeaturePoints(each, points[each.name]) for each in features)
    )
    both = world.artefact(scorecard=ScorecardEntry.of(card), encoders_used={"bank": encoder_id})
    model = bank.models.require(world.release(both))
    found = bank.explanations.explain("M003", author="x", model_id=model.model_id)
    scored = bank.points.points(model, [world.merchants["M003"].pseudonym])[0]
    assert sum(each.points for each in found.standings) == scored.points
    assert "encoder:bank" in {each.feature for each in found.standings}
    encoder = released_encoder(bank.models, encoder_id)
    table = bank.runtime.dataset(world.schema.hash())
    assert table is not None
    assert found.single
    for change in found.single:
        row = table.codes[[table.ids.index("M003")]].copy()
        for move in change.moves:
            row[0, ["age", "loans"].index(move.feature)] = move.after
        changed = card.kind_points("bank", np.column_stack([row, encoder.codes(row)]))
        assert int(changed[0]) - scored.points == change.gain > 0


SCHEMA = """
name: adverse
id: {column: id, type: opaque}
as_of: 2026-01-31
label: {column: bad, kind: bank, performance_months: 12, title: {zh: 违约, en: Bad}}
kinds:
  bank:
    features:
      overdue: {title: {zh: 逾期, en: Overdue}, class: C2, bins: [0, 30], adverse: true, ended_at: overdue_ended}
      unpaid: {title: {zh: 欠款, en: Unpaid}, class: C2, bins: [0], adverse: true, ended_at: unpaid_ended}
"""


def test_adverse_facts_come_with_the_day_on_which_they_lapse(world: ScoringWorld, tmp_path: Path) -> None:
    file = tmp_path / "schema.yaml"
    file.write_text(SCHEMA, encoding="utf-8")
    schema = load_schema(file)
    rows = tmp_path / "rows.csv"
    rows.write_text(
        "id,overdue,unpaid,bad,overdue_ended,unpaid_ended\n"
        "A,40,,0,2024-02-29,\nB,40,5,0,,\nC,,5,0,2020-01-01,2024-05-01\nD,40,,0,2020-01-01,2020-01-01\n",
        encoding="utf-8",
    )
    table = NodeTable.load(CsvSource(rows), schema, "bank", block_rows=2, today=date(2026, 3, 1))
    card = card_of(schema, {each.name: [0, -20, -40, 0][: each.width] for each in feature_bins(schema)})
    artefact = world.artefact(
        campaign_schema=schema.canonical_json().decode(),
        schema_sha256=schema.hash(),
        scorecard=ScorecardEntry.of(card),
    )
    booked = replace(world.nodes["bank-01"].models.require(world.artefact().model_id), artefact=artefact)
    desk = ExplanationDesk(
        "bank", lambda _: table, lambda _: pytest.fail("no encoder"), lambda _: booked, world.nodes["bank-01"].journal
    )
    lapses = {name: dict(desk.explain(name, author="x").lapses) for name in "ABCD"}
    assert lapses == {
        "A": {"overdue": date(2029, 3, 1)},
        "B": {"overdue": None, "unpaid": None},
        "C": {"unpaid": date(2029, 5, 2)},
        "D": {},  # past its five years: nothing of it is left to tell
    }


@pytest.fixture
def market(tmp_path: Path) -> Iterator[PlatformWorld]:
    market = PlatformWorld(tmp_path, "bank-01")
    yield market
    market.close()


@pytest.fixture
def shop(market: PlatformWorld) -> Merchant:
    shop = Merchant(market.know("M003"), generate_merchant_key("ES256"))
    market.enrol_keys(shop)
    market.hub.consents.submit([market.consent(shop)[1]])
    return shop


@pytest.fixture
def bank(world: ScoringWorld, market: PlatformWorld) -> Services:
    """The market's bank, with the table and the model of the scoring federation's."""
    source, agent = world.nodes["bank-01"], market.agents["bank-01"]
    desk = ExplanationDesk(
        "bank",
        source.runtime.dataset,
        lambda _: pytest.fail("no encoder"),
        source.enquiries.open_model,
        agent.journal,
    )
    return replace(agent, explanations=desk)


def asked_for(market: PlatformWorld, shop: Merchant, kind: str, reply: BoxKey | None = None) -> str:
    ticket_id, signed = ticket(market, shop, reply, kind=kind)
    assert post(market.http, "merchants/tickets", signed).status_code == 201
    return ticket_id


def test_a_merchants_own_request_is_answered_sealed_to_its_key(
    market: PlatformWorld, shop: Merchant, bank: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def opened(*_: object, **__: object) -> Iterator[Services]:
        yield bank

    monkeypatch.setattr("nodes.commands.tickets.open_services", opened)
    monkeypatch.setenv("DIGUA_LANG", "zh")
    reply = BoxKey.generate()
    ticket_id = asked_for(market, shop, "explanation", reply)
    draft = tmp_path / "draft.txt"

    def run(*arguments: str) -> str:
        answer = CliRunner().invoke(cli, ["tickets", *arguments])
        assert answer.exit_code == 0, answer.output
        return answer.output

    assert "评分说明" in run("list")
    run("explain", ticket_id, "--out", str(draft), "--score", "560")
    words = draft.read_text(encoding="utf-8").strip()
    assert "贷款笔数：> 3，比该项最高分少 80 分。" in words
    assert len(words) <= TEXT_CHARACTERS
    run("answer", ticket_id, "--decision", "granted", "--text", str(draft))
    (standing,) = own(market.http, market, shop).tickets
    assert standing.answer is not None
    said = TicketAnswer.model_validate_json(peek_payload(standing.answer))
    assert (
        open_text(said.sealed, reply, context=ticket_context(ticket_id, shop.pseudonym, "bank-01", "answer")) == words
    )
    # Nothing that the hub keeps or passed holds a word of it.
    assert "贷款笔数" not in standing.model_dump_json()
    assert notes(bank, "explanation-made")[0]["author"] == "command line"


def test_other_tickets_and_strangers_get_no_explanation(market: PlatformWorld, shop: Merchant, bank: Services) -> None:
    deletion = bank.tickets.find(asked_for(market, shop, "deletion"))
    with pytest.raises(PolicyRefusal) as refusal:
        bank.explanations.draft(deletion, author="x", lang="zh")
    assert refusal.value.reason == "ticket-not-for-this"
    review = bank.tickets.find(asked_for(market, shop, "review"))
    assert "贷款笔数" in bank.explanations.draft(review, author="x", lang="zh")
    with pytest.raises(PolicyRefusal) as refusal:
        bank.explanations.draft(replace(review, merchant=None), author="x", lang="zh")
    assert refusal.value.reason == "merchant-not-customer"
    assert len(notes(bank, "explanation-made")) == 1


def test_an_officer_drafts_it_on_the_page_and_sends_it_after_reading(
    market: PlatformWorld, shop: Merchant, bank: Services
) -> None:
    market.agents["bank-01"] = bank
    site = Site(market)
    ticket_id = asked_for(market, shop, "explanation")
    client, path = site.client(Role.RISK_OFFICER), f"/bank/tickets/{ticket_id}"
    opened = submit(client, path, f"{path}/open")
    assert "生成草稿" in opened.text
    wrong = submit(client, path, f"{path}/explain", score="many")
    assert (wrong.status_code, "评分应为整数" in wrong.text) == (422, True)
    outside = submit(client, path, f"{path}/explain", score="1200")
    assert outside.status_code == 422
    drafted = submit(client, path, f"{path}/explain", score="560", words_in="en")
    assert drafted.status_code == 200, drafted.text
    assert "Loans: &gt; 3. Points below the most possible: 80." in drafted.text
    assert own(market.http, market, shop).tickets[0].answer is None
    assert [look.what for look in site.app.state.access.looks.newest()] == ["ticket"] * 4
    refusing = site.client(Role.DATA_STEWARD)
    assert refusing.post(f"{path}/explain", data={"csrf_token": "x"}, headers=FORM).status_code == 403
    other = asked_for(market, shop, "correction")
    assert "生成草稿" not in submit(client, f"/bank/tickets/{other}", f"/bank/tickets/{other}/open").text


def test_the_longest_explanation_fits_a_ticket(world: ScoringWorld) -> None:
    """All features of the shipped schemas at their worst, in either language."""
    configs = Path(__file__).parents[2] / "configs"
    for name in ("give-me-some-credit", "gmsc-bank-consortium", "lishui-merchants", "pakdd-2009"):
        schema = load_schema(configs / f"{name}.yaml")
        points = {each.name: [0, *range(-1, -each.width, -1)] for each in schema.all_features()}
        card = card_of(schema, points)
        for kind in schema.kinds_in_order():
            worst = [feature.width - 2 for feature in schema.features(kind)]
            found = explain(schema, card, {kind: worst}, score=480)
            for lang in ("zh", "en"):
                lines = lines_of(found, lang, longest=TEXT_CHARACTERS)
                assert len("\n".join(lines)) <= TEXT_CHARACTERS
