"""The regulator's main path in Chromium: overview, search, a proof checked there, decisions, the signed file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from starlette.types import ASGIApp, Receive, Scope, Send

from models.web.rights import Role
from nodes.fingerprint import party_fingerprint
from nodes.witness.inspection import verify_inspection
from tests.access_world import PASSWORD
from tests.regulator_world import RECORD_ID, RegulatorWorld
from tests.web.harness import Reader, served, shots


class Placed:
    """An application that is made once it is known where it is served."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{word}.complete"})
            return
        assert self.app is not None
        await self.app(scope, receive, send)


@dataclass
class Office:
    """The witness's office with a model and a party that wait, and a merchant who was heard."""

    world: RegulatorWorld
    origin: str
    model_id: str


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    place = Placed()
    with served(place) as origin:
        world = RegulatorWorld(tmp_path_factory.mktemp("regulator"), origin=origin)
        place.app = world.app()
        yield Office(world, origin, world.propose_model())
        world.close()


@pytest.fixture
def enter(office: Office, reader_of: Callable[[str], Reader]) -> Callable[..., Page]:
    """Opens a page as somebody who is signed in."""

    def open_page(path: str, role: Role = Role.REGULATOR, **options: object) -> Page:
        name = f"{role.value}-{office.world.access.now:%H%M%S}"
        session = office.world.enter(name, role)
        page = reader_of(office.origin).open("/static/web/digua.css", **options)  # type: ignore[arg-type]
        page.context.add_cookies([{"name": "digua", "value": session, "url": office.origin}])
        page.goto(office.origin + path)
        return page

    return open_page


def verdict(page: Page) -> str:
    page.wait_for_selector("[data-verdict]")
    return str(page.locator("[data-proof]").get_attribute("data-verdict"))


def test_from_the_sign_in_over_overview_and_search_to_an_entry_that_the_browser_verifies(
    office: Office, reader_of: Callable[[str], Reader]
) -> None:
    access = office.world.access
    secret, _ = access.join("zhou.jianguan", Role.REGULATOR)
    access.later(seconds=60)
    page = reader_of(office.origin).open("/regulator")
    assert "/signin?next=/regulator" in page.url
    page.locator("input[name=name]").fill("zhou.jianguan")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("input[name=code]").fill(access.code(secret))
    page.locator("form[action='/signin'] button").click()
    page.wait_for_url(f"{office.origin}/regulator")
    expect(page.locator("h1")).to_have_text("监管总览")
    shots(page, "regulator/overview")
    page.get_by_role("link", name="审计日志").first.click()
    page.locator("select[name=party]").select_option("tax-01")
    page.locator("select[name=type]").select_option("query")
    page.get_by_role("button", name="搜索").click()
    assert "party=tax-01" in page.url
    shots(page, "regulator/log")
    page.locator("tbody th a").nth(3).click()
    assert verdict(page) == "valid"
    expect(page.get_by_text("核验通过。")).to_be_visible()
    expect(page.get_by_text("此处不作核验")).to_be_hidden()
    expect(page.locator("[data-found-root]")).to_have_text(page.locator("[data-root]").inner_text())
    shots(page, "regulator/entry")


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("[data-leaf]", "text => text.replace('query', 'querz')"),
        ("[data-sibling]", "text => (text[0] === 'a' ? 'b' : 'a') + text.slice(1)"),
        ("[data-note]", "text => text.replace('hub.example', 'hub.exanple')"),
        ("[data-note]", "text => text.replace('— witness ', '— nobody ')"),
    ],
    ids=["leaf", "neighbour", "origin", "cosignature"],
)
def test_one_changed_byte_of_what_is_shown_does_not_verify(enter: Callable[..., Page], place: str, change: str) -> None:
    page = enter("/regulator/log/30", language="en")
    assert verdict(page) == "valid"
    page.locator(place).first.evaluate(f"(node) => {{ node.textContent = ({change})(node.textContent) }}")
    page.get_by_role("button", name="Check again").click()
    expect(page.locator("[data-verdict=wrong]")).to_be_visible()
    expect(page.get_by_text("Does not verify.")).to_be_visible()
    expect(page.get_by_text("Verified.", exact=True)).to_be_hidden()


def test_any_two_checkpoints_are_shown_to_be_of_one_log(office: Office, enter: Callable[..., Page]) -> None:
    page = enter("/regulator/checkpoints", language="en")
    page.get_by_role("link", name="with ").first.click()
    assert verdict(page) == "valid"
    shots(page, "regulator/checkpoints")
    page.locator("details summary").first.click()
    page.locator("[data-sibling]").first.evaluate("node => { node.textContent = '00'.repeat(32) }")
    page.get_by_role("button", name="Check again").click()
    expect(page.locator("[data-verdict=wrong]")).to_be_visible()


def test_a_merchants_record_gives_its_consent_as_a_time_line(
    office: Office, enter: Callable[..., Page], tmp_path: Path
) -> None:
    file = tmp_path / "record.json"
    file.write_bytes(office.world.record())
    page = enter("/regulator/merchant", Role.INSPECTOR)
    shots(page, "regulator/merchant-empty")
    page.get_by_label("商户记录文件").set_input_files(file)
    page.get_by_role("button", name="打开").click()
    expect(page.get_by_role("heading", name=RECORD_ID)).to_be_visible()
    titles = page.locator(".timeline .what").all_inner_texts()
    assert titles == ["商户授权", "查询", "撤销授权"]
    page.screenshot(path="out/screenshots/regulator/merchant-zh-1280.png", full_page=True)


def test_a_journal_with_a_query_less_is_named(office: Office, enter: Callable[..., Page], tmp_path: Path) -> None:
    file = tmp_path / "journal.ndjson"
    file.write_bytes(office.world.journal_of("tax-01", lacking=True))
    page = enter("/regulator/reconciliation", language="en")
    shots(page, "regulator/reconciliation")
    page.get_by_label("Exported journal").set_input_files(file)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("do not tell of the same queries")).to_be_visible()
    assert page.locator("tbody tr").count() == 1
    page.screenshot(path="out/screenshots/regulator/reconciled-en-1280.png", full_page=True)


def test_a_party_is_approved_by_its_fingerprint(office: Office, enter: Callable[..., Page]) -> None:
    party = office.world.propose_party("bank-99")
    page = enter("/regulator/parties")
    shots(page, "regulator/parties")
    page.get_by_label("机构负责人告知的指纹").fill(
        party_fingerprint(party.party_id, party.kind, party.sign_key, party.box_key)
    )
    page.get_by_role("button", name="批准").click()
    expect(page.get_by_text("没有待批准的机构。")).to_be_visible()
    assert office.world.approvals.unapproved([party]) == []


def test_a_model_is_approved_with_its_card_beside(office: Office, enter: Callable[..., Page]) -> None:
    page = enter("/regulator/models")
    shots(page, "regulator/models")
    page.locator("tbody a").first.click()
    shots(page, "regulator/model")
    page.get_by_text("批准用于评分").click()
    page.get_by_role("button", name="批准", exact=True).click()
    expect(page.get_by_text("您已批准").first).to_be_visible()
    assert [each.state for each in office.world.models.list()] == ["approved"]


def test_an_inspector_reads_and_takes_a_signed_file_along(
    office: Office, enter: Callable[..., Page], tmp_path: Path
) -> None:
    page = enter("/regulator/inspection?party=tax-01", Role.INSPECTOR, language="en")
    shots(page, "regulator/inspection")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Sign and download").click()
    file = tmp_path / "inspection.json"
    waiting.value.save_as(file)
    content = verify_inspection(file.read_bytes(), office.world.witness.public)
    assert content.search.party == "tax-01"
    assert content.entries
    page.goto(f"{office.origin}/regulator/models/{office.model_id}")
    assert page.get_by_role("button").filter(has_text="Approve").count() == 0


def test_an_alarm_is_seen_first(office: Office, enter: Callable[..., Page]) -> None:
    office.world.fork()
    page = enter("/regulator/log", language="en", width=390)
    expect(page.get_by_role("alert")).to_contain_text("refused a checkpoint")
    page.get_by_role("link", name="Details").click()
    expect(page.get_by_role("heading", name="Refused checkpoints")).to_be_visible()
    shots(page, "regulator/refused")


def test_pages_are_read_without_scripts(enter: Callable[..., Page]) -> None:
    page = enter("/regulator/log/12", language="en", scripts=False)
    expect(page.get_by_text("Without JavaScript nothing is checked here.")).to_be_visible()
    expect(page.get_by_text("Verified.", exact=True)).to_be_hidden()
