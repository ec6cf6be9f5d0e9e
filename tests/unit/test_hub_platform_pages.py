"""The platform's pages without a browser: registering, the merchant's path with a scripted gateway, all in Chinese."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, nodes

from hub.platform.financing_orders import Contract, Disburse, Offer
from hub.platform.lending_errors import GatewayAwayError
from hub.platform.merchant_errors import MerchantStateError, RegistrationUnknownError
from hub.platform.policies import PolicyTerms
from hub.platform.products import ProductTerms
from hub.platform.subsidised import Thing
from hub.platform.subsidy_rules import RULES, SubsidyRule
from hub.platform.web import words
from models.i18n import catalogue
from models.web.csrf import FIELD, form_token
from models.web.listing import State
from models.web.rights import Role
from tests.lending_world import SHOP as PRODUCT
from tests.platform_site import ORIGIN, PlatformSite
from tests.rights_walk import People
from tests.unit.test_hub_platform_merchants import SHOP, uscc

FOLDER = Path(words.__file__).parent
FORM = {**vars(SHOP), "id_type": "uscc", "identifier": uscc(7), "contact": "13800000000", "place": "310000"}
RULE = {
    "programme": "two-small-2026",
    "title": {"zh": "两小创业贴息", "en": "Interest subsidies for the Two Small"},
    "rates": [{"since": "2026-01-01", "rate": "0.015"}],
    "most_of_loan_rate": "0.5",
    "most_loan_rate": "0.06",
    "most_principal_fen": 50_000_000,
    "most_fen_a_year": 1_000_000,
    "since": "2026-01-01",
    "until": "2027-01-01",
    "budget_fen": 500_000_000,
    "day_count": "actual/360",
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[PlatformSite]:
    made = PlatformSite(tmp_path)
    yield made
    made.close()


class Visitor:
    """A browser's requests, in Chinese; `session` of who is signed in."""

    def __init__(self, site: PlatformSite, session: str | None = None) -> None:
        self.site = site
        self.client = People(site.app).client(session, accept="text/html")
        self._session = session

    def get(self, path: str) -> str:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def post(self, path: str, status: int = 200, **sent: str) -> str:
        headers = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
        if self._session is None:
            found = re.search(rf'name="{FIELD}" value="([0-9a-f]+)"', self.get("/register"))
            assert found is not None
            token = found[1]
        else:
            token = form_token(self.site.access.vault, self._session)
        answer = self.client.post(path, data={**sent, FIELD: token}, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.text if status != 303 else str(answer.headers["location"])


def number_in(page: str) -> str:
    found = re.search(r"\b[0-9]{12}\b", page)
    assert found is not None
    return found[0]


def test_strangers_learn_nothing_of_who_is_registered(site: PlatformSite) -> None:
    visitor = Visitor(site)
    fresh = visitor.post("/register", **FORM)
    known = site.register.add(uscc(8))
    again = visitor.post("/register", **{**FORM, "identifier": uscc(8)})
    blank = re.compile(r"\b[0-9]{12}\b")
    assert blank.sub("N", fresh) == blank.sub("N", again)
    assert known.account_id not in again
    assert len(site.register.book.listed()) == 1
    assert [each.number for each in site.front.registrations.waiting()] == sorted(
        [number_in(fresh), number_in(again)],
        key=[each.number for each in site.front.registrations.waiting()].index,
    )


def test_a_wrong_check_digit_is_named_and_what_was_typed_stays(site: PlatformSite) -> None:
    page = Visitor(site).post("/register", 422, **{**FORM, "identifier": uscc(7)[:-1] + "#"})
    assert "证件号码未通过校验" in page
    assert FORM["name"] in page
    assert site.front.registrations.waiting() == []
    page = Visitor(site).post("/register", 422, **{**FORM, "contact": "no"})
    assert "用这个无法联系到您" in page


def test_an_operator_confirms_and_the_merchant_signs_in_by_the_link(site: PlatformSite) -> None:
    number = number_in(Visitor(site).post("/register", **FORM))
    operator = Visitor(site, site.person(Role.OPERATOR, "li"))
    assert number in operator.get("/operator/registrations")
    page = operator.get(f"/operator/registrations/{number}")
    assert FORM["identifier"] in page
    assert FORM["contact"] in page
    assert site.access.looks.at(FORM["identifier"])[0].what == "registration"
    operator.post(f"/operator/registrations/{number}/confirm", 422, name="shop-seven")
    page = operator.post(f"/operator/registrations/{number}/confirm", name="shop-seven", checked="yes")
    assert f"{ORIGIN}/signup/" in page
    (merchant,) = site.register.book.listed()
    assert [each.person.name for each in site.people.of_party(merchant.account_id)] == ["shop-seven"]
    assert operator.client.get(f"/operator/registrations/{number}").status_code == 404
    with pytest.raises(RegistrationUnknownError):
        site.front.registrations.read(number)
    told = str(site.world.audit_entries())
    assert FORM["identifier"] not in told
    assert FORM["contact"] not in told


def test_an_application_for_a_known_merchant_opens_its_account_and_changes_nothing(site: PlatformSite) -> None:
    known = site.register.add(uscc(7))
    number = number_in(Visitor(site).post("/register", **{**FORM, "name": "另一个名字"}))
    application = site.front.registrations.read(number)
    assert application.known == known
    merchant, _ = site.front.registrations.confirm(number, "shop-seven", actor="operator:li")
    assert merchant == known
    site.register.close(known.account_id, 1)
    number = number_in(Visitor(site).post("/register", **FORM))
    with pytest.raises(MerchantStateError):
        site.front.registrations.confirm(number, "shop-eight", actor="operator:li")
    assert site.front.registrations.read(number).known is not None


def test_what_nobody_decides_is_deleted_after_thirty_days(site: PlatformSite) -> None:
    turned_down = number_in(Visitor(site).post("/register", **FORM))
    number = number_in(Visitor(site).post("/register", **FORM))
    site.front.registrations.refuse(turned_down, actor="operator:li")
    assert site.front.registrations.sweep() == 0
    site.world.now += timedelta(days=31)
    assert site.front.registrations.sweep() == 1
    with pytest.raises(RegistrationUnknownError):
        site.front.registrations.read(number)


def test_a_merchant_changes_its_own_facts_and_sees_who_changed_what(site: PlatformSite) -> None:
    shop = site.merchant()
    me = Visitor(site, site.person(Role.MERCHANT, "shop-one", shop.account_id))
    sent = {"version": "1", "name": "惠民二店", "industry": "5213", "place": "440000"}
    assert me.post("/merchant/change", 303, **sent) == "/merchant?changed=yes"
    page = me.get("/merchant?changed=yes")
    for text in ("惠民二店", "广东", "更改：", "由商户本人", "变更已保存"):
        assert text in page, text
    assert "商户账户已被他人更改" in me.post("/merchant/change", 409, **sent)
    page = me.post("/merchant/change", 422, **{**sent, "version": "2", "industry": "6130"})
    assert "有几项还需更正" in page
    assert site.register.book.history(shop.account_id)[-1].actor == f"merchant:{shop.account_id}"


def offered(site: PlatformSite, me: Visitor) -> str:
    """An offer that the merchant's consent has brought; its id."""
    site.consents.bands[uscc(1)] = "B"
    page = me.post("/merchant/banks/bank-01/allow")
    assert site.consents.newest() in page
    assert "待您签署" in me.get("/merchant/offers")
    site.consents.words[site.consents.newest()] = "given"
    page = me.get("/merchant/offers")
    assert "小超贷" in page
    assert "¥10,000.00" in page
    found = re.search(r'data-offer="([0-9a-f]{32})"', page)
    assert found is not None
    return found[1]


@pytest.fixture
def me(site: PlatformSite) -> Visitor:
    shop = site.merchant()
    return Visitor(site, site.person(Role.MERCHANT, "shop-one", shop.account_id))


def test_an_offer_is_looked_for_by_consent_alone_and_stopped_at_once(site: PlatformSite, me: Visitor) -> None:
    assert "不允许" in me.get("/merchant/offers")
    offered(site, me)
    page = me.post("/merchant/banks/bank-01/stop")
    assert f"https://hub.example.org/me/consents/{site.consents.newest()}" in page
    assert "data-offer" not in page
    assert site.platform.offers.offers_of("bank-01").offers == ()


def test_an_amount_outside_the_product_is_refused_beside_its_field(site: PlatformSite, me: Visitor) -> None:
    offer = offered(site, me)
    page = me.post(f"/merchant/offers/{offer}/accept", 422, amount="9,999.99", term="5")
    assert "¥10,000.00" in page
    assert page.count('aria-invalid="true"') == 2
    assert "9,999.99" in page
    assert "/merchant/offers?lang=en" in page  # where the page can be opened anew
    assert me.post(f"/merchant/offers/{offer}/accept", 422, amount="9999", term="12").count('aria-invalid="true"') == 1
    me.post(f"/merchant/offers/{offer}/decline", 303)
    assert "商户已谢绝" in me.get("/merchant/offers")
    assert "该报价已答复或已失效" in me.post(f"/merchant/offers/{offer}/accept", 422, amount="20000", term="12")


def test_from_an_offer_to_a_subsidised_loan(site: PlatformSite, me: Visitor) -> None:
    offer = offered(site, me)
    path = me.post(f"/merchant/offers/{offer}/accept", 303, amount="20,000", term="12")
    assert "¥20,000.00" in me.get("/merchant/financings")
    page = me.post(f"{path}/score")
    assert site.consents.newest() in page
    site.consents.words[site.consents.newest()] = "given"
    assert "data-score" not in me.get(path)
    page = me.post(f"{path}/score/show")
    assert "用电稳定" in page
    assert "640" in page
    financing_id = path.rpartition("/")[2]
    day = site.platform.lending.today()
    reference = site.platform.financings.get(financing_id).reference
    terms: dict[str, Any] = {"reference": reference}
    site.platform.financings.execute(
        "bank-01",
        "bank:bank-01",
        [
            Offer(step="offer", amount_fen=2_000_000, annual_rate="0.0435", term_months=12, **terms),
            Contract(step="contract", on=day, **terms),
            Disburse(step="disburse", on=day, **terms),
        ],
    )
    assert "商户未对此授权" in me.post(f"{path}/score/show", 422)
    with site.world.db.session() as session:
        site.platform.programmes.publish_in(session, "government:office", [SubsidyRule.model_validate(RULE)])
        site.platform.subsidies.grant_in(session, "government:office", "two-small-2026", Thing(financing_id))
    site.world.now += timedelta(days=40)
    list(site.platform.subsidies.accrue("government:office", "two-small-2026", site.platform.lending.today()))
    page = Visitor(site, site.session("shop-one")).get(path)  # the one of forty days ago has ended
    for text in ("已放款", "还款计划", "两小创业贴息", "贴息", "4.35 %", "由银行", "由项目办", "逾期"):
        assert text in page, text
    booked = sum(sum(each.accrued_fen.values()) for each in site.platform.subsidies.grants())
    assert booked > 0
    assert words.yuan(booked) in page


def test_a_merchant_sees_its_own_policies_and_what_is_subsidised(site: PlatformSite, me: Visitor) -> None:
    assert "尚无保险公司报送您的保单" in me.get("/merchant/policies")
    today, (shop,) = site.platform.lending.today(), site.register.book.listed()
    terms = {"account_id": shop.account_id, "covers": ["property", "interruption"], "sum_insured_fen": 10**7}
    terms |= {"premium_fen": 36_500, "since": today, "until": today + timedelta(days=365)}
    cover = {each: RULE[each] for each in ("title", "since", "until", "budget_fen")}
    cover |= {"kind": "premium", "programme": "cover", "shares": [{"since": "2026-01-01", "share": "0.5"}]}
    with site.world.db.session() as session:
        site.platform.programmes.publish_in(session, "government:office", [RULES.validate_python(cover)])
        reported = [PolicyTerms.model_validate({**terms, "number": "A-2"})]
        (policy,) = site.platform.policies.report_in(session, "insurer:picc", "picc", reported)
        thing = Thing(policy_id=policy.policy_id)
        grant = site.platform.subsidies.grant_in(session, "government:office", "cover", thing)
    page = me.get("/merchant/policies")
    aside = words.yuan(sum(grant.aside_fen.values()))
    for text in ("A-2", "picc", "财产损失、营业中断", "保障中", "¥365.00", aside, words.yuan(0)):
        assert text in page, text
    other = site.merchant(2)
    assert "A-2" not in Visitor(site, site.person(Role.MERCHANT, "shop-two", other.account_id)).get(
        "/merchant/policies"
    )
    with site.world.db.session() as session:
        site.platform.policies.end_in(session, "insurer:picc", policy.policy_id, today, "cancelled", insurer="picc")
    assert "已退保" in me.get("/merchant/policies")


def test_an_application_is_withdrawn_before_a_contract(site: PlatformSite, me: Visitor) -> None:
    path = me.post(f"/merchant/offers/{offered(site, me)}/accept", 303, amount="20000", term="12")
    assert me.post(f"{path}/withdraw", 303) == path
    assert "申请已撤回" in me.get(path)
    assert "融资业务当前状态不允许此操作" in me.post(f"{path}/withdraw", 422)


def test_another_merchants_financing_is_not_there(site: PlatformSite, me: Visitor) -> None:
    path = me.post(f"/merchant/offers/{offered(site, me)}/accept", 303, amount="20000", term="12")
    other = site.merchant(2)
    session = site.person(Role.MERCHANT, "shop-two", other.account_id)
    them = Visitor(site, session)
    assert them.client.get(path).status_code == 404
    for act in ("score", "score/show", "withdraw"):
        them.post(f"{path}/{act}", 404)


def test_a_gateway_that_is_away_is_said_and_pages_stay(
    site: PlatformSite, me: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered(site, me)

    def away(*_given: object, **_named: object) -> str:
        raise GatewayAwayError("away", remedy="start it")

    monkeypatch.setattr(site.consents, "standing", away)
    page = me.get("/merchant/offers")
    assert "可能不是最新" in page
    assert "小超贷" in page
    assert site.front.following.round() == 0


def test_answers_are_followed_without_anybodys_opening_a_page(site: PlatformSite, me: Visitor) -> None:
    site.consents.bands[uscc(1)] = "B"
    me.post("/merchant/banks/bank-01/allow")
    site.consents.words[site.consents.newest()] = "given"
    for number in range(2, 6):
        site.consents.bands[uscc(number)] = "B"
        shop = site.merchant(number)
        borrower = uscc(number)
        site.platform.offers.allow(
            shop.account_id, "bank-01", borrower, actor="x", id_type="uscc", recipients=("two-small",)
        )
        site.consents.words[site.consents.newest()] = "given"
    following = site.front.following
    assert [following.round(2) for _ in range(3)] == [2, 2, 1]
    assert len(site.platform.offers.offers_of("bank-01").offers) == 5
    assert following.round(2) == 2  # it begins anew
    site.register.close(site.register.book.find("uscc", uscc(5)).account_id, 1)
    assert sum(following.round(2) for _ in range(2)) == 3


def test_products_of_other_places_are_not_offered(site: PlatformSite, me: Visitor) -> None:
    rule = {**PRODUCT["rule"], "places": ["440000"]}
    site.platform.products.publish(
        "bank:bank-02", [ProductTerms.model_validate({**PRODUCT, "bank": "bank-02", "rule": rule})]
    )
    me.post("/merchant/banks/bank-02/allow")
    site.consents.words[site.consents.newest()] = "given"
    assert "data-offer" not in me.get("/merchant/offers")
    assert site.consents.scored == []  # who cannot meet a rule whatever the band is not scored
    assert "没有该产品" in me.post("/merchant/banks/bank-99/allow", 404)


@pytest.mark.parametrize(
    ("typed", "fen"),
    [
        ("20000", 2_000_000),
        ("20,000.5", 2_000_050),
        ("¥0.01", 1),
        ("0", None),
        ("1.234", None),
        ("-5", None),
        ("", None),
    ],
)
def test_yuan_as_typed(typed: str, fen: int | None) -> None:
    assert words.fen_of(typed) == fen


def test_money_and_rates_are_shown_exactly() -> None:
    assert [words.yuan(fen) for fen in (0, 5, 123_456_789, -150)] == ["¥0.00", "¥0.05", "¥1,234,567.89", "-¥1.50"]
    assert [words.rate(each) for each in (43_500, 36_525, 0)] == ["4.35 %", "3.6525 %", "0.00 %"]


def texts_of_templates() -> Iterator[str]:
    """Message ids in templates: arguments of `_` and `ngettext`, and sentences among those of the parts."""
    environment = Environment(autoescape=True)
    for path in sorted((FOLDER / "templates").rglob("*.j2")):
        tree = environment.parse(path.read_text(encoding="utf-8"))
        for call in tree.find_all(nodes.Call):
            name = getattr(call.node, "name", "") or getattr(call.node, "attr", "")
            if name in ("_", "ngettext"):
                yield from (each.value for each in call.args[:1] if isinstance(each, nodes.Const))
            elif isinstance(call.node, nodes.Getattr) and getattr(call.node.node, "name", "") == "parts":
                given = [*call.args, *(each.value for each in call.kwargs if each.key in ("hint", "error"))]
                for each in given:
                    found = [each] if isinstance(each, nodes.Const) else each.find_all(nodes.Const)
                    yield from (
                        const.value for const in found if isinstance(const.value, str) and const.value[:1].isupper()
                    )


def texts_of_modules() -> Iterator[str]:
    """Message ids in the modules: of `said`, `NavItem` and the first of a pair, and all of the tables of words."""
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("said", "NavItem"):
                found: list[ast.expr] = node.args[:1]
            elif isinstance(node, ast.Tuple):
                found = (
                    [each for each in node.elts[:1] if getattr(each, "value", " ")[:1:].isupper()]
                    if all(isinstance(getattr(each, "value", ""), str) for each in node.elts[:1])
                    else []
                )
            else:
                continue
            yield from (each.value for each in found if isinstance(each, ast.Constant) and isinstance(each.value, str))
    for name, table in vars(words).items():
        if name.isupper() and isinstance(table, Mapping):
            for each in table.values():
                text = each.name if isinstance(each, State) else each
                if isinstance(text, str) and text not in ("good", "bad", "info", "warn", "neutral"):
                    yield text


def test_every_text_is_in_chinese() -> None:
    known = (catalogue("hub"), catalogue("models"))
    texts = {each for each in (*texts_of_templates(), *texts_of_modules()) if any(map(str.isalpha, each))}
    assert len(texts) > 200
    missing = sorted(each for each in texts if not any(one.has("zh", each) for one in known))
    assert not missing, "\n".join(missing)
