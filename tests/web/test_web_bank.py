"""A bank's people at its own node, in a real browser: sign in, score one, a refusal in words, a file, the ledger."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyotp
import pytest
from playwright.sync_api import Page, expect

from crypto.keys import IdentityKey
from models.web.rights import Role
from models.web.signin import Browser
from nodes.config import PagesConfig
from nodes.gateway_batches import BatchDesk
from nodes.web.access import make_access
from nodes.web.app import create_pages
from nodes.web.server import PageServer
from tests.assessments import assess
from tests.served_world import Agent, ServedWorld, free_port, wait_until
from tests.web.harness import SHOTS, WIDTHS, Reader, axe, fits, shots

PASSWORD = "four words in a row"


@dataclass
class Bank:
    """A bank of the federation whose node serves pages.

    Attributes:
        merchants: customers of its own that let it have a score, known to all kinds of sources.
        silent: one that consented to training alone.
    """

    agent: Agent
    origin: str
    merchants: list[str]
    silent: str


@pytest.fixture(scope="module")
def bank(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    """A hub, a witness and seven nodes over loopback; a model was trained with noise and released."""
    world = ServedWorld(tmp_path_factory.mktemp("served"), scores=20)
    try:
        state = world.ended(world.start(epsilon=3.0))
        assert state["status"] == "succeeded", state["failure"]
        assess(world.hub, str(state["campaign_id"]))
        release = world.http.post(
            f"/v1/models/{state['model_id']}/release",
            json={},
            headers={"Idempotency-Key": IdentityKey.generate().raw.hex()},
        )
        assert release.status_code == 200, release.text
        yield from serve(world)
    finally:
        world.close()


def serve(world: ServedWorld) -> Iterator[Bank]:
    """The pages of the first bank."""
    name = "bank-1"
    old = world.agents[name]
    old.close()
    wait_until(lambda: name not in world.hub.links.connected(), what="the end of the bank's link")
    port = free_port()
    pages = PagesConfig.model_validate({"listen": {"port": port}, "origin": f"http://localhost:{port}"})
    agent = world.agents[name] = Agent.open(old.config.model_copy(update={"pages": pages}))
    agent.connect()
    world.wait_connected()
    wait_until(lambda: agent.services.models.newest() is not None, what="the model at the bank")
    desk = BatchDesk(agent.services.batches)
    server = PageServer(create_pages(agent.services, connected=lambda: True, desk=desk), pages)
    desk.start()
    server.start()
    own = [row for row, held in enumerate(world.sources["bank"]) if held == name]
    full = [row for row in own if world.sources["tax"][row] is not None]
    try:
        yield Bank(
            agent,
            pages.origin,
            [world.ids[row] for row in full if world.lets_score(row)],
            next(world.ids[row] for row in own if not world.lets_score(row)),
        )
    finally:
        server.stop()
        desk.stop()


def join(bank: Bank, name: str, *roles: Role) -> str:
    """Give somebody an account; returns a recovery code, which stands for the authenticator's once."""
    access = make_access(bank.agent.config, bank.agent.runtime.store)
    token = access.people.add(name, roles)
    secret = access.people.sign_up(token).totp_secret
    code = pyotp.TOTP(secret).now()
    _, codes = access.desk.join_by_password(token, PASSWORD, PASSWORD, code, Browser("127.0.0.1"))
    return codes[0]


def sign_in(reader: Reader, bank: Bank, name: str, *roles: Role, to: str = "/bank", language: str = "zh") -> Page:
    """Open a page as somebody who is not signed in yet, and sign in."""
    code = join(bank, name, *roles)
    page = reader.open(to, language=language)
    expect(page).to_have_url(re.compile(r"/signin\?next="))
    page.fill("#field-name", name)
    page.fill("#field-password", PASSWORD)
    page.fill("#field-code", code)
    page.locator("form[action='/signin'] button[type=submit]").click()
    page.wait_for_url(bank.origin + "/bank/**")
    return page


def sent(bank: Bank) -> int:
    """How many requests the bank's node has sent."""
    return len(list(bank.agent.services.journal.of_types("query-sent")))


def ask(page: Page, origin: str, merchant: str, *, path: str = "/bank/score") -> None:
    page.goto(origin + path)
    page.fill("#field-identifier", merchant)
    page.locator("main form button[type=submit]").click()
    page.wait_for_load_state()


def seen(page: Page, name: str, load: Callable[[], None]) -> None:
    """A page that comes from a form: in both languages, at both widths, with axe and a picture of each."""
    folder = SHOTS / "bank"
    folder.mkdir(parents=True, exist_ok=True)
    for language in ("en", "zh"):
        page.context.add_cookies([{"name": "digua_lang", "value": language, "url": page.url.split("/bank")[0]}])
        load()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            fits(page)
            axe(page)
            page.screenshot(path=folder / f"{name}-{language}-{width}.png", full_page=True)


def test_a_risk_officer_scores_one_and_a_file(bank: Bank, reader_of: Callable[[str], Reader], tmp_path: Path) -> None:
    page = sign_in(reader_of(bank.origin), bank, "wang.li", Role.RISK_OFFICER)
    expect(page).to_have_url(bank.origin + "/bank/score")
    shots(page, "bank/score-form")

    merchants = iter(bank.merchants)
    merchant = next(merchants)
    seen(page, "score", lambda: ask(page, bank.origin, merchant))
    shown = page.locator("dl.figures dd").first.inner_text()
    assert 300 <= int(shown) <= 850
    expect(page.get_by_text("审计日志证明")).to_be_visible()
    assert merchant not in page.url
    assert merchant not in page.title()
    counted = sent(bank)
    page.reload()  # the browser sends the same form again
    assert page.locator("dl.figures dd").first.inner_text() == shown
    assert sent(bank) == counted

    seen(page, "refused", lambda: ask(page, bank.origin, bank.silent))
    expect(page.get_by_role("alert")).to_contain_text("请先取得商户授权")
    seen(page, "consents", lambda: ask(page, bank.origin, bank.silent, path="/bank/consents"))
    expect(page.get_by_text("查询评分尚缺", exact=True)).to_be_visible()

    page.goto(bank.origin + "/bank/batches")
    shots(page, "bank/batches")
    wrong = f"id\n{merchant}\n\n{merchant}\n".encode()
    page.set_input_files("#field-file", {"name": "list.csv", "mimeType": "text/csv", "buffer": wrong})
    page.get_by_role("button", name="检查并查询").click()
    expect(page.get_by_role("alert")).to_contain_text("未发出任何查询")
    asked = [next(merchants) for _ in range(3)]
    data = "\n".join(["id", *asked, bank.silent]).encode()
    page.set_input_files("#field-file", {"name": "list.csv", "mimeType": "text/csv", "buffer": data})
    page.get_by_role("button", name="检查并查询").click()
    page.wait_for_url(re.compile(r"/bank/batches/[0-9a-f]{32}$"))
    expect(page.get_by_role("link", name="下载结果")).to_be_visible(timeout=60_000)  # the script opens the page anew
    shots(page, "bank/batch")
    with page.expect_download() as download:
        page.get_by_role("link", name="下载结果").click()
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    rows = list(csv.reader(text.splitlines()))
    assert rows[0][:2] == ["商户标识", "评分"]
    assert [row[0] for row in rows[1:]] == [*asked, bank.silent]
    assert [bool(row[1]) for row in rows[1:]] == [True, True, True, False]
    page.goto(bank.origin + "/bank/usage")
    shots(page, "bank/usage")
    assert page.goto(bank.origin + "/bank/ledger").status == 403  # type: ignore[union-attr]


def test_a_data_steward_reads_the_books(bank: Bank, reader_of: Callable[[str], Reader]) -> None:
    page = sign_in(reader_of(bank.origin), bank, "zhao.min", Role.DATA_STEWARD, to="/bank/ledger", language="en")
    expect(page.locator("h1")).to_have_text("Privacy ledger")
    expect(page.get_by_text("In words: whatever anyone concludes")).to_be_visible()
    spent = float(page.locator("dl.figures dd").first.inner_text())
    assert 0 < spent <= 10
    assert spent == pytest.approx(bank.agent.runtime.ledger.spent().epsilon, rel=1e-3)
    shots(page, "bank/ledger")
    page.goto(bank.origin + "/bank/data")
    page.get_by_role("button", name="Check the data now").click()
    expect(page.get_by_role("table", name=re.compile("^Features"))).to_be_visible(timeout=60_000)
    shots(page, "bank/data")
    page.goto(bank.origin + "/bank/contribution")
    expect(page.get_by_text("Weight of own features")).to_be_visible()
    shots(page, "bank/contribution")
    page.goto(bank.origin + "/bank/journal")
    page.get_by_role("button", name="Check the whole chain").click()
    expect(page.get_by_text("The chain holds")).to_be_visible()
    page.goto(bank.origin + "/bank/journal?group=asked")
    shots(page, "bank/journal")


def test_the_form_works_by_keyboard_and_without_scripts(bank: Bank, reader_of: Callable[[str], Reader]) -> None:
    code = join(bank, "sun.yu", Role.RISK_OFFICER)
    page = reader_of(bank.origin).open("/bank/score", scripts=False)
    page.locator("#field-name").focus()
    for text in ("sun.yu", PASSWORD, code):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(bank.origin + "/bank/score")
    page.locator("#field-identifier").focus()
    page.keyboard.type(bank.merchants[-1])
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("评分")
