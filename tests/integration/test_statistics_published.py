"""From merchants' signed consents to the programme office: counted over links, published, verified, shown alike."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from crypto.errors import CryptoError
from crypto.wire.statistics_release import StatisticsRelease
from hub.app import create_app
from hub.platform.app import create_platform
from hub.platform.callers import Caller
from hub.platform.config import PagesOptions
from hub.platform.merchant_book import MerchantBook
from hub.platform.services import Platform
from hub.platform.web.site import open_front
from models.statistics.report import MEASURES
from models.web.rights import Role
from nodes.statistics_releases import verified
from tests.rights_walk import People
from tests.served_statistics import StatisticsWorld
from tests.served_world import wait_until

PUBLIC = "/v1/programme-statistics"


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StatisticsWorld]:
    made = StatisticsWorld(tmp_path_factory.mktemp("statistics"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def published(world: StatisticsWorld) -> str:
    """A statistics campaign over links, and its report under a checkpoint that the witness cosigned."""
    ordered = world.order_statistics()
    assert ordered.status_code == 201, ordered.text
    campaign_id = str(ordered.json()["campaign_id"])
    state = world.ended(campaign_id)
    assert state["status"] == "succeeded", state
    wait_until(lambda: anybody(world, f"{PUBLIC}/{campaign_id}").status_code == 200, what="the cosigned checkpoint")
    return campaign_id


@pytest.fixture(scope="module")
def two_small(
    world: StatisticsWorld, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Platform, MerchantBook]]:
    with world.two_small(tmp_path_factory.mktemp("platform") / "two-small") as made:
        yield made


@pytest.fixture(scope="module")
def office(two_small: tuple[Platform, MerchantBook], tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """The programme office at the platform's pages and API."""
    platform, register = two_small
    options = PagesOptions(origin="https://two-small.example.org", key_file=tmp_path_factory.mktemp("pages") / "key")
    front = open_front(options, platform, register)
    app = create_platform(platform, register, front)
    front.people.make("chen", Role.GOVERNMENT, "office", actor="operator:test")
    person = next(each.person for each in front.people.access.people.all() if each.person.name == "chen")
    with platform.db.session() as session:
        signed_in = front.people.access.sessions.begin(session, person.person_id, "passkey")
    return People(app).client(signed_in, accept="text/html")


def anybody(world: StatisticsWorld, path: str) -> httpx.Response:
    return httpx.get(f"{world.url}{path}", trust_env=False, timeout=60)


def release_of(world: StatisticsWorld, campaign_id: str) -> StatisticsRelease:
    return StatisticsRelease.model_validate_json(anybody(world, f"{PUBLIC}/{campaign_id}").content)


def test_who_did_not_sign_for_statistics_is_in_no_figure(world: StatisticsWorld, published: str) -> None:
    its, agreed = world.programme, world.agreed
    report, privacy = world.hub.statistics.report(published)
    assert report.cohort_size == int(agreed.sum()) < len(agreed)
    release = release_of(world, published)
    counted = verified(release, published, world.client.runtime.roster).members
    assert counted == {
        "platform": int(agreed.sum()),
        "bank": int((agreed & its.banked).sum()),
        "office": int((agreed & its.at_office).sum()),
    }
    assert privacy.epsilon == 0.9
    credit = report.everybody.figures["with_credit"]
    assert credit is not None
    true = float(np.isfinite(its.values["amount"][agreed]).sum())
    noise = (credit.high - credit.low) / 2 / 1.96
    assert abs(credit.value - true) < 5 * noise  # once in two million times it is not


def test_anybody_may_read_what_was_published(world: StatisticsWorld, published: str) -> None:
    assert anybody(world, PUBLIC).json() == {"reports": [{"campaign_id": published, "year": 2025}]}
    unknown = anybody(world, f"{PUBLIC}/none")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")


def test_the_platform_shows_the_same_figures(
    world: StatisticsWorld, published: str, two_small: tuple[Platform, MerchantBook], office: TestClient
) -> None:
    platform, _ = two_small
    assert (platform.statistics.take_new(), platform.statistics.take_new()) == (1, 0)
    (kept,) = platform.statistics.all()
    report, privacy = world.hub.statistics.report(published)
    assert (kept.report, kept.published.privacy) == (report, privacy)
    people = People(create_app(world.hub))
    operator = people.client(people.session(Role.OPERATOR), accept="text/html")
    theirs, ours = f"/operator/campaigns/{published}/statistics", f"/office/statistics/{published}"
    for language in ("en", "zh"):
        asked: dict[str, Any] = {"params": {"lang": language}, "follow_redirects": True}
        figures = office.get(f"{ours}/figures.csv", **asked)
        assert figures.text == operator.get(f"{theirs}.csv", **asked).text
        assert len(list(csv.DictReader(io.StringIO(figures.text)))) > 10 * len(MEASURES)
        overview = office.get("/office/statistics", **asked).text
        credit = report.everybody.figures["with_credit"]
        assert credit is not None
        assert f"{credit.low:,.0f} – {credit.high:,.0f}" in overview
        assert published in overview
    page = office.get(ours).text  # Chinese
    assert page == operator.get(theirs).text
    # Whether a county has a chart is the noise's to say: with 24 merchants each, none may stand out of it.
    assert f"{credit.low:,.0f} – {credit.high:,.0f}" in page
    key = platform.callers.make(Caller("government", "office"), actor="operator:test")
    core = {"Authorization": f"Bearer {key}"}
    told = office.get(f"{PUBLIC}/{published}", headers=core).json()
    by_name = {(each["group"], each["row"], each["figure"]): each for each in told["figures"]}
    assert by_name["all", 0, "with_credit"]["value"] == pytest.approx(credit.value)
    bank = platform.callers.make(Caller("bank", "bank-1"), actor="operator:test")
    assert office.get(PUBLIC, headers={"Authorization": f"Bearer {bank}"}).status_code == 403
    (entry,) = platform.audit.entries(subject=published)
    assert (entry.action, entry.actor) == ("statistics-take", "platform")


def test_the_platforms_node_takes_nothing_but_what_was_signed_and_logged(
    world: StatisticsWorld, published: str
) -> None:
    release, roster = release_of(world, published), world.client.runtime.roster
    assert verified(release, published, roster).campaign_id == published
    counts = np.frombuffer(release.counts, dtype="<f8").copy()
    counts[0] += 1
    changes: tuple[tuple[str | None, dict[str, Any]], ...] = (
        ("log entry of something else", {"counts": counts.tobytes()}),
        ("log entry of something else", {"choice": release.choice.replace('"year":2025', '"year":2024')}),
        ("cut off", {"counts": release.counts[:-1]}),
        ("signature", {"terms": f"{release.terms[:-8]}AAAAAAAA"}),
        (None, {"decision": release.terms}),
        ("log entry of something else", {"manifest": release.opened, "opened": release.manifest}),
        (None, {"opened": release.opened.model_copy(update={"index": release.opened.index - 1})}),
    )
    for said, changed in changes:
        with pytest.raises(CryptoError, match=said):
            verified(release.model_copy(update=changed), published, roster)
    with pytest.raises(CryptoError, match="another campaign"):
        verified(release, "another", roster)


def test_a_second_report_beyond_the_years_budget_is_refused_and_publishes_nothing(
    world: StatisticsWorld, published: str, two_small: tuple[Platform, MerchantBook]
) -> None:
    state = world.ended(str(world.order_statistics(name="again").json()["campaign_id"]))
    assert state["status"] == "failed"
    failure = state["failure"]
    assert (failure["code"], failure["party"], failure["field"]) == ("yearly-budget-exceeded", "witness", "epsilon")
    assert "more than the yearly budget 1; the same is possible from" in failure["detail"]
    assert failure["remedy"]
    assert anybody(world, f"{PUBLIC}/{state['campaign_id']}").status_code == 404
    assert [each["campaign_id"] for each in anybody(world, PUBLIC).json()["reports"]] == [published]
    two_small[0].statistics.take_new()
    assert len(two_small[0].statistics.all()) == 1
