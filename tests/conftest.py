"""What holds for all tests: no property has a time limit of its own, as a busy machine proves nothing.

Tests that make a hub run on SQLite and on PostgreSQL; DIGUA_TEST_DATABASE names the only one of them, where there is no
time for both. On PostgreSQL they have the marker `postgresql` and a target of their own.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from models.ops.logs import bridge_logs
from tests.databases import Server, on_postgresql

settings.register_profile("digua", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", settings.get_profile("digua"), derandomize=True)
settings.load_profile("digua")
bridge_logs()  # as the commands do, so that events reach the standard library's handlers, pytest's among them

DATABASES = ("sqlite", "postgresql")
HUB_WORLDS = frozenset({"HubWorld", "LendingWorld", "MarketWorld", "ServedWorld", "WalkWorld"})
"""What makes a hub: a module of unit or integration tests that uses one of them runs on every database."""
_ON_SQLITE = frozenset(
    {
        "test_bins_service",
        "test_campaign_plan",
        "test_evaluation_service",
        "test_officer_figures",
        "test_hub_consent_commands",
        "test_hub_model_commands",
        "test_hub_monitoring",
        "test_hub_web_merchant",
        "test_hub_web_models",
        "test_hub_web_operator",
        "test_hub_web_statistics",
        "test_witness_rotation",
        "test_monitoring_files",
    }
)
"""Files that do nothing with a database which others do not do on every one: there is no time for all of them twice."""
_FOLDERS = frozenset({"unit", "integration"})
_FIRST = (
    "test_matrix",
    "test_benchmarks_attacks_releases",
    "test_views_messages",
    "test_views_worlds",
    "test_views_queries",
    "test_views_noise",
    "test_views_masked",
    "test_evaluation_crashes",
    "test_encoder_crashes",
    "test_bins_crashes",
    "test_doctor",
)
"""Files of a minute or so each. Others begin in the order in which they are found."""


def runs_on_every_database(module: ModuleType, path: Path) -> bool:
    """Whether a module of tests makes hubs."""
    makes_hubs = bool(HUB_WORLDS & vars(module).keys()) and path.parent.name in _FOLDERS
    return makes_hubs and path.stem not in _ON_SQLITE


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the modules that make hubs once on each database."""
    if runs_on_every_database(metafunc.module, metafunc.definition.path):
        chosen = os.environ.get("DIGUA_TEST_DATABASE")
        kinds = [
            pytest.param(kind, marks=[pytest.mark.postgresql] if kind == "postgresql" else [])
            for kind in ([chosen] if chosen else DATABASES)
        ]
        metafunc.parametrize("database", kinds, indirect=True, scope="module")


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest) -> None:
    """What a module makes in a folder for all its tests is made anew for every database, so it has to ask for it."""
    lasting = fixturedef.scope == "module" and "tmp_path_factory" in fixturedef.argnames
    if lasting and "database" not in fixturedef.argnames and runs_on_every_database(request.module, request.path):
        raise pytest.UsageError(f"fixture {fixturedef.argname!r} of {request.path.name} has to ask for `database`")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no worker is left with one at the end while the others are idle."""
    items.sort(key=lambda item: _FIRST.index(item.path.stem) if item.path.stem in _FIRST else len(_FIRST))


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded server, one for all test processes of a run."""
    base = tmp_path_factory.getbasetemp()
    folder: Path = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    # Not below pytest's folder, from which every run that begins shuts out all other users, PostgreSQL's among them.
    name = hashlib.sha256(f"{folder}:{folder.stat().st_ino}".encode()).hexdigest()[:16]
    server = Server(Path(tempfile.gettempdir()) / f"digua-postgresql-{name}")
    yield server
    server.close()


@pytest.fixture(scope="module", autouse=True)
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kind of database on which hubs are made; before any fixture that makes one."""
    kind: str = getattr(request, "param", "sqlite")
    if kind == "postgresql":
        with on_postgresql(request.getfixturevalue("postgresql")):
            yield kind
    else:
        yield kind
