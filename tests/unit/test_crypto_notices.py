"""What registered notices mean for consents, at the boundary second."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from crypto.notices import NoticeRegister, notice_key
from crypto.wire.base import SUITE
from crypto.wire.consent import PrivacyNotice
from crypto.wire.notice import NoticeStatement, NoticeSubmission

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
END = NOW + timedelta(days=30)
SECOND = timedelta(seconds=1)


def statement(serial: int, version: str, **changes: object) -> NoticeStatement:
    fields: dict[str, object] = {
        "suite": SUITE,
        "serial": serial,
        "notice": "scoring",
        "version": version,
        "purposes": ("credit-scoring", "model-training"),
        "reconsent": False,
        "ends_at": None,
        "texts": {"zh": f"{serial:02x}" * 32, "en": f"{serial + 100:02x}" * 32},
        "issued_at": NOW,
    }
    return NoticeStatement.model_validate(fields | changes)


def shown(of: NoticeStatement, language: str = "zh", **changes: object) -> PrivacyNotice:
    fields = {"version": of.version, "language": language, "sha256": of.texts[language]}  # type: ignore[index]
    return PrivacyNotice.model_validate(fields | changes)


FIRST, SECOND_ONE = statement(1, "1"), statement(2, "2")
ASKS = statement(3, "3", reconsent=True, ends_at=END)


@pytest.mark.parametrize(
    ("notice", "state"),
    [
        (shown(FIRST), "current"),
        (shown(FIRST, "en"), "current"),
        (shown(FIRST, sha256="ff" * 32), "notice-unknown"),
        (shown(FIRST, version="2"), "notice-unknown"),
        (shown(FIRST, sha256=FIRST.texts["en"]), "notice-unknown"),
    ],
)
def test_a_consent_names_one_registered_text_exactly(notice: PrivacyNotice, state: str) -> None:
    assert NoticeRegister([FIRST]).state(notice, ("credit-scoring",), NOW) == state


def test_a_notice_speaks_for_the_purposes_that_it_explains() -> None:
    register = NoticeRegister([statement(1, "1", purposes=("model-training",))])
    assert register.state(shown(FIRST), ("model-training",), NOW) == "current"
    assert register.state(shown(FIRST), ("credit-scoring", "model-training"), NOW) == "notice-unknown"
    assert register.usable("credit-scoring", NOW) == frozenset()
    assert register.usable("model-training", NOW) == {notice_key(shown(FIRST)), notice_key(shown(FIRST, "en"))}


def test_a_newer_version_that_does_not_ask_ends_nothing() -> None:
    register = NoticeRegister([FIRST, SECOND_ONE])
    found = register.standing(shown(FIRST))
    assert found is not None
    assert (found.newest, found.ends_at) == (SECOND_ONE, None)
    assert register.state(shown(FIRST), ("credit-scoring",), NOW + timedelta(days=9999)) == "current"


@pytest.mark.parametrize("order", [(FIRST, SECOND_ONE, ASKS), (ASKS, SECOND_ONE, FIRST)])
def test_one_that_asks_ends_all_earlier_versions_at_its_second(order: tuple[NoticeStatement, ...]) -> None:
    register = NoticeRegister(order)
    for old in (FIRST, SECOND_ONE):
        for language in ("zh", "en"):
            assert register.state(shown(old, language), ("credit-scoring",), END - SECOND) == "current"
            assert register.state(shown(old, language), ("credit-scoring",), END) == "notice-superseded"
            assert notice_key(shown(old, language)) in register.usable("model-training", END - SECOND)
            assert notice_key(shown(old, language)) not in register.usable("model-training", END)
    assert register.state(shown(ASKS), ("credit-scoring",), END) == "current"


def test_the_earliest_end_counts_and_none_is_taken_back() -> None:
    later = statement(4, "4", reconsent=True, ends_at=END + timedelta(days=300))
    register = NoticeRegister([FIRST, ASKS, later])
    assert register.state(shown(FIRST), ("credit-scoring",), END) == "notice-superseded"
    assert register.state(shown(ASKS), ("credit-scoring",), END) == "current"
    rival = statement(
        3, "3b", reconsent=True, ends_at=END - timedelta(days=1), texts={"zh": "aa" * 32, "en": "bb" * 32}
    )
    stricter = NoticeRegister([FIRST, ASKS, rival])  # two statements under one serial: the stricter end counts
    assert stricter.state(shown(FIRST), ("credit-scoring",), END - timedelta(days=1)) == "notice-superseded"


def test_other_notices_are_left_alone() -> None:
    other = statement(3, "3", notice="training", reconsent=True, ends_at=END)
    assert NoticeRegister([FIRST, other]).state(shown(FIRST), ("credit-scoring",), END) == "current"


@pytest.mark.parametrize(
    "changes",
    [
        {"reconsent": True},
        {"ends_at": END},
        {"texts": {"zh": "aa" * 32}},
        {"texts": {"zh": "aa" * 32, "en": "aa" * 32}},
        {"purposes": ()},
        {"purposes": ("credit-scoring", "credit-scoring")},
        {"version": "../1"},
    ],
)
def test_malformed_statements_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NoticeStatement.model_validate(statement(1, "1").model_dump() | changes)


def test_a_submission_needs_both_languages() -> None:
    with pytest.raises(ValidationError):
        NoticeSubmission.model_validate({"notice": "x1", "version": "1", "purposes": ("credit-scoring",), "zh": "告知"})
