"""A synthetic world goes into the platform through its own services, and stands there as it was drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hub.cli import app
from hub.platform.config import PlatformConfig
from hub.platform.installation import CONFIG_FILE, at_desk, initialise
from hub.platform.lending_errors import NotEligibleError
from hub.platform.world import loading
from hub.platform.world.errors import WorldConflictError
from hub.platform.world.generator import World, draw_world
from hub.platform.world.loading import Progress, load_lending, load_world, orders_of, products_of
from hub.platform.world.parameters import read_world
from hub.platform.world.truth import truth
from tests.lending_world import LendingWorld, Shop

HEADLINE = Path(__file__).parents[2] / "configs" / "worlds" / "headline.yaml"


@pytest.fixture(scope="module")
def world() -> World:
    full = read_world(HEADLINE)
    return draw_world(full.model_copy(update={"merchants": 1000, "financings": (40, 50, 60)}))


@pytest.fixture
def platform(tmp_path: Path, world: World) -> Iterator[LendingWorld]:
    shops = {each.account_id: Shop(each.kind, each.origin, each.place) for each in world.merchants}
    found = LendingWorld(tmp_path, merchants=shops)
    yield found
    found.close()


def test_what_is_loaded_is_what_was_drawn(platform: LendingWorld, world: World) -> None:
    assert load_lending(world, platform.products, platform.book) == 150
    stored = tuple(platform.book.get(each.financing_id).financing for each in world.financings)
    assert stored == world.financings
    (kept,) = truth(world.merchants, stored, year=2025, baseline=2023, by="all")
    (drawn,) = truth(world.merchants, world.financings, year=2025, baseline=2023, by="all")
    assert kept == drawn


def test_loading_again_changes_nothing(platform: LendingWorld, world: World) -> None:
    load_lending(world, platform.products, platform.book)
    entries = len(platform.audit_entries())
    assert load_lending(world, platform.products, platform.book) == 0
    assert len(platform.audit_entries()) == entries


def test_loading_that_was_cut_off_is_taken_up(platform: LendingWorld, world: World) -> None:
    missing = platform.merchants.pop(world.financings[-1].account_id)
    with pytest.raises(NotEligibleError):
        load_lending(world, platform.products, platform.book)
    platform.merchants[world.financings[-1].account_id] = missing
    assert 0 < load_lending(world, platform.products, platform.book) < 150
    assert len([platform.book.get(each.financing_id) for each in world.financings]) == 150


def test_every_product_says_that_it_is_synthetic(world: World) -> None:
    for each in products_of(world):
        assert "合成" in each.title.zh
        assert "ynthetic" in each.title.en


@pytest.fixture
def home(tmp_path: Path) -> PlatformConfig:
    return initialise(tmp_path / "platform", party_id="two-small", port=8450)


def test_a_whole_world_stands_there_as_it_was_drawn_with_an_entry_of_every_order(
    home: PlatformConfig, world: World
) -> None:
    seen: list[tuple[str, int, int]] = []
    with at_desk(home) as desk:
        found = load_world(
            world,
            desk.register,
            desk.products,
            desk.financings,
            progress=lambda stage, done, of: seen.append((stage, done, of)),
        )
        assert (found.merchants, found.financings) == (1000, 150)
        assert (("merchants", 1000, 1000) in seen, seen[-1]) == (True, ("financings", 150, 150))
        stored = desk.financings.known([each.financing_id for each in world.financings])
        assert tuple(stored[each.financing_id].financing for each in world.financings) == world.financings
        orders = sum(len(list(orders_of(each))) for each in world.financings)
        entries, _ = desk.audit.verify()
        assert entries == 1000 + 12 + orders
        again = load_world(world, desk.register, desk.products, desk.financings)
        assert (again.merchants, again.financings) == (0, 0)
        assert desk.audit.verify()[0] == entries


def test_loading_that_was_cut_off_anywhere_goes_on(
    home: PlatformConfig, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MERCHANTS_AT_ONCE", 300)

    def stop_in(stage: str, least: int) -> Progress:
        def stop(now: str, done: int, _of: int) -> None:
            if now == stage and done >= least:
                raise KeyboardInterrupt

        return stop

    for stage, least in (("merchants", 300), ("financings", 0)):
        with at_desk(home) as desk, pytest.raises(KeyboardInterrupt):
            load_world(world, desk.register, desk.products, desk.financings, progress=stop_in(stage, least))
    with at_desk(home) as desk:
        assert desk.audit.verify()[0] == 1000 + 12
        assert load_world(world, desk.register, desk.products, desk.financings).financings == 150


def test_another_world_or_other_merchants_are_not_mixed_with_it(home: PlatformConfig, world: World) -> None:
    other = draw_world(world.parameters.model_copy(update={"seed": 7}))
    dearer = draw_world(world.parameters.model_copy(update={"baseline_rate": 0.09}))
    with at_desk(home) as desk:
        load_world(world, desk.register, desk.products, desk.financings)
        before = desk.audit.verify()
        for conflicting in (other, dearer, draw_world(world.parameters.model_copy(update={"merchants": 900}))):
            with pytest.raises(WorldConflictError):
                load_world(conflicting, desk.register, desk.products, desk.financings)
        assert desk.audit.verify() == before


def test_the_command_says_that_the_world_is_synthetic(home: PlatformConfig, tmp_path: Path) -> None:
    file, config = tmp_path / "small.yaml", home.key_file.parents[1] / CONFIG_FILE
    sample = HEADLINE.read_text(encoding="utf-8").replace("merchants: 28000", "merchants: 500")
    file.write_text(sample.replace("[3000, 4000, 5000]", "[20, 30, 40]"), encoding="utf-8")
    done = CliRunner().invoke(app, ["platform", "load-world", str(file), "--config", str(config)])
    assert done.exit_code == 0, done.output
    assert "SYNTHETIC" in done.output
    done = CliRunner().invoke(app, ["platform", "load-world", str(file), "--config", str(config), "--json"])
    assert json.loads(done.stdout)["new"] == {"merchants": 0, "financings": 0}
