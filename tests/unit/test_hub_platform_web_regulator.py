"""The regulator's desk: the record searched, checked and taken home; merchants with neither name nor identifier."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from crypto.chain import GENESIS, chained
from hub.platform.tables.audit import AuditRow
from models.web.rights import Role
from tests.lending_world import DAY, apply, order
from tests.platform_desks import HOSTILE, Desks, Reader
from tests.unit.test_hub_platform_merchants import SHOP, uscc


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Desks]:
    made = Desks(tmp_path)
    yield made
    made.close()


@pytest.fixture
def regulator(desks: Desks) -> Reader:
    return desks.reader(Role.REGULATOR)


def test_the_record_is_searched_by_actor_action_and_subject(desks: Desks, regulator: Reader) -> None:
    name = desks.paid_out("B-1")
    whole = regulator.text("/regulator")
    assert "financing-disburse" in whole
    assert "merchant-register" in whole
    rows = regulator.text(f"/regulator?subject={name}").partition("<tbody>")[2].partition("</tbody>")[0]
    assert rows.count("<tr>") == 5
    assert "merchant-register" not in rows
    rows = regulator.text("/regulator?action=merchant-register").partition("<tbody>")[2].partition("</tbody>")[0]
    assert rows.count("<tr>") == 1
    for actor, number in (("bank:bank-01", 6), ("bank", 6), ("ban", 0), ("bank%", 0)):
        page = regulator.http.get("/regulator", params={"actor": actor}).text
        assert page.partition("<tbody>")[2].partition("</tbody>")[0].count("<tr>") == number, actor


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_search_without_a_match_says_so_in_words(desks: Desks, language: str) -> None:
    reader = desks.reader(Role.REGULATOR, language=language)
    page = reader.http.get("/regulator", params={"subject": HOSTILE, "actor": HOSTILE}).text
    assert 'class="empty"' in page
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_the_record_has_pages_without_gaps(desks: Desks, regulator: Reader) -> None:
    desks.execute(*(apply(f"P-{number}", account_id=desks.shop.account_id) for number in range(120)))
    number, _ = desks.platform.audit.verify()
    seen: list[int] = []
    path: str | None = "/regulator"
    while path is not None:
        page = regulator.text(path)
        seen += [int(part.partition('"')[0]) for part in page.split('href="/regulator/entries/')[1:]]
        following = page.partition('rel="next" href="')[2].partition('"')[0]
        path = following.replace("&amp;", "&") or None
    assert seen == list(range(number, 0, -1))


def test_an_entry_is_shown_whole_and_as_words(desks: Desks, regulator: Reader) -> None:
    desks.applied("R-1")
    desks.execute(order("refuse", "R-1", on=DAY, reason=HOSTILE))
    (found,) = [each for each in desks.platform.audit.entries() if each.action == "financing-refuse"]
    page = regulator.text(f"/regulator/entries/{found.seq}")
    assert found.hash.hex() in page
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    assert regulator.get("/regulator/entries/99999").status_code == 404


def test_the_chain_is_computed_anew_on_a_press(desks: Desks, regulator: Reader) -> None:
    number, head = desks.platform.audit.verify()
    done = regulator.post("/regulator/verify")
    assert done.status_code == 200
    assert head.hex() in done.text
    assert f"<dd>{number}</dd>" in done.text
    with desks.world.db.session() as session:
        session.execute(update(AuditRow).where(AuditRow.seq == 2).values(actor="bank:bank-02"))
    broken = regulator.post("/regulator/verify")
    assert broken.status_code >= 400
    assert "审计记录完整" not in broken.text
    assert "<code>2</code>" in broken.text


def test_what_is_taken_home_can_be_checked_without_the_platform(desks: Desks, regulator: Reader) -> None:
    desks.paid_out("B-1")
    number, head = desks.platform.audit.verify()
    entries = regulator.get("/regulator/record.json").json()
    assert len(entries) == number
    before = GENESIS
    for each in entries:
        before = chained(before, each["entry"].encode())
        assert before.hex() == each["hash"]
    assert before == head
    rows = list(csv.DictReader(io.StringIO(regulator.get("/regulator/record.csv").text, newline="")))
    assert [(row["entry"], row["hash"]) for row in rows] == [(each["entry"], each["hash"]) for each in entries]
    some = regulator.get("/regulator/record.json?action=merchant-register").json()
    assert [json.loads(each["entry"])["action"] for each in some] == ["merchant-register"]
    assert regulator.get("/regulator/record.json?action=none").json() == []


def test_merchants_are_read_with_neither_name_nor_identifier(desks: Desks, regulator: Reader) -> None:
    account = desks.shop.account_id
    desks.register.change(account, replace(SHOP, name="改名后的店", origin="331121"), 1)
    assert account in regulator.text("/regulator/merchants")
    assert account in regulator.text("/regulator/merchants?origin=331121&kind=supermarket")
    assert account not in regulator.text("/regulator/merchants?origin=331102")
    page = regulator.text(f"/regulator/merchants/{account}")
    for words in ("账户开立", "青田县", "小超市"):
        assert words in page, words
    for secret in (SHOP.name, "改名后的店", uscc(1)):
        assert secret not in page
        assert secret not in regulator.text("/regulator/merchants")
    assert [each.what for each in desks.access.looks.at(account)] == ["account"]
    assert regulator.get("/regulator/merchants/none").status_code == 404
