"""People of the platform's pages: made with whom they act for, their own business alone, looks in the record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.platform.errors import MembershipError
from hub.platform.merchant_errors import MerchantUnknownError
from models.web.errors import PersonKnown, PersonUnknown
from models.web.rights import Role
from tests.platform_site import ORIGIN, PlatformSite
from tests.rights_walk import People

OPERATOR = "operator:li"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[PlatformSite]:
    made = PlatformSite(tmp_path)
    yield made
    made.close()


def test_a_person_is_made_with_whom_they_act_for_or_not_at_all(site: PlatformSite) -> None:
    link = site.people.make("zhao.min", Role.BANK, "bank-01", actor=OPERATOR)
    assert link.startswith(f"{ORIGIN}/signup/")
    with pytest.raises(MembershipError):
        site.people.make("qian.wei", Role.BANK, "Bank 01", actor=OPERATOR)
    with pytest.raises(MerchantUnknownError):
        site.people.make("sun.li", Role.MERCHANT, "0" * 32, actor=OPERATOR)
    with pytest.raises(PersonKnown):
        site.people.make("zhao.min", Role.BANK, "bank-02", actor=OPERATOR)
    assert [(each.person.name, party) for each, party in site.people.all()] == [("zhao.min", "bank-01")]
    person = site.people.all()[0][0].person
    assert site.people.member(person).actor == "bank:zhao.min"
    site.people.reset("zhao.min", actor=OPERATOR)
    site.people.remove("zhao.min", actor=OPERATOR)
    assert site.people.all() == []
    with pytest.raises(MembershipError):
        site.people.member(person)
    with pytest.raises(PersonUnknown):
        site.people.reset("zhao.min", actor=OPERATOR)
    actions = [action for _, action, _, _ in site.world.audit_entries()]
    assert actions[-3:] == ["person-make", "person-reset", "person-remove"]


def test_a_merchant_sees_its_own_account_alone(site: PlatformSite) -> None:
    mine, theirs = site.merchant(1), site.merchant(2)
    session = site.person(Role.MERCHANT, "shop.one", mine.account_id)
    page = People(site.app).client(session, accept="text/html").get("/merchant").text
    assert mine.facts.name in page
    assert mine.account_id in page
    assert theirs.account_id not in page
    assert "莲都区" in page
    assert "上海" in page
    assert "账户开立" in page


def test_a_look_has_its_hash_in_the_audit_record(site: PlatformSite) -> None:
    site.people.make("zhao.min", Role.BANK, "bank-01", actor=OPERATOR)
    person = site.people.all()[0][0].person
    look = site.access.looks.record(person, "score", "91331100MA2E0QXX0A")
    actor, action, _, facts = site.world.audit_entries()[-1]
    assert (actor, action) == (f"person:{person.person_id}", "data-look")
    assert facts == {"record": 1, "record_hash": look.hash.hex(), "what": "score"}
