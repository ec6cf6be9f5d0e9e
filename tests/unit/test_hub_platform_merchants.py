"""The register of merchants: who is eligible, one account for each identifier, history, and files as a whole or not."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import LargeBinary, select

from crypto.identifiers import uscc_check_digit
from hub.platform.app import create_platform
from hub.platform.callers import Caller
from hub.platform.merchant_book import MerchantBook
from hub.platform.merchant_errors import (
    MerchantChangedError,
    MerchantFactsError,
    MerchantFileError,
    MerchantKnownError,
    MerchantStateError,
    MerchantUnknownError,
)
from hub.platform.merchant_import import COLUMNS, import_merchants
from hub.platform.merchants import Facts, Industries, Merchant, facts_of, faults_in
from hub.platform.services import open_platform
from hub.platform.tables.base import load_tables
from hub.platform.world.generator import draw_world
from hub.platform.world.parameters import read_world
from models.i18n import catalogue
from models.lishui.places import COUNTIES
from models.web.vault import Vault
from tests.lending_world import LendingWorld, apply
from tests.scripted_consents import ScriptedConsents

SHOP = Facts("supermarket", "莲都惠民超市", "5212", "331102", "310115")
OPERATOR = "operator:li"


def uscc(number: int) -> str:
    body = f"92331102MA{number:07d}"
    return body + uscc_check_digit(body)


class Register:
    def __init__(self, base: Path) -> None:
        self.world = LendingWorld(base)
        self.book = MerchantBook(
            self.world.db, self.world.audit, lambda: self.world.now, Vault(secrets.token_bytes(32)), Industries()
        )

    def add(self, identifier: str = uscc(1), facts: Facts = SHOP) -> Merchant:
        with self.world.db.session() as session:
            return self.book.register_in(session, OPERATOR, self.book.checked("uscc", identifier, facts))

    def change(self, account_id: str, facts: Facts, version: int) -> Merchant:
        with self.world.db.session() as session:
            return self.book.change_in(session, OPERATOR, account_id, facts, version=version)

    def close(self, account_id: str, version: int, merged_into: str | None = None) -> Merchant:
        with self.world.db.session() as session:
            return self.book.close_in(session, OPERATOR, account_id, version=version, merged_into=merged_into)


@pytest.fixture
def register(tmp_path: Path) -> Iterator[Register]:
    made = Register(tmp_path)
    yield made
    made.world.close()


def row(number: int, **changes: str) -> dict[str, str]:
    return {"id_type": "uscc", "identifier": uscc(number), **vars(SHOP), "name": f"超市{number}", **changes}


def csv_of(*rows: dict[str, str]) -> bytes:
    lines = [",".join(COLUMNS), *(",".join(each[name] for name in COLUMNS) for each in rows)]
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "restaurant"}, "kind"),
        ({"industry": "6130"}, "industry"),
        ({"kind": "inn", "industry": "6110"}, "industry"),
        ({"name": ""}, "name"),
        ({"name": "惠民 "}, "name"),
        ({"name": "惠\x00民"}, "name"),
        ({"name": "惠" * 101}, "name"),
        ({"origin": "330102"}, "origin"),
        ({"origin": "331100"}, "origin"),
        ({"place": "990000"}, "place"),
        ({"place": "31011"}, "place"),
        ({"place": "３１０１１５"}, "place"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(changes: dict[str, str], field: str) -> None:
    assert [each.field for each in faults_in(replace(SHOP, **changes), Industries())] == [field]


def test_all_of_lishui_and_every_eligible_class_is_taken() -> None:
    assert len(COUNTIES) == 9
    industries = Industries()
    for origin in COUNTIES:
        for kind in ("supermarket", "inn"):
            for industry in industries.of(kind):
                facts = replace(SHOP, kind=kind, industry=industry, origin=origin, place="330000")
                assert faults_in(facts, industries) == []


def test_an_identifier_has_one_account_however_it_is_spelt(register: Register) -> None:
    made = register.add()
    assert made.version == 1
    assert register.book.find("uscc", uscc(1).lower()) == made
    spelt = "".join(chr(ord(char) + 0xFEE0) for char in uscc(1))  # full width
    with pytest.raises(MerchantKnownError, match=made.account_id):
        register.add(spelt, replace(SHOP, name="另一家"))
    with pytest.raises(MerchantFactsError) as refused:
        register.add(uscc(1)[:-1] + ("1" if uscc(1)[-1] != "1" else "2"))
    assert refused.value.field == "identifier"
    assert uscc(1) not in refused.value.message
    with pytest.raises(MerchantUnknownError):
        register.book.find("uscc", uscc(2))
    assert register.book.listed() == [made]


def test_changes_make_history_and_a_stale_one_is_refused(register: Register) -> None:
    made = register.add()
    moved = register.change(made.account_id, replace(SHOP, place="440305"), 1)
    assert (moved.version, moved.place) == (2, "440305")
    with pytest.raises(MerchantChangedError):
        register.change(made.account_id, replace(SHOP, place="500000"), 1)
    assert register.change(made.account_id, moved.facts, 2) == moved
    with pytest.raises(MerchantFactsError):
        register.change(made.account_id, replace(SHOP, origin="110101"), 2)
    past = register.book.history(made.account_id)
    assert [each.merchant for each in past] == [made, moved]
    assert {each.actor for each in past} == {OPERATOR}
    mine = [each for each in register.world.audit_entries() if each[2] == f"merchant:{made.account_id}"]
    assert [(each[1], each[3]["changed"]) for each in mine] == [
        ("merchant-register", ["industry", "kind", "name", "origin", "place"]),
        ("merchant-change", ["place"]),
    ]
    assert SHOP.name not in json.dumps(mine, ensure_ascii=False)


def test_an_account_that_was_merged_names_the_one_that_stays(register: Register) -> None:
    old, new = register.add(), register.add(uscc(2))
    with pytest.raises(MerchantStateError):
        register.close(old.account_id, 1, old.account_id)
    assert register.close(old.account_id, 1, new.account_id).state == "merged"
    with register.world.db.reading() as session:
        with pytest.raises(MerchantStateError, match=new.account_id):
            register.book.applicant(session, old.account_id)
        with pytest.raises(MerchantStateError):
            register.book.borrower(session, old.account_id)
        assert register.book.borrower(session, new.account_id).identifier == uscc(2)
        ids = register.book.identifiers(session, [old.account_id, new.account_id, "0" * 32])
        assert ids == {old.account_id: uscc(1), new.account_id: uscc(2)}
    with pytest.raises(MerchantStateError):
        register.change(old.account_id, replace(SHOP, name="新名"), 2)
    with pytest.raises(MerchantKnownError):
        register.add(uscc(1))
    register.close(new.account_id, 1)
    other = register.add(uscc(3))
    with pytest.raises(MerchantStateError):
        register.close(other.account_id, 1, new.account_id)


def test_a_file_is_registered_and_registering_it_again_changes_nothing(register: Register) -> None:
    told: list[tuple[int, int]] = []
    file = b"\xef\xbb\xbf" + csv_of(*(row(number) for number in range(1100)))
    found = import_merchants(register.book, OPERATOR, file, progress=lambda done, of: told.append((done, of)))
    assert (found.registered, found.known) == (1100, 0)
    assert told == [(1000, 1100), (1100, 1100)]
    entries = len(register.world.audit_entries())
    again = import_merchants(register.book, OPERATOR, file)
    assert (again.registered, again.known) == (0, 1100)
    assert len(register.world.audit_entries()) == entries
    more = import_merchants(register.book, OPERATOR, csv_of(row(5), row(2000)))
    assert (more.registered, more.known) == (1, 1)
    first = register.book.listed()
    assert len(first) == 500
    assert len(register.book.listed(after=first[-1].account_id)) == 500
    assert register.book.listed(kind="inn") == []


def test_every_fault_of_every_row_is_told_and_nothing_is_written(register: Register) -> None:
    there = register.add(uscc(7), replace(SHOP, name="超市7"))
    gone = register.add(uscc(8), replace(SHOP, name="超市8"))
    register.close(gone.account_id, 1)
    file = csv_of(
        row(1),
        row(2, identifier="92331102MA0000002X", origin="110101"),
        row(3, kind="bar", place="x"),
        row(1, name="又一家"),
        row(7, industry="5213", place="440000"),
        row(8),
        row(9, id_type="opaque"),
    )
    before = register.book.listed()
    with pytest.raises(MerchantFileError) as refused:
        import_merchants(register.book, OPERATOR, file)
    assert [(each.line, each.column) for each in refused.value.faults] == [
        (3, "identifier"),
        (3, "origin"),
        (4, "kind"),
        (4, "place"),
        (5, "identifier"),
        (6, "industry"),
        (6, "place"),
        (7, "identifier"),
        (8, "id_type"),
    ]
    assert there.account_id in str(refused.value.faults[5].what)
    assert register.book.listed() == before
    texts = catalogue("hub")
    for each in refused.value.faults:
        for said in (each.what, each.remedy):
            assert texts.translate("zh", said.text, **said.params) != str(said)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (b"", "no columns"),
        (b"kind,name\nx,y\n", "kind, name"),
        (csv_of(), "no rows"),
        ("id_type\n惠民".encode("gbk"), "UTF-8"),
        (csv_of(row(1)) + b"uscc,x\n", "Line 3 has 2 cells"),
        (csv_of(row(1)) + b'"uscc', "Line 3"),
    ],
    ids=["empty", "header", "only-header", "gbk", "cells", "quote"],
)
def test_what_is_no_table_is_refused(register: Register, file: bytes, told: str) -> None:
    with pytest.raises(MerchantFileError, match=told) as refused:
        import_merchants(register.book, OPERATOR, file)
    assert refused.value.faults == ()
    assert register.book.listed() == []


def test_no_column_of_the_database_holds_an_identifier(register: Register) -> None:
    made = register.add()
    import_merchants(register.book, OPERATOR, csv_of(*(row(number) for number in range(10, 40))))
    wanted = [uscc(number).encode() for number in (1, *range(10, 40))]
    cells = 0
    with register.world.db.reading() as session:
        for table in load_tables().sorted_tables:
            for line in session.execute(select(table)):
                for value in line:
                    cells += 1
                    held = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                    assert not [each for each in wanted if each in held], table.name
        assert register.book.borrower(session, made.account_id).identifier == uscc(1)
    assert cells > 500
    assert any(isinstance(column.type, LargeBinary) for column in load_tables().tables["merchants"].columns)


def test_a_synthetic_worlds_merchants_are_registered_under_their_own_ids(register: Register) -> None:
    parameters = read_world(Path(__file__).parents[2] / "configs" / "worlds" / "steady.yaml")
    merchants = draw_world(parameters).merchants[:600]
    entrants = [
        replace(
            register.book.checked(
                "uscc", each.identifier, facts_of({name: getattr(each, name) for name in vars(SHOP)})
            ),
            account_id=each.account_id,
        )
        for each in merchants
    ]
    with register.world.db.session() as session:
        register.book.add_in(session, OPERATOR, entrants)
    last = merchants[-1]
    assert register.book.find("uscc", last.identifier).account_id == last.account_id
    with register.world.db.reading() as session:
        assert register.book.applicant(session, last.account_id).place == last.place


class Served:
    def __init__(self, base: Path) -> None:
        self.register = Register(base)
        world = self.register.world
        self.platform = open_platform(
            "two-small", world.db, self.register.book, ScriptedConsents(bands={}), clock=lambda: world.now
        )
        self.http = TestClient(create_platform(self.platform, self.register.book), raise_server_exceptions=False)
        kinds: dict[str, Any] = {"li": "operator", "office": "government", "pboc": "regulator", "bank-01": "bank"}
        self.keys = {name: self.platform.callers.make(Caller(kind, name), actor="x") for name, kind in kinds.items()}

    def get(self, path: str, caller: str = "li") -> Any:
        return self.http.get(f"/v1{path}", headers={"Authorization": f"Bearer {self.keys[caller]}"})

    def post(self, path: str, body: Any, caller: str = "li", key: str | None = None, lang: str = "en") -> Any:
        headers = {
            "Authorization": f"Bearer {self.keys[caller]}",
            "Idempotency-Key": key or uuid.uuid4().hex,
            "Accept-Language": lang,
        }
        return self.http.post(f"/v1{path}", json=body, headers=headers)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.register.world.close()


def test_the_api_registers_once_and_tells_no_identifier(served: Served) -> None:
    made = served.post("/merchants", row(1), key="a")
    assert made.status_code == 201
    again = served.post("/merchants", row(1), key="a")
    assert (again.json(), again.headers["idempotent-replayed"]) == (made.json(), "true")
    account = made.json()["account_id"]
    known = served.post("/merchants", row(1), lang="zh")
    assert (known.status_code, known.json()["title"]) == (409, "该商户已有账户")
    found = served.post("/merchants/find", {"id_type": "uscc", "identifier": uscc(1)}, "office")
    assert found.json() == made.json()
    wrong = served.post("/merchants", row(2, origin="110101"))
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["field"]) == (422, "merchant-facts", "origin")
    facts = {name: value for name, value in row(1, place="440305").items() if name in vars(SHOP)}
    changed = served.post(f"/merchants/{account}/change", {**facts, "version": 1}, "office")
    assert (changed.json()["version"], changed.json()["place"]) == (2, "440305")
    assert served.post(f"/merchants/{account}/change", {**facts, "version": 1}).status_code == 409
    history = served.get(f"/merchants/{account}/history", "pboc").json()["versions"]
    assert [(each["actor"], each["merchant"]["version"]) for each in history] == [
        ("operator:li", 1),
        ("government:office", 2),
    ]
    listed = served.get("/merchants?origin=331102")
    assert ([each["account_id"] for each in listed.json()["merchants"]], listed.json()["next"]) == ([account], None)
    closed = served.post(f"/merchants/{account}/close", {"version": 2})
    assert (closed.json()["state"], served.get(f"/merchants/{account}").json()["version"]) == ("closed", 3)
    for answer in (made, known, found, changed, closed, listed):
        assert uscc(1) not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "callers"),
    [
        ("post", "/merchants", {"li", "office"}),
        ("post", "/merchants/find", {"li", "office"}),
        ("get", "/merchants", {"li", "office", "pboc"}),
        ("get", f"/merchants/{'0' * 32}", {"li", "office", "pboc"}),
        ("get", f"/merchants/{'0' * 32}/history", {"li", "office", "pboc"}),
        ("post", f"/merchants/{'0' * 32}/change", {"li", "office"}),
        ("post", f"/merchants/{'0' * 32}/close", {"li", "office"}),
    ],
)
def test_others_are_let_nowhere(served: Served, method: str, path: str, callers: set[str]) -> None:
    body = {"id_type": "uscc", "identifier": uscc(1)} if path.endswith("find") else {}
    answers = {
        name: (served.get(path, name) if method == "get" else served.post(path, body, name)).status_code
        for name in served.keys
    }
    assert {name for name, status in answers.items() if status != 403} == callers
    assert served.http.request(method, f"/v1{path}", json=body).status_code == 401


def test_a_bank_lends_to_registered_merchants_and_to_no_others(served: Served) -> None:
    account = served.post("/merchants", row(1)).json()["account_id"]
    order = json.loads(apply(account_id=account).model_dump_json(exclude_none=True))
    made = served.post("/financings/orders", {"orders": [order]}, "bank-01")
    assert made.status_code == 200, made.text
    served.post(f"/merchants/{account}/close", {"version": 1})
    for who, code in ((account, "merchant-state"), ("0" * 32, "merchant-unknown")):
        refused = served.post(
            "/financings/orders", {"orders": [{**order, "reference": "L-2", "account_id": who}]}, "bank-01"
        )
        assert refused.json()["code"] == code
