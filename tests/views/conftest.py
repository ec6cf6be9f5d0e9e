"""Runs that several tests look at, recorded once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.views.services import RecordedWorld, run_queries
from tests.views.world import Campaign, run_campaign


@pytest.fixture(scope="package")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """A whole campaign."""
    made = run_campaign(tmp_path_factory.mktemp("campaign"))
    yield made
    made.world.federation.close()


@pytest.fixture(scope="package")
def queries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedWorld]:
    """A federation from enrolment to queries."""
    world = run_queries(tmp_path_factory.mktemp("queries"))
    yield world
    world.close()
