"""The operator's desk: merchants found, closed and merged, files imported as a whole, people and keys ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hub.platform.callers import Caller
from models.web.rights import Role
from tests.platform_desks import HOSTILE, Desks, Reader
from tests.unit.test_hub_platform_merchants import SHOP, csv_of, row, uscc


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Desks]:
    made = Desks(tmp_path)
    yield made
    made.close()


@pytest.fixture
def operator(desks: Desks) -> Reader:
    return desks.reader(Role.OPERATOR)


def test_a_merchant_is_found_by_an_identifier_that_no_page_shows(desks: Desks, operator: Reader) -> None:
    found = operator.post("/operator/merchants/find", id_type="uscc", identifier=uscc(1).lower())
    assert found.headers["location"] == f"/operator/merchants/{desks.shop.account_id}"
    page = operator.text(found.headers["location"])
    assert SHOP.name in page
    assert "账户开立" in page
    assert uscc(1) not in page
    assert [each.what for each in desks.access.looks.at(desks.shop.account_id)] == ["account"]
    for identifier, status in ((uscc(2), 404), (HOSTILE, 422), ("", 422)):
        refused = operator.post("/operator/merchants/find", id_type="uscc", identifier=identifier)
        assert refused.status_code == status
        assert HOSTILE not in refused.text
        assert uscc(2) not in refused.text


@pytest.mark.parametrize("language", ["zh", "en"])
def test_hostile_names_are_shown_as_words(desks: Desks, language: str) -> None:
    hostile = desks.merchant(2, replace(SHOP, name=HOSTILE))
    reader = desks.reader(Role.OPERATOR, language=language)
    for path in ("/operator/merchants", f"/operator/merchants/{hostile.account_id}"):
        page = reader.text(path)
        assert HOSTILE not in page
        assert "&lt;script&gt;" in page


def test_an_account_is_closed_or_merged_by_a_fresh_sign_in_once(desks: Desks, operator: Reader) -> None:
    stays, goes, ends = desks.shop, desks.merchant(2), desks.merchant(3)
    path = f"/operator/merchants/{goes.account_id}"
    assert operator.post(f"{path}/merge", version="1", merged_into="").status_code == 404
    assert operator.post(f"{path}/merge", version="1", merged_into=goes.account_id).status_code == 409
    assert operator.post(f"{path}/merge", version="7", merged_into=stays.account_id).status_code == 409
    assert desks.register.book.merchant(goes.account_id).state == "active"
    assert operator.post(f"{path}/merge", version="1", merged_into=stays.account_id).status_code == 303
    assert stays.account_id in operator.text(path)
    desks.world.now = datetime(2026, 3, 2, 1, 10, tzinfo=UTC)
    assert operator.post(f"/operator/merchants/{ends.account_id}/close", version="1").status_code == 401
    fresh = desks.reader(Role.OPERATOR)
    assert fresh.post(f"/operator/merchants/{ends.account_id}/close", version="1").status_code == 303
    assert desks.register.book.merchant(ends.account_id).state == "closed"
    assert fresh.post(f"/operator/merchants/{ends.account_id}/close", version="2").status_code == 409


def value_of(page: str, name: str) -> str:
    """What a field of a form has in it, or which option is chosen."""
    (field,) = re.findall(rf'<input[^>]* name="{name}"[^>]*>|<select[^>]* name="{name}".*?</select>', page, re.DOTALL)
    found = re.search(r'value="([^"]*)" selected' if field.startswith("<select") else r'value="([^"]*)"', field)
    assert found is not None, field
    return found[1]


def test_an_operator_changes_facts_that_a_merchant_cannot(desks: Desks, operator: Reader) -> None:
    path = f"/operator/merchants/{desks.shop.account_id}"
    page = operator.text(f"{path}/change")
    assert f"{path}/change" in operator.text(path)
    assert {name: value_of(page, name) for name in vars(SHOP)} == vars(SHOP)
    assert uscc(1) not in page
    inn = replace(SHOP, kind="inn", industry="6130", origin="331181", place="310116")
    sent = {**vars(inn), "name": f" {SHOP.name} ", "version": value_of(page, "version")}
    done = operator.post(f"{path}/change", **sent)
    assert done.headers["location"] == f"{path}?changed=yes"
    shown = operator.text(done.headers["location"])
    for text in ("变更已保存", "更改：", "龙泉", "310116", "由平台运营人员"):
        assert text in shown, text
    kept = desks.register.book.history(desks.shop.account_id)[-1]
    assert kept.merchant.facts == inn
    assert kept.actor.startswith("operator:operator")
    assert [each.what for each in desks.access.looks.at(desks.shop.account_id)] == ["account"] * 3
    merchant = desks.reader(Role.MERCHANT, party=desks.shop.account_id)
    assert merchant.post(f"{path}/change", **sent).status_code == 403


def test_facts_that_do_not_hold_are_told_beside_their_fields(desks: Desks, operator: Reader) -> None:
    path = f"/operator/merchants/{desks.shop.account_id}/change"
    wrong = {"name": HOSTILE + "x" * 100, "kind": "inn", "industry": "5212", "origin": "310115", "place": "Liandu"}
    refused = operator.post(path, version="1", **wrong)
    assert refused.status_code == 422
    assert HOSTILE not in refused.text
    for name in ("name", "industry", "origin", "place"):
        assert f'id="error-{name}"' in refused.text, name
    assert value_of(refused.text, "place") == "Liandu"
    assert operator.post(path, version="1", **{**vars(SHOP), "kind": HOSTILE}).status_code == 422
    assert operator.post(path, version="0", **vars(SHOP)).status_code == 422
    assert operator.post("/operator/merchants/none/change", version="1", **vars(SHOP)).status_code == 404
    assert desks.register.book.merchant(desks.shop.account_id).version == 1
    desks.register.close(desks.shop.account_id, 1)
    assert "不能再更改" in operator.text(path)
    assert "/change" not in operator.text(path.removesuffix("/change"))
    assert operator.post(path, version="2", **vars(SHOP)).status_code == 409


@pytest.mark.parametrize("language", ["zh", "en"])
def test_two_who_change_one_account_do_not_overwrite_each_other(desks: Desks, language: str) -> None:
    mine = desks.reader(Role.OPERATOR, language=language)
    path = f"/operator/merchants/{desks.shop.account_id}/change"
    theirs = replace(SHOP, name="惠民二店", industry="5213")
    desks.register.change(desks.shop.account_id, theirs, 1)
    typed = replace(SHOP, industry="5219", origin="331121")
    # A slip of the pen first: the form goes on counting for the version that was read.
    slip = mine.post(path, version="1", **{**vars(typed), "place": "Shanghai"})
    assert value_of(slip.text, "version") == "1"
    refused = mine.post(path, version="1", **vars(typed))
    assert refused.status_code == 409
    assert desks.register.book.merchant(desks.shop.account_id).facts == theirs
    assert "您的更改尚未保存" in refused.text if language == "zh" else "Nothing of yours is kept yet" in refused.text
    assert "便利店" in refused.text if language == "zh" else "By now it is: Convenience stores" in refused.text
    assert re.findall(r'id="error-(\w+)"', refused.text) == ["industry"]
    again = {name: value_of(refused.text, name) for name in (*vars(SHOP), "version")}
    assert mine.post(path, **again).status_code == 303
    both = replace(theirs, industry="5219", origin="331121")
    assert desks.register.book.merchant(desks.shop.account_id).facts == both
    unread = mine.post(path, version="9", **vars(SHOP))  # of a version that never was: as the account is
    assert value_of(unread.text, "name") == both.name
    assert unread.status_code == 409


def test_a_file_is_imported_as_a_whole_or_told_every_fault(desks: Desks, operator: Reader) -> None:
    bad = csv_of(row(5), row(6, kind="restaurant"), row(7, name=f"{HOSTILE} "), {**row(8), "identifier": HOSTILE})
    refused = operator.post("/operator/import", files={"file": ("m.csv", bad)})
    assert refused.status_code == 422
    assert HOSTILE not in refused.text
    assert refused.text.partition("<tbody>")[2].count("<tr>") == 2
    assert len(desks.register.book.listed()) == 1
    good = csv_of(row(5), row(6))
    done = operator.post("/operator/import", files={"file": ("m.csv", good)})
    assert "已登记商户 2 户" in done.text
    assert len(desks.register.book.listed()) == 3
    operator.post("/operator/import", files={"file": ("m.csv", good)})
    assert len(desks.register.book.listed()) == 3
    assert operator.post("/operator/import").status_code == 422


def test_people_and_keys_end_at_once(desks: Desks, operator: Reader) -> None:
    bank = desks.reader(Role.BANK)
    key = desks.platform.callers.make(Caller("bank", "bank-01"), actor="operator:li")
    (made,) = desks.platform.callers.listed()
    page = operator.text("/operator/access")
    assert made.key_id in page
    assert key not in page
    name = next(each.person.name for each, party in desks.people.all() if party == "bank-01")
    own = next(each.person.name for each, _ in desks.people.all() if each.person.name.startswith("operator"))
    assert name in page
    assert bank.get("/bank").status_code == 200
    assert operator.post("/operator/access/people/remove", name=name).status_code == 303
    assert bank.get("/bank").status_code == 303
    assert operator.post("/operator/access/people/remove", name=own).status_code == 422
    assert operator.post("/operator/access/people/remove", name=HOSTILE).status_code == 404
    assert operator.post("/operator/access/keys/revoke", key_id=made.key_id).status_code == 303
    assert desks.platform.callers.listed()[0].revoked_at is not None
    assert operator.post("/operator/access/keys/revoke", key_id=made.key_id).status_code == 404
