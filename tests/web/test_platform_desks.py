"""The platform's desks in a browser: what each group of people does there, at both widths and in both languages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from hub.platform.callers import Caller
from hub.platform.subsidy_rules import SubsidyRule
from models.web.rights import Role
from tests.lending_world import DAY, order
from tests.platform_desks import Desks
from tests.served_world import free_port
from tests.statistics_world import FEATURES
from tests.unit.test_hub_platform_merchants import csv_of, row, uscc
from tests.unit.test_hub_platform_statistics import published
from tests.unit.test_hub_platform_subsidies import OFFICE, RULE
from tests.web.harness import Reader, axe, fits, served, shots

ReaderOf = Callable[[str], Reader]


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Desks]:
    port = free_port()
    made = Desks(tmp_path, origin=f"http://localhost:{port}")
    with served(made.app, port):
        yield made
    made.close()


@contextmanager
def at_desk(desks: Desks, reader_of: ReaderOf, role: Role) -> Iterator[Page]:
    """A browser in which somebody of this role is signed in; where they arrive is the first page of their own."""
    origin = desks.access.site.origin
    page = reader_of(origin).open("/signin")
    person = desks.reader(role)
    page.context.add_cookies([{"name": person.cookie, "value": person.session, "url": origin}])
    page.goto(origin + "/")
    yield page


def test_a_bank_looks_after_its_business(desks: Desks, reader_of: ReaderOf) -> None:
    desks.reach()
    desks.offered()
    desks.paid_out("B-1")
    desks.execute(order("repay", "B-1", on=DAY, principal_fen=100_000, interest_fen=1_000, payment="p-1"))
    desks.scored("C-1")
    desks.dead_event()
    with at_desk(desks, reader_of, Role.BANK) as page:
        expect(page.locator("h1")).to_contain_text("银行工作台")
        shots(page, "platform/bank-overview")
        for name, path in (("products", "产品"), ("offers", "已授权推荐的商户"), ("financings", "融资")):
            page.locator("nav.places").get_by_role("link", name=path, exact=True).click()
            expect(page.locator("h1")).to_have_text(path)
            shots(page, f"platform/bank-{name}")
        page.get_by_role("link", name="C-1").click()
        page.get_by_role("button", name="查看评分").click()
        expect(page.locator("main")).to_contain_text("640")
        page.go_back()
        page.locator("nav.places").get_by_role("link", name="融资", exact=True).click()
        page.get_by_role("link", name="B-1").click()
        shots(page, "platform/bank-financing")
        page.locator("nav.places").get_by_role("link", name="产品", exact=True).click()
        page.get_by_role("link", name="小超贷").click()
        shots(page, "platform/bank-product")
        page.locator("nav.places").get_by_role("link", name="未送达通知").click()
        shots(page, "platform/bank-events")
        page.get_by_role("button", name="重新发送").click()
        expect(page.get_by_role("status")).to_contain_text("已安排立即重新发送")


def test_the_office_runs_a_programme(desks: Desks, reader_of: ReaderOf) -> None:
    desks.reach()
    rule = SubsidyRule.model_validate(RULE)
    with desks.platform.db.session() as session:
        desks.platform.programmes.publish_in(session, OFFICE, [rule])
    desks.consents.published |= {
        "s-2024": published("s-2024", choice=FEATURES.choice(2024)),
        "s-2025": published(),
    }
    assert desks.platform.statistics.take_new() == 2
    name = desks.paid_out("B-1")
    with at_desk(desks, reader_of, Role.GOVERNMENT) as page:
        expect(page.locator("h1")).to_have_text("各县商户")
        shots(page, "platform/office-overview")
        page.locator("nav.places").get_by_role("link", name="公布统计").click()
        shots(page, "platform/office-statistics")
        page.get_by_role("link", name="查看完整报告").click()
        expect(page.locator("h1")).to_have_text("2025 年扶持政策统计")
        shots(page, "platform/office-statistics-report")
        page.goto(f"{desks.access.site.origin}/office/statistics")
        page.locator("nav.places").get_by_role("link", name="补贴业务").click()
        page.locator("#field-number").fill(name)
        page.get_by_role("button", name="审核").click()
        page.get_by_role("button", name="给予补贴").click()
        expect(page.get_by_role("status")).to_contain_text("已给予补贴")
        shots(page, "platform/office-grants")
        page.locator("nav.places").get_by_role("link", name="补贴项目").click()
        shots(page, "platform/office-programmes")
        page.get_by_role("link", name="两小创业贴息").click()
        page.locator("#field-until").fill("2026-03-02")
        page.get_by_role("button", name="计提补贴").click()
        expect(page.get_by_role("status")).to_contain_text("已计提 1 笔")
        page.goto(page.url.removesuffix("/accruals"))
        shots(page, "platform/office-programme")


def test_the_regulator_reads_and_checks_the_record(desks: Desks, reader_of: ReaderOf) -> None:
    desks.paid_out("B-1")
    with at_desk(desks, reader_of, Role.REGULATOR) as page:
        expect(page.locator("h1")).to_have_text("审计记录")
        shots(page, "platform/regulator-record")
        page.locator("select[name=action]").select_option("financing-disburse")
        page.get_by_role("button", name="筛选").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.locator("tbody a").first.click()
        shots(page, "platform/regulator-entry")
        page.locator("nav.places").get_by_role("link", name="审计记录").click()
        page.get_by_role("button", name="立即核验").click()
        expect(page.get_by_role("status")).to_contain_text("审计记录完整")
        page.locator("nav.places").get_by_role("link", name="登记商户").click()
        shots(page, "platform/regulator-merchants")
        page.locator("tbody a").first.click()
        shots(page, "platform/regulator-merchant")
        with page.expect_download() as begun:
            page.goto(page.url.partition("/regulator")[0] + "/regulator")
            page.get_by_role("link", name="JSON").click()
        assert begun.value.suggested_filename == "platform-record.json"


def test_an_operator_keeps_the_register(desks: Desks, reader_of: ReaderOf, tmp_path: Path) -> None:
    desks.platform.callers.make(Caller("bank", "bank-01"), actor="operator:li")
    with at_desk(desks, reader_of, Role.OPERATOR) as page:
        page.locator("nav.places").get_by_role("link", name="登记商户").click()
        shots(page, "platform/operator-merchants")
        page.locator("#field-identifier").fill(uscc(1))
        page.get_by_role("button", name="查找").click()
        expect(page.locator("h1")).to_have_text(desks.shop.facts.name)
        assert uscc(1) not in page.content()
        shots(page, "platform/operator-merchant")
        page.get_by_role("link", name="更改商户信息").click()
        shots(page, "platform/operator-change")
        page.locator("#field-origin").select_option("331181")
        page.get_by_role("button", name="保存更改").click()
        expect(page.get_by_role("status")).to_contain_text("变更已保存")
        page.locator("nav.places").get_by_role("link", name="批量登记").click()
        file = tmp_path / "merchants.csv"
        file.write_bytes(csv_of(row(5), row(6, kind="restaurant")))
        page.locator("#field-file").set_input_files(file)
        page.get_by_role("button", name="批量登记").click()
        expect(page.get_by_role("alert")).to_contain_text("未作任何登记")
        axe(page)
        fits(page)
        page.locator("nav.places").get_by_role("link", name="批量登记").click()
        shots(page, "platform/operator-import")
        page.locator("nav.places").get_by_role("link", name="人员与密钥").click()
        shots(page, "platform/operator-access")
        page.get_by_role("button", name="吊销").click()
        expect(page.get_by_role("status")).to_be_visible()
