"""The platform over HTTP: who may what, once each, refusals as problem details, and what comes back."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from hub.errors import UnauthorisedError
from hub.platform.app import create_platform
from hub.platform.callers import Caller
from hub.platform.errors import KeyUnknownError
from hub.platform.financing_scores import Borrower
from hub.platform.services import open_platform
from hub.platform.tables.callers import AnsweredCallRow
from tests.lending_world import BANK, DAY, MINE, SHOP, Directory, LendingWorld, Shop, apply, offer, order, whole_life
from tests.scripted_consents import ScriptedConsents


class ApiWorld:
    """A served platform, and a client for each caller."""

    def __init__(self, base: Path) -> None:
        self.lending = LendingWorld(base)
        its = self.lending
        self.consents = ScriptedConsents(bands={MINE: "B"})
        self.platform = open_platform(
            "two-small", its.db, Directory(its), self.consents, told=[BANK], clock=lambda: its.now
        )
        self.app = create_platform(self.platform)
        self.http = TestClient(self.app, raise_server_exceptions=False)
        self.keys = {
            name: self.platform.callers.make(Caller(kind, name), actor="operator:li")  # type: ignore[arg-type]
            for name, kind in (
                (BANK, "bank"),
                ("bank-02", "bank"),
                ("picc", "insurer"),
                ("office", "government"),
                ("li", "operator"),
                ("pboc", "regulator"),
            )
        }

    def get(self, path: str, caller: str = BANK, **headers: str) -> Any:
        return self.http.get(path, headers={"Authorization": f"Bearer {self.keys[caller]}", **headers})

    def post(self, path: str, body: Any, caller: str = BANK, key: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self.keys[caller]}", "Idempotency-Key": key or uuid.uuid4().hex}
        return self.http.post(path, json=body, headers=headers)

    def order(self, *orders: Any, caller: str = BANK, key: str | None = None) -> Any:
        body = {"orders": [each.model_dump(mode="json", exclude_none=True) for each in orders]}
        return self.post("/v1/financings/orders", body, caller, key)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ApiWorld]:
    world = ApiWorld(tmp_path)
    yield world
    world.lending.close()


def test_a_batch_sent_again_changes_nothing_and_is_answered_alike(world: ApiWorld) -> None:
    first = world.order(*whole_life("L-1"), key="import-1")
    entries = world.lending.audit.verify()
    again = world.order(*whole_life("L-1"), key="import-1")
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.content == again.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert world.lending.audit.verify() == entries
    assert first.json()["financings"][-1]["state"] == "closed"


def test_another_body_under_the_key_is_a_conflict(world: ApiWorld) -> None:
    world.order(apply(), key="k")
    refused = world.order(apply("L-2"), key="k")
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency-key-reused")
    assert len(world.get("/v1/financings").json()["financings"]) == 1
    # A key is one caller's: another bank's is another.
    assert world.order(order("score"), caller="bank-02", key="k").json()["code"] == "financing-unknown"


def test_a_refused_batch_may_be_sent_again_under_its_key(world: ApiWorld) -> None:
    assert world.order(order("score"), key="k").status_code == 404
    world.order(apply())
    assert world.order(order("score"), key="k").status_code == 200


def test_a_change_whose_answer_was_not_kept_did_not_happen(world: ApiWorld) -> None:
    def fail(*_given: object, **_named: object) -> None:
        raise OperationalError("INSERT", {}, Exception("disk full"))

    event.listen(AnsweredCallRow, "before_insert", fail)
    try:
        assert world.order(apply(), key="k").status_code == 503
    finally:
        event.remove(AnsweredCallRow, "before_insert", fail)
    assert world.get("/v1/financings").json()["financings"] == []
    assert world.order(apply(), key="k").status_code == 200


def test_no_key_no_change(world: ApiWorld) -> None:
    headers = {"Authorization": f"Bearer {world.keys[BANK]}"}
    answer = world.http.post(
        "/v1/financings/orders", json={"orders": [apply().model_dump(mode="json")]}, headers=headers
    )
    assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")


def test_refusals_are_problems_in_the_callers_language(world: ApiWorld) -> None:
    world.order(apply())
    headers = {
        "Authorization": f"Bearer {world.keys[BANK]}",
        "Idempotency-Key": "k",
        "Accept-Language": "zh-CN",
    }
    body = {"orders": [order("contract", on=DAY).model_dump(mode="json", exclude_none=True)]}
    answer = world.http.post("/v1/financings/orders", json=body, headers=headers)
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    assert (problem["code"], problem["title"]) == ("financing-state", "融资业务当前状态不允许此操作")
    assert problem["field"] == "orders.0.state"
    assert "score" in problem["remedy"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount_fen": 1.5}, "orders.0.apply.amount_fen"),
        ({"amount_fen": "12"}, "orders.0.apply.amount_fen"),
        ({"colour": "red"}, "orders.0.apply.colour"),
        ({"step": "fly"}, "orders.0"),
        ({"reference": "L 1"}, "orders.0.apply.reference"),
    ],
    ids=["fraction", "text", "unknown", "step", "reference"],
)
def test_a_malformed_order_is_named(world: ApiWorld, change: dict[str, Any], field: str) -> None:
    body = {"orders": [{**apply().model_dump(mode="json", exclude_none=True), **change}]}
    answer = world.post("/v1/financings/orders", body)
    assert (answer.json()["code"], answer.json()["field"]) == ("request-invalid", field)


@pytest.mark.parametrize(
    ("method", "path", "may"),
    [
        ("POST", "/v1/financings/orders", {BANK, "bank-02"}),
        ("POST", "/v1/products", {BANK, "bank-02"}),
        ("POST", "/v1/reach-tables", {"office", "li"}),
        ("GET", "/v1/prequalified", {BANK, "bank-02"}),
        ("GET", "/v1/outcomes", {BANK, "bank-02"}),
        ("GET", f"/v1/financings/{'0' * 32}/score", {BANK, "bank-02"}),
        ("GET", "/v1/webhooks/events", {BANK, "bank-02", "li"}),
        ("GET", "/v1/audit", {"li", "pboc"}),
        ("GET", "/v1/financings", {BANK, "bank-02", "office", "li", "pboc"}),
        ("GET", f"/v1/financings/{'0' * 32}", {BANK, "bank-02", "office", "li", "pboc"}),
        ("POST", "/v1/policies", {"picc"}),
        ("POST", f"/v1/policies/{'0' * 32}/end", {"picc"}),
        ("GET", "/v1/policies", {"picc", "office", "li", "pboc"}),
        ("GET", "/v1/grants", {"office", "li", "pboc"}),
    ],
)
def test_everyone_gets_what_is_theirs(world: ApiWorld, method: str, path: str, may: set[str]) -> None:
    for caller in world.keys:
        answer = world.get(path, caller) if method == "GET" else world.post(path, {}, caller)
        assert (answer.status_code == 403) is (caller not in may), (caller, answer.text)
    unsigned = world.http.request(method, path, json={} if method == "POST" else None)
    assert (unsigned.status_code, unsigned.json()["code"]) == (401, "unauthorised")


def test_every_route_needs_a_key(world: ApiWorld) -> None:
    document = world.http.get("/v1/openapi.json").json()
    calls = [(path, method) for path, methods in document["paths"].items() for method in methods]
    assert len(calls) > 10
    for path, method in calls:
        url = path.replace("{financing_id}", "0" * 32).replace("{event_id}", "0" * 32)
        assert world.http.request(method, url).status_code == 401, path


def test_a_key_is_kept_by_its_hash_and_can_be_revoked(world: ApiWorld) -> None:
    (listed,) = [each for each in world.platform.callers.listed() if each.caller.party == "bank-02"]
    world.platform.callers.revoke(listed.key_id, actor="operator:li")
    assert world.get("/v1/financings", "bank-02").status_code == 401
    with pytest.raises(KeyUnknownError):
        world.platform.callers.revoke(listed.key_id, actor="operator:li")
    with pytest.raises(UnauthorisedError):
        world.platform.callers.check("Basic abc")
    with world.platform.db.reading() as session:
        rows = session.connection().exec_driver_sql("SELECT * FROM api_keys").all()
    assert not [row for row in rows if any(key in str(row) for key in world.keys.values())]


def test_a_bank_sees_its_own_page_by_page(world: ApiWorld) -> None:
    world.order(*[apply(f"L-{n}") for n in range(5)])
    world.post("/v1/products", {"products": [{**SHOP, "bank": "bank-02"}]}, "bank-02")
    world.order(apply("X-1"), caller="bank-02")
    seen, after = [], ""
    while after is not None:
        page = world.get(f"/v1/financings?limit=2&after={after}").json()
        seen += [each["reference"] for each in page["financings"]]
        after = page["next"]
    assert sorted(seen) == [f"L-{n}" for n in range(5)]
    assert len(world.get("/v1/financings", "office").json()["financings"]) == 6
    other = world.get("/v1/financings", "bank-02").json()["financings"][0]["financing_id"]
    assert world.get(f"/v1/financings/{other}").json()["code"] == "financing-unknown"
    assert world.get(f"/v1/financings/{other}", "pboc").json()["reference"] == "X-1"


def test_a_financing_is_shown_with_plan_payments_and_arrears(world: ApiWorld) -> None:
    world.order(*whole_life("L-1")[:6])
    (line,) = world.get("/v1/financings?state=disbursed").json()["financings"]
    world.lending.now += timedelta(days=100)
    found = world.get(f"/v1/financings/{line['financing_id']}").json()
    assert (len(found["plan"]), len(found["repayments"]), found["outstanding_fen"]) == (12, 1, 800_000)
    assert sum(each["principal_fen"] for each in found["plan"]) == 1_200_000
    # 400,009 fen were paid: three instalments of some 102,400 and the most of a fourth, of which none is due yet.
    assert (found["arrears_fen"], found["overdue_days"]) == (0, 0)


def test_products_by_the_bank_itself_alone(world: ApiWorld) -> None:
    foreign = world.post("/v1/products", {"products": [{**SHOP, "bank": "bank-02"}]})
    assert (foreign.status_code, foreign.json()["field"]) == (403, "products.0.bank")
    dearer = {**SHOP, "annual_rate": {"least": "0.05", "most": "0.06"}}
    made = world.post("/v1/products", {"products": [dearer]})
    assert (made.status_code, made.json()["products"][0]["version"]) == (201, 2)
    assert world.post("/v1/products", {"products": [dearer]}).json()["products"][0]["version"] == 2
    versions = world.get(f"/v1/products/{BANK}/shop-loan").json()["products"]
    assert [each["version"] for each in versions] == [1, 2]
    assert versions[0]["terms"]["annual_rate"]["least"] == "0.0365"
    assert [each["version"] for each in world.get("/v1/products?on_offer=true").json()["products"]] == [2]


def test_reach_comes_of_a_published_table(world: ApiWorld) -> None:
    path = f"/v1/products/{BANK}/shop-loan/reach"
    assert world.get(path).json()["code"] == "reach-unknown"
    table = {
        "model_id": "sha256:" + "a" * 64,
        "source": "c-7/a-1",
        "sigma": 5.0,
        "cells": [{"band": band, "count": 100.0} for band in "ABCDE"],
    }
    assert world.post("/v1/reach-tables", table, "office").json() == {"number": 1}
    found = world.get(path).json()
    assert (found["merchants"], found["low"], found["high"]) == (300, 283, 317)
    assert found["unsegmented"] == ["kind"]


def test_the_score_is_the_banks_to_see(world: ApiWorld) -> None:
    world.order(apply())
    name = world.get("/v1/financings").json()["financings"][0]["financing_id"]
    assert world.get(f"/v1/financings/{name}/score").json()["code"] == "consent-missing"
    request = world.platform.scores.ask(name, Borrower(MINE, "uscc"), actor="merchant:shop0001").request_id
    world.consents.words[request] = "given"
    world.platform.scores.refresh(name, Borrower(MINE, "uscc"))
    assert world.get(f"/v1/financings/{name}/score").json()["band"] == "B"
    assert world.get(f"/v1/financings/{name}/score", "bank-02").status_code == 404
    world.order(offer(), order("contract", on=DAY))
    assert world.get(f"/v1/financings/{name}/score").json()["code"] == "consent-missing"


def test_outcomes_are_of_the_banks_own_borrowers(world: ApiWorld) -> None:
    world.lending.merchants["shop0002"] = Shop()
    world.order(*whole_life("L-1"))
    world.order(apply("L-2", account_id="shop0002"), order("score", "L-2"), offer("L-2"))
    world.order(order("contract", "L-2", on=DAY), order("disburse", "L-2", on=DAY))
    query = "disbursed_from=2026-01-01&disbursed_to=2026-12-31&observed_on=2027-06-30&window_months=12"
    answer = world.get(f"/v1/outcomes?{query}&id_column=uscc&label_column=bad&ended_column=bad_ended")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert rows == [
        {"uscc": f"{MINE}-shop0001", "bad": "0", "bad_ended": ""},
        {"uscc": f"{MINE}-shop0002", "bad": "1", "bad_ended": ""},
    ]
    frame = pl.read_parquet(io.BytesIO(world.get(f"/v1/outcomes?{query}&form=parquet").content))
    assert frame["default"].to_list() == [0, 1]
    assert len(world.get(f"/v1/outcomes?{query}", "bank-02").text.splitlines()) == 1
    wrong = world.get("/v1/outcomes?disbursed_from=2026-01-01")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "request-invalid")


def test_dead_events_are_seen_and_tried_again(world: ApiWorld) -> None:
    world.platform.financings.execute(BANK, "merchant:shop0001", [apply()])
    (event,) = world.get("/v1/webhooks/events").json()["events"]
    path = f"/v1/webhooks/events/{event['event_id']}/retry"
    assert world.post(path, {}).json()["code"] == "webhook-unknown"
    world.platform.events.failed(event["event_id"], "HTTP 503", again_in=None)
    assert [each["state"] for each in world.get("/v1/webhooks/events?state=dead").json()["events"]] == ["dead"]
    assert world.post(path, {}, "bank-02").status_code == 404
    assert world.post(path, {}).json()["state"] == "waiting"
    assert world.get("/v1/webhooks/events", "bank-02").json()["events"] == []


def test_the_regulator_reads_a_chain_that_it_can_check(world: ApiWorld) -> None:
    world.order(*whole_life("L-1"))
    entries = world.get("/v1/audit", "pboc").json()["entries"]
    number, last = world.lending.audit.verify()
    assert (len(entries), entries[-1]["hash"]) == (number, last.hex())
    name = world.get("/v1/financings").json()["financings"][0]["financing_id"]
    told = [each["what"]["to"] for each in world.get(f"/v1/audit?subject={name}", "pboc").json()["entries"]]
    assert told == ["applied", "scored", "offered", "contracted", "disbursed", "disbursed", "disbursed", "closed"]


def test_too_large_a_body_is_refused(world: ApiWorld) -> None:
    answer = world.http.post(
        "/v1/financings/orders",
        content=b" " * ((4 << 20) + 1),
        headers={"Authorization": f"Bearer {world.keys[BANK]}", "Idempotency-Key": "k"},
    )
    assert answer.status_code == 413


PROGRAMME: dict[str, Any] = {
    "programme": "two-small",
    "title": {"zh": "两小创业贴息", "en": "Interest subsidy for the Two Small"},
    "rates": [{"since": "2026-01-01", "rate": "0.02"}],
    "since": "2026-01-01",
    "until": "2027-01-01",
    "budget_fen": 1_000_000,
}


def test_the_office_runs_a_programme_and_banks_ask_for_their_own_loans(world: ApiWorld) -> None:
    paid_out = [apply(), order("score"), offer(), order("contract", on=DAY), order("disburse", on=DAY)]
    loan = {"financing_id": world.order(*paid_out).json()["financings"][-1]["financing_id"]}
    assert world.post("/v1/programmes", {"programmes": [PROGRAMME]}).status_code == 403
    assert world.post("/v1/programmes", {"programmes": [PROGRAMME]}, "office").json()["programmes"][0]["version"] == 1
    asked = f"/v1/programmes/two-small/reasons?financing_id={loan['financing_id']}"
    assert world.get(asked).json() == {"reasons": []}
    assert world.get(asked, "bank-02").status_code == 404
    assert world.post("/v1/programmes/two-small/grants", loan, "bank-02").status_code == 404
    first = world.post("/v1/programmes/two-small/grants", loan, key="g-1")
    assert (first.status_code, world.post("/v1/programmes/two-small/grants", loan, key="g-1").json()) == (
        201,
        first.json(),
    )
    twice = world.post("/v1/programmes/two-small/grants", loan)
    assert (twice.status_code, twice.json()["field"]) == (422, "subsidy-already")
    assert [each["code"] for each in world.get(asked).json()["reasons"]] == ["subsidy-already"]
    world.lending.now += timedelta(30)
    until = {"until": (DAY + timedelta(30)).isoformat()}
    assert world.post("/v1/programmes/two-small/accruals", until).status_code == 403
    booked = world.post("/v1/programmes/two-small/accruals", until, "office", key="a-1").json()
    assert booked["left"] == 0
    assert booked["fen"] == round(1_200_000 * 30 * 0.02 / 360)
    assert world.post("/v1/programmes/two-small/accruals", until, "office", key="a-1").json() == booked
    assert world.post("/v1/programmes/two-small/accruals", until, "office").json()["fen"] == 0
    assert world.get("/v1/grants").status_code == 403
    (grant,) = world.get("/v1/grants?programme=two-small", "pboc").json()["grants"]
    assert grant["accrued_fen"] == {"2026": booked["fen"]}
    (row,) = csv.DictReader(io.StringIO(world.get("/v1/grants.csv?programme=two-small", "office").text))
    assert (row["year"], row["accrued_fen"]) == ("2026", str(booked["fen"]))
    left = world.get("/v1/programmes").json()["programmes"][0]["left_fen"]
    assert left == 1_000_000 - grant["aside_fen"]["2026"]
    taken = world.post(f"/v1/grants/{grant['number']}/take-back", {"cause": "fraud"}, "office").json()
    assert (taken["state"], taken["accrued_fen"]) == ("taken-back", {"2026": 0})
    world.lending.audit.verify()


def test_insurers_report_policies_and_ask_for_their_subsidies(world: ApiWorld) -> None:
    premium = {each: PROGRAMME[each] for each in ("title", "since", "until", "budget_fen")}
    premium |= {"kind": "premium", "programme": "cover", "shares": [{"since": "2026-01-01", "share": "0.8"}]}
    assert world.post("/v1/programmes", {"programmes": [premium]}, "office").status_code == 201
    terms = {
        "number": "A-1",
        "account_id": "shop0001",
        "covers": ["property"],
        "sum_insured_fen": 20_000_000,
        "premium_fen": 36_500,
        "since": DAY.isoformat(),
        "until": (DAY + timedelta(365)).isoformat(),
    }
    assert world.post("/v1/policies", {"policies": [terms]}).json()["code"] == "forbidden"
    (policy,) = world.post("/v1/policies", {"policies": [terms]}, "picc").json()["policies"]
    assert (policy["insurer"], policy["terms"]["premium_fen"]) == ("picc", 36_500)
    other = world.post("/v1/policies", {"policies": [{**terms, "premium_fen": 1}]}, "picc")
    assert (other.status_code, other.json()["code"], other.json()["field"]) == (409, "policy-known", "number")
    wrong = world.post("/v1/policies", {"policies": [{**terms, "covers": ["all"]}]}, "picc")
    assert (wrong.status_code, wrong.json()["field"]) == (422, "policies.0.covers.0")
    thing = {"policy_id": policy["policy_id"]}
    asked = f"/v1/programmes/cover/reasons?policy_id={policy['policy_id']}"
    assert world.get(asked, "picc").json() == {"reasons": []}
    assert world.get(asked).status_code == 403
    both = f"{asked}&financing_id={'f' * 32}"
    assert (world.get(both, "office").status_code, world.get(both, "office").json()["field"]) == (422, "financing_id")
    assert world.post("/v1/programmes/cover/grants", {}, "picc").status_code == 422
    assert world.post("/v1/programmes/cover/grants", {"financing_id": "f" * 32}, "picc").status_code == 403
    grant = world.post("/v1/programmes/cover/grants", thing, "picc").json()
    assert (grant["policy_id"], grant["financing_id"]) == (policy["policy_id"], None)
    world.lending.now += timedelta(30)
    until = {"until": (DAY + timedelta(30)).isoformat()}
    assert world.post("/v1/programmes/cover/accruals", until, "office").json()["fen"] == 30 * 80
    ended = world.post(f"/v1/policies/{policy['policy_id']}/end", {"on": until["until"], "cause": "lapsed"}, "picc")
    assert (ended.json()["covered_until"], ended.json()["cause"]) == (until["until"], "lapsed")
    assert world.get("/v1/policies").status_code == 403
    assert [each["policy_id"] for each in world.get("/v1/policies", "pboc").json()["policies"]] == [policy["policy_id"]]
    (row,) = csv.DictReader(io.StringIO(world.get("/v1/grants.csv?programme=cover", "office").text))
    assert (row["policy_id"], row["financing_id"], row["accrued_fen"]) == (policy["policy_id"], "", "2400")
    world.lending.audit.verify()
