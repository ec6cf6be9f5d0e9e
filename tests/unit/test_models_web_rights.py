"""The rights table: complete, consistent, and the same as its document."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from models.web.rights import PAGE_SITES, RIGHTS, ROLES_AT, Caller, Right, Role, grant_of, may
from models.web.rights_doc import document

ROOT = Path(__file__).parents[2]


def test_every_right_has_one_row_and_every_endpoint_stands_in_one() -> None:
    assert sorted(grant.right for grant in RIGHTS) == sorted(Right)
    twice = [each for each, times in Counter(each for grant in RIGHTS for each in grant.endpoints).items() if times > 1]
    assert not twice


def test_people_and_machines_do_not_share_a_row() -> None:
    for grant in RIGHTS:
        kinds = {type(who) for who in grant.who}
        assert len(kinds) == 1, grant.right


def test_a_row_of_roles_is_at_sites_that_have_them() -> None:
    for grant in RIGHTS:
        for site, endpoint in grant.endpoints:
            if grant.who <= set(Role):
                assert site in PAGE_SITES, endpoint
                assert grant.who & set(ROLES_AT[site]), endpoint


def test_no_one_can_do_more_than_is_theirs() -> None:
    """The separations that the issue asks for, by name."""
    scores = {role for role in Role if may([role], Right.ASK_SCORES)}
    assert scores == {Role.RISK_OFFICER}
    assert {role for role in Role if may([role], Right.APPROVE)} == {Role.REGULATOR}
    for acts in (Right.APPROVE, Right.ABORT_CAMPAIGN, Right.ORDER_CAMPAIGN, Right.ASK_SCORES, Right.TAKE_CONSENTS):
        assert not may([Role.INSPECTOR], acts)
        assert not may([Role.OWNER], acts)
    assert not may([Role.OPERATOR], Right.APPROVE)
    assert not may([], Right.OWN_ACCOUNT)


def test_what_anybody_may_do_says_so() -> None:
    open_rows = {grant.right for grant in RIGHTS if Caller.ANYONE in grant.who}
    assert open_rows == {Right.READ_PUBLIC, Right.SIGN_IN, Right.MERCHANT_PAGES, Right.REGISTER}
    assert grant_of(Right.READ_PUBLIC).who == {Caller.ANYONE}


def test_the_document_is_that_of_the_table() -> None:
    written = (ROOT / "docs" / "rights.md").read_text(encoding="utf-8")
    assert written == document(), "run python -m models.web.rights_doc docs/rights.md"
