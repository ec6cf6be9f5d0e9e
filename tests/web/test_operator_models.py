"""The operator's pages of one model and of two beside each other, in a browser, with the files they give."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import openpyxl
import pytest
from playwright.sync_api import Page, expect

from hub.app import create_app
from hub.web.access import make_access
from models.web.rights import Role
from tests.card_world import CardWorld
from tests.hub_merchants import MarketWorld
from tests.served_world import free_port, wait_until
from tests.web.harness import Reader, served, shots
from tests.web.people import signed_up


class Market(MarketWorld):
    """One that is served; once it is `live` its clock runs, as an authenticator's codes are of the real time."""

    live = False

    def __init__(self, base: Path) -> None:
        self.port = free_port()
        super().__init__(base)

    @property  # type: ignore[override]
    def now(self) -> datetime:
        return datetime.now(UTC) if self.live else self._now

    @now.setter
    def now(self, moment: datetime) -> None:
        self._now = moment


@dataclass(frozen=True)
class Site:
    """A hub's pages, and the two released and evaluated versions that they show."""

    origin: str
    world: Market
    versions: tuple[str, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    world, evaluated = Market(tmp_path_factory.mktemp("models")), CardWorld()
    older, newer = (world.released_model(seed) for seed in (1, 2))
    for seed, model_id in enumerate((older, newer), start=3):
        changes = {"model_id": model_id, "attempt": f"c-1/evaluation/{seed}"}
        world.hub.evaluations.keep(evaluated.evaluation(seed=seed).model_copy(update=changes))
    with served(create_app(world.hub), world.hub.config.listen.port) as origin:
        yield Site(origin, world, (older, newer))
    world.hub.close()


@pytest.fixture
def operator(site: Site, reader_of: Callable[[str], Reader]) -> Page:
    site.world.live = True
    # What it logged before is old now: pages warn of it until it is cosigned.
    wait_until(lambda: not site.world.hub.alarms(), what="the witness's signature of what was logged before")
    access = make_access(site.world.hub)
    name = f"chen.yun.{len(access.people.all()) + 1}"
    return signed_up(reader_of(site.origin), access, name, Role.OPERATOR)


def test_a_model_is_found_and_its_points_are_taken_home(site: Site, operator: Page) -> None:
    _, newer = site.versions
    operator.goto(f"{site.origin}/operator/models")
    operator.locator(f"a[href='/operator/models/{newer}']").first.click()
    expect(operator.get_by_role("heading", level=1)).to_be_visible()
    expect(operator.get_by_role("main")).to_contain_text("version 2")
    shots(operator, "operator/model")
    with operator.expect_download() as begun:
        operator.locator("a[href*='format=xlsx']").first.click()
    book = openpyxl.load_workbook(io.BytesIO(begun.value.path().read_bytes()))
    assert book.sheetnames[0] == "Points"
    assert begun.value.suggested_filename.endswith(".xlsx")


def test_two_versions_stand_beside_each_other(site: Site, operator: Page) -> None:
    older, newer = site.versions
    operator.goto(f"{site.origin}/operator/models/{newer}")
    operator.locator("select[name=with]").select_option(older)
    operator.get_by_role("button", name="Compare").click()
    expect(operator.get_by_role("heading", level=1)).to_contain_text("Champion and challenger")
    expect(operator.get_by_role("main")).to_contain_text("Keep the older model.")
    expect(operator.get_by_role("main")).to_contain_text("Points that changed most")
    shots(operator, "operator/comparison")
