"""The operator's main path in a browser: nodes, what an order would cost, a campaign with its progress, abort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Page, expect

from crypto.jws import peek_payload
from crypto.wire.campaign import TablesMechanism, Terms
from hub.web.access import make_access
from models.web.formats import significant
from models.web.rights import Role
from tests.gates import Gate
from tests.served_world import Agent, ServedWorld
from tests.web.harness import SHOTS, Reader, axe, fits, shots
from tests.web.people import signed_up

BUDGETS = {"tax-2": 0.5}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorld]:
    """Nodes of which tax-2 has hardly any budget."""
    made = ServedWorld(
        tmp_path_factory.mktemp("operator"),
        budgets=dict.fromkeys(("witness", "bank-1", "bank-2", "bank-3", "tax-1", "utility-1", "utility-2"), 90.0)
        | BUDGETS,
    )
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def operator(world: ServedWorld, reader_of: Callable[[str], Reader]) -> Page:
    """A browser in which an operator is signed in."""
    access = make_access(world.hub)
    name = f"chen.yun.{len(access.people.all()) + 1}"
    return signed_up(reader_of(world.url), access, name, Role.OPERATOR)


def order_files(world: ServedWorld, base: Path, **fields: object) -> tuple[Path, Path]:
    """A campaign file and its schema's, as an operator has them."""
    campaign = base / "campaign.yaml"
    order = {"name": "small", "schema": "small.yaml", "stages": ["scorecard"], "epsilon": 3.0, "holdout": 0.2}
    campaign.write_text(yaml.safe_dump(order | fields), encoding="utf-8")
    return campaign, world.schema_file


def upload(page: Page, files: tuple[Path, Path]) -> None:
    page.goto(f"{page.url.split('/operator')[0]}/operator/campaigns/new")
    page.get_by_label("Campaign file (YAML)").set_input_files(files[0])
    page.get_by_label("Schema file (YAML)").set_input_files(files[1])
    page.get_by_role("button", name="Show the cost").click()


def test_nodes_are_shown_as_they_are(world: ServedWorld, operator: Page) -> None:
    operator.goto(f"{world.url}/operator/nodes")
    table = operator.get_by_role("table")
    expect(table.locator("tbody tr")).to_have_count(9)
    bank = table.get_by_role("row").filter(has_text="bank-1")
    expect(bank).to_contain_text("connected")
    expect(bank).to_contain_text("approved")
    expect(bank).to_contain_text("digua-node 0.1.0")
    shots(operator, "operator/nodes")


def test_an_order_is_planned_ordered_and_watched_to_its_end(world: ServedWorld, operator: Page, tmp_path: Path) -> None:
    operator.goto(f"{world.url}/operator/nodes")
    upload(operator, order_files(world, tmp_path))
    expect(operator.get_by_role("heading", level=1)).to_have_text("What the campaign would cost")
    cells = operator.get_by_role("table", name="Noise of what is published")
    promised = cells.locator("tbody td:nth-of-type(1)").all_inner_texts()
    assert len(promised) == 3  # defaulted, others, pairs
    expect(
        operator.get_by_role("table", name="Epsilon of several such campaigns together").locator("tbody tr")
    ).to_have_count(4)
    expect(operator.get_by_role("main")).to_contain_text("Expected loss of AUC")
    before = {campaign.campaign_id for campaign in world.hub.campaigns.book.all()}
    with Gate(world.agents["tax-1"], "train.share"):  # else it may be over before the page looks again
        operator.get_by_role("button", name="Order this campaign").click()
        (ordered,) = {campaign.campaign_id for campaign in world.hub.campaigns.book.all()} - before
        assert operator.url == f"{world.url}/operator/campaigns/{ordered}?done=ordered"
        operator.evaluate("window.stayed = true")
        expect(operator.locator("#live progress").first).to_be_visible(timeout=60_000)
        assert operator.evaluate("window.stayed")  # the part was renewed, the page was not
    expect(operator.locator("#live")).to_contain_text("succeeded", timeout=120_000)
    terms = Terms.model_validate_json(peek_payload(world.hub.campaigns.book.terms(f"{ordered}/scorecard/1") or ""))
    stated = [significant(e.sigma) for e in terms.privacy.mechanisms if isinstance(e, TablesMechanism)]
    assert promised == [stated[0], stated[0], stated[1]]
    refused = operator.locator("tr:has(th:text-is('tax-2'))")
    expect(refused).to_contain_text("The node's privacy budget does not allow it")
    expect(refused).to_contain_text("budget-exceeded")
    expect(refused).to_contain_text("Order with a smaller epsilon")
    shots(operator, "operator/campaign")
    for path, name in (("campaigns", "campaigns"), ("budget", "budget"), ("models", "models"), ("log", "log")):
        operator.goto(f"{world.url}/operator/{path}")
        if path not in ("log",):
            expect(operator.get_by_role("main")).to_contain_text(ordered)
        shots(operator, f"operator/{name}")
    operator.goto(f"{world.url}/operator/models")
    operator.get_by_role("table").get_by_role("link", name="sha256:").click()
    expect(operator.get_by_role("heading", level=1)).to_be_visible()
    expect(operator.locator("body")).to_have_css("line-height", "25.6px")  # its own style holds


def test_a_file_that_is_no_order_is_refused_field_by_field(world: ServedWorld, operator: Page, tmp_path: Path) -> None:
    operator.goto(f"{world.url}/operator/nodes")
    operator.goto(f"{world.url}/operator/campaigns/new")
    shots(operator, "operator/new")
    upload(operator, order_files(world, tmp_path, epsilon=-1, stages=["everything"], surprise=1))
    wrong = operator.get_by_role("alert")
    expect(wrong).to_contain_text("epsilon")
    expect(wrong).to_contain_text("must be greater than 0")
    expect(wrong).to_contain_text("surprise")
    expect(wrong).to_contain_text("is not a known field")
    upload(operator, order_files(world, tmp_path, quorum={"unheard-of": 2}))
    expect(operator.get_by_role("alert")).to_contain_text("quorum.unheard-of")


def test_a_node_that_is_away_is_said_before_ordering(world: ServedWorld, operator: Page, tmp_path: Path) -> None:
    world.agents["bank-3"].link.stop()
    operator.goto(f"{world.url}/operator/nodes")
    expect(operator.get_by_role("row").filter(has_text="bank-3")).to_contain_text("disconnected")
    upload(operator, order_files(world, tmp_path, quorum={"bank": 3}))
    expect(operator.get_by_role("alert")).to_contain_text("bank-3 is not connected")
    shots_page(operator)
    world.agents["bank-3"].close()
    world.agents["bank-3"] = Agent.open(world.agents["bank-3"].config)
    world.agents["bank-3"].connect()


def test_a_campaign_is_aborted_after_a_tick(world: ServedWorld, operator: Page, tmp_path: Path) -> None:
    operator.goto(f"{world.url}/operator/nodes")
    upload(operator, order_files(world, tmp_path, nodes=["bank-1", "bank-2", "tax-1", "utility-1"]))
    with Gate(world.agents["bank-2"], "train.share") as gate:
        operator.get_by_role("button", name="Order this campaign").click()
        assert gate.reached.wait(60)
        expect(operator.locator("#live")).to_contain_text("running")
        operator.get_by_text("Abort the campaign…").click()
        send = operator.get_by_role("button", name="Abort the campaign", exact=True)
        send.click()
        expect(send).to_be_visible()  # the browser asks for the tick
        operator.get_by_label("I want to abort this campaign.").check()
        send.click()
        expect(operator.get_by_role("status").first).to_contain_text("ends at its next step")
        shots(operator, "operator/aborting")
    expect(operator.locator("#live")).to_contain_text("aborted", timeout=60_000)
    expect(operator.get_by_text("Abort the campaign…")).to_have_count(0)


def shots_page(page: Page) -> None:
    """The plan is the answer to a form, so it cannot be read anew in the other language: one picture of it."""
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        axe(page)
        fits(page)
        (SHOTS / "operator").mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / "operator" / f"plan-en-{width}.png", full_page=True)


def test_without_a_sign_in_there_is_nothing_to_see(world: ServedWorld, reader_of: Callable[[str], Reader]) -> None:
    page = reader_of(world.url).open("/operator/campaigns", language="en")
    assert "/signin" in page.url
    assert "next=" in page.url
