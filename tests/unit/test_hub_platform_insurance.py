"""Policies and the subsidies of their premiums: to the fen for every split, no cover twice, ends, reasons."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.platform.accrual import whole_fen
from hub.platform.insurance_errors import PolicyKnownError, PolicyStateError, PolicyUnknownError
from hub.platform.lending_errors import NotEligibleError
from hub.platform.policies import Policy, PolicyTerms, ended
from hub.platform.policy_book import PolicyBook
from hub.platform.premiums import due, refusals, set_aside
from hub.platform.programme_book import ProgrammeBook
from hub.platform.subsidised import Thing
from hub.platform.subsidy_book import Grant, SubsidyBook
from hub.platform.subsidy_errors import GrantKindError, GrantRefusedError, ProgrammeError
from hub.platform.subsidy_reasons import Standing
from hub.platform.subsidy_rules import RULES, PremiumRule, read_programmes
from models.i18n import catalogue
from tests.lending_world import LendingWorld, Shop

SINCE = date(2026, 3, 2)
RULE: dict[str, Any] = {
    "kind": "premium",
    "programme": "cover",
    "title": {"zh": "两小综合保险补贴", "en": "Premium subsidy for the Two Small"},
    "who": {"kinds": ["supermarket"]},
    "shares": [{"since": "2026-01-01", "share": "0.8"}],
    "least_covers": ["property", "public-liability"],
    "since": "2026-01-01",
    "until": "2028-01-01",
    "budget_fen": 1_000_000,
}
TERMS: dict[str, Any] = {
    "number": "PICC-1",
    "account_id": "shop0001",
    "covers": ["property", "public-liability", "interruption"],
    "sum_insured_fen": 20_000_000,
    "premium_fen": 30_001,
    "since": SINCE.isoformat(),
    "until": "2027-03-02",
}
OFFICE, INSURER = "government:office", "insurer:picc"


def rule(**changes: Any) -> PremiumRule:
    found = RULES.validate_python({**RULE, **changes})
    assert isinstance(found, PremiumRule)
    return found


def policy(**changes: Any) -> Policy:
    return Policy("a" * 32, "picc", PolicyTerms.model_validate({**TERMS, **changes}))


DAYS = st.integers(min_value=1, max_value=1_100)
FEN = st.integers(min_value=1, max_value=10**9)
SHARES = st.integers(min_value=1, max_value=10**6)


@given(days=DAYS, premium=FEN, share=SHARES, offset=st.integers(0, 364), cuts=st.sets(st.integers(0, 1_200)))
def test_any_split_books_the_same_and_the_years_sum_to_the_share_of_the_premium(
    days: int, premium: int, share: int, offset: int, cuts: set[int]
) -> None:
    since = date(2026, 1, 1) + timedelta(offset)
    until = since + timedelta(days)
    its = rule(shares=[{"since": "2020-01-01", "share": f"{share / 10**6:.6f}"}], until="2032-01-01")
    whole = policy(premium_fen=premium, since=since.isoformat(), until=until.isoformat())
    aside = set_aside(its, whole, {})
    assert sum(aside.values()) == whole_fen(Fraction(premium * share, 10**6))
    bookings: list[int] = []
    for cut in [*sorted(cuts), 1_200]:
        now = due(its, whole, since + timedelta(cut), aside)
        assert all(0 <= fen <= aside[year] for year, fen in now.items())
        bookings.append(sum(now.values()) - sum(bookings))
        assert bookings[-1] >= 0
    assert sum(bookings) == sum(aside.values())
    # By the day itself, not by the formula: each day's part of the premium, at the share of that day.
    half = since + timedelta(days // 2)
    by_hand = sum((Fraction(premium * share, 10**6 * days) for _ in range(days // 2)), Fraction(0))
    assert abs(sum(due(its, whole, half, aside).values()) - by_hand) <= Fraction(1, 2)


def test_shares_that_change_caps_and_the_programmes_end_count_by_the_day() -> None:
    changing = rule(
        shares=[{"since": "2026-01-01", "share": "0.8"}, {"since": "2026-07-01", "share": "0.5"}],
        most_premium_fen=36_500,
        until="2026-12-31",
    )
    dear = policy(premium_fen=73_000)  # half of it counts: 100 fen a day
    first, second = date(2026, 7, 1) - SINCE, date(2026, 12, 31) - date(2026, 7, 1)
    assert set_aside(changing, dear, {}) == {2026: first.days * 80 + second.days * 50}
    assert set_aside(rule(most_fen_a_year=7_000), policy(), {2026: 6_900}) == {2026: 100, 2027: whole_year_end()}


def whole_year_end() -> int:
    """What 60 of 365 days bring, after what 2026 brought was rounded."""
    total, before = Fraction(30_001 * 8, 10), Fraction(30_001 * 8 * 305, 10 * 365)
    return whole_fen(total) - whole_fen(before)


def test_a_policy_that_ends_early_grows_no_further() -> None:
    gone = ended(policy(), SINCE + timedelta(73), "cancelled")
    aside = set_aside(rule(), policy(), {})
    for until in (SINCE + timedelta(73), SINCE + timedelta(74), date(2029, 1, 1)):
        assert due(rule(), gone, until, aside) == {2026: whole_fen(Fraction(30_001 * 8 * 73, 10 * 365))}
    assert due(rule(), ended(policy(), SINCE, "total-loss"), date(2029, 1, 1), aside) == {}
    with pytest.raises(PolicyStateError):
        ended(gone, SINCE + timedelta(80), "lapsed")
    for day in (SINCE - timedelta(1), date(2027, 3, 2)):
        with pytest.raises(PolicyStateError):
            ended(policy(), day, "lapsed")


def test_every_unmet_condition_is_named() -> None:
    strict = rule(
        who={"kinds": ["inn"], "origins": ["331102"], "places": ["330000"], "insurers": ["other"]},
        least_covers=["employees"],
        since="2026-07-01",
    )
    standing = Standing(granted_here=True, doubled=True, others_running=1, left_fen=0)
    over = ended(policy(), SINCE + timedelta(5), "lapsed")
    assert refusals(strict, Shop(), over, standing, today=SINCE + timedelta(5)) == (
        "subsidy-kind",
        "subsidy-origin",
        "subsidy-place",
        "subsidy-insurer",
        "subsidy-covers",
        "subsidy-not-covered-now",
        "subsidy-begins-outside",
        "subsidy-already",
        "subsidy-double",
        "subsidy-policies-at-once",
        "subsidy-budget",
    )
    full = Standing(yearly_fen={2026: 9, 2027: 9})
    assert refusals(rule(most_fen_a_year=9), Shop(), policy(), full, today=SINCE) == ("subsidy-yearly-limit",)
    enough = Standing(left_fen=sum(set_aside(rule(), policy(), {}).values()))
    assert refusals(rule(), Shop(), policy(), enough, today=SINCE) == ()


class Insured(LendingWorld):
    """A lending world with policies and subsidies."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.programmes = ProgrammeBook(self.lending)
        self.subsidies = SubsidyBook(self.lending, self.programmes)
        self.policies = PolicyBook(self.lending)

    def publish(self, **changes: Any) -> None:
        with self.db.session() as session:
            self.programmes.publish_in(session, OFFICE, [RULES.validate_python({**RULE, **changes})])

    def report(self, *numbers: str, insurer: str = "picc", **changes: Any) -> list[str]:
        terms = [PolicyTerms.model_validate({**TERMS, **changes, "number": number}) for number in numbers]
        with self.db.session() as session:
            return [each.policy_id for each in self.policies.report_in(session, f"insurer:{insurer}", insurer, terms)]

    def grant(self, policy_id: str, programme: str = "cover") -> Grant:
        with self.db.session() as session:
            return self.subsidies.grant_in(session, OFFICE, programme, Thing(policy_id=policy_id))

    def why_not(self, policy_id: str, programme: str = "cover") -> tuple[str, ...]:
        return self.subsidies.why_not(programme, Thing(policy_id=policy_id))

    def accrue(self, until: date) -> int:
        return sum(part.fen for part in self.subsidies.accrue(OFFICE, "cover", until))

    def end(self, policy_id: str, on: date) -> Policy:
        with self.db.session() as session:
            return self.policies.end_in(session, INSURER, policy_id, on, "cancelled", insurer="picc")


@pytest.fixture
def insured(tmp_path: Path, database: str) -> Iterator[Insured]:
    del database
    found = Insured(tmp_path, now=datetime(2026, 3, 10, 4, 0, tzinfo=UTC))
    yield found
    found.close()


def test_a_policy_is_reported_once_and_told_only_to_its_insurer(insured: Insured) -> None:
    (first,) = insured.report("A-1")
    assert insured.report("A-1", "A-2")[0] == first
    with pytest.raises(PolicyKnownError, match="A-1") as known:
        insured.report("A-3", "A-1", premium_fen=7)
    assert known.value.field == "number"
    assert len(insured.policies.listed()) == 2  # of the refused report nothing came in
    with pytest.raises(NotEligibleError):
        insured.report("A-4", account_id="nobody")
    with pytest.raises(PolicyUnknownError):
        insured.policies.get(first, insurer="other")
    assert [each.policy_id for each in insured.policies.listed(after=first)] == [insured.report("A-2")[0]]
    assert insured.policies.listed(insurer="other") == []


def test_accruals_ends_and_taking_back_leave_the_budget_right(insured: Insured) -> None:
    insured.publish()
    (first,) = insured.report("A-1")
    grant = insured.grant(first)
    assert grant.aside_fen == set_aside(rule(), policy(), {})
    insured.now = datetime(2026, 9, 1, 4, 0, tzinfo=UTC)
    assert insured.accrue(date(2026, 6, 10)) == whole_fen(Fraction(30_001 * 8 * 100, 10 * 365))
    # It becomes known late that the policy had ended: the next booking takes back what grew since.
    insured.end(first, date(2026, 5, 21))
    assert insured.accrue(date(2026, 9, 1)) < 0
    (now,) = insured.subsidies.grants()
    kept = whole_fen(Fraction(30_001 * 8 * 80, 10 * 365))
    assert (now.state, sum(now.accrued_fen.values()), now.policy_id) == ("settled", kept, first)
    assert insured.subsidies.left_fen("cover") == 1_000_000 - kept
    with insured.db.session() as session:
        insured.subsidies.take_back_in(session, OFFICE, now.number, "fraud")
    assert insured.subsidies.left_fen("cover") == 1_000_000
    assert "subsidy-already" in insured.why_not(first)
    acts = [(action, subject) for _, action, subject, _ in insured.audit_entries() if action.startswith(("pol", "sub"))]
    assert acts == [
        ("policy-report", first),
        ("subsidy-grant", first),
        ("subsidy-accrue", "cover"),
        ("policy-end", first),
        ("subsidy-accrue", "cover"),
        ("subsidy-take-back", first),
    ]


def test_the_same_cover_on_the_same_days_is_not_subsidised_twice(insured: Insured) -> None:
    insured.publish()
    insured.publish(programme="county", least_covers=[])
    first, second = insured.report("A-1", "A-2")
    (other,) = insured.report("B-1", insurer="cpic", covers=["accident"])
    (later,) = insured.report("A-3", since="2027-03-02", until="2028-03-02")
    insured.grant(first)
    assert insured.why_not(first) == ("subsidy-already",)
    assert insured.why_not(second) == ("subsidy-policies-at-once",)
    assert insured.why_not(first, "county") == ("subsidy-double",)
    assert insured.why_not(second, "county") == ("subsidy-double",)  # another policy, the same cover
    assert insured.why_not(other, "county") == ()
    assert insured.why_not(later) == ()
    insured.end(first, date(2026, 3, 5))
    assert insured.why_not(second) == ("subsidy-policies-at-once",)  # three days of both
    (after,) = insured.report("A-4", since="2026-03-05")
    assert insured.why_not(after) == ()
    with pytest.raises(GrantRefusedError) as refused:
        insured.grant(second)
    assert refused.value.field == "subsidy-policies-at-once"


def test_a_programme_is_for_loans_or_for_policies(insured: Insured) -> None:
    insured.publish()
    (first,) = insured.report("A-1")
    with pytest.raises(GrantKindError) as kind:
        insured.subsidies.why_not("cover", Thing(financing_id="f" * 32))
    assert kind.value.field == "policy_id"
    interest = {each: RULE[each] for each in ("programme", "title", "since", "until", "budget_fen")}
    rates = [{"since": "2026-01-01", "rate": "0.02"}]
    with pytest.raises(ProgrammeError, match="something else"), insured.db.session() as session:
        insured.programmes.publish_in(session, OFFICE, [RULES.validate_python({**interest, "rates": rates})])
    with pytest.raises(PolicyUnknownError):
        insured.why_not("0" * 32)
    assert insured.why_not(first) == ()


def test_policies_that_make_no_sense_and_rules_in_a_file(tmp_path: Path) -> None:
    for wrong in (
        {"until": "2026-03-02"},
        {"until": "2036-03-02"},
        {"covers": ["property", "property"]},
        {"covers": []},
        {"covers": ["everything"]},
        {"premium_fen": 0},
        {"premium_fen": 1.5},
        {"number": ""},
        {"name": "x"},
    ):
        with pytest.raises(ValueError, match="validation error"):
            policy(**wrong)
    path = tmp_path / "programmes.yaml"
    path.write_text(
        "programmes:\n"
        "  - kind: premium\n"
        "    programme: cover\n"
        "    title: {zh: 综合保险补贴, en: Premium subsidy}\n"
        '    shares: [{since: 2026-01-01, share: "0.8"}, {since: 2026-01-01, share: "0.5"}]\n'
        "    since: 2026-01-01\n"
        "    until: 2027-01-01\n"
        "    budget_fen: 100\n",
        encoding="utf-8",
    )
    with pytest.raises(ProgrammeError, match="shares: days must rise"):
        read_programmes(path)
    path.write_text(path.read_text(encoding="utf-8").replace('2026-01-01, share: "0.5"', '2026-02-01, share: "0.5"'))
    (found,) = read_programmes(path)
    assert isinstance(found, PremiumRule)
    assert [each.value for each in found.levels] == [800_000, 500_000]
    path.write_text(path.read_text(encoding="utf-8").replace("kind: premium", "kind: gift"))
    with pytest.raises(ProgrammeError, match=r"programmes\.0"):
        read_programmes(path)


def test_every_refusal_has_chinese_words() -> None:
    words = catalogue("hub")
    for each in (PolicyKnownError, PolicyStateError, PolicyUnknownError, GrantKindError):
        assert words.translate("zh", each.code) != each.code


def test_days_with_cover_are_those_before_it_ended() -> None:
    whole = policy()
    assert (whole.days, whole.covered.until) == (365, date(2027, 3, 2))
    gone = replace(whole, ended_on=SINCE, cause="lapsed")
    assert gone.covered.within(whole.covered) is None
    assert list(itertools.pairwise([whole.covered.since, gone.covered.until])) == [(SINCE, SINCE)]
