"""What holds for all tests: no property has a time limit of its own, as a busy machine proves nothing.

Tests that make a hub run on SQLite and on PostgreSQL; DIGUA_TEST_DATABASE names the only one of them, where there is no
time for both.
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

from tests.databases import Server, on_postgresql

settings.register_profile("digua", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("digua")

DATABASES = ("sqlite", "postgresql")
HUB_WORLDS = frozenset({"HubWorld", "MarketWorld", "ServedWorld", "WalkWorld"})
"""What makes a hub: a module of unit or integration tests that uses one of them runs on every database."""
_FOLDERS = frozenset({"unit", "integration"})


def runs_on_every_database(module: ModuleType, path: Path) -> bool:
    """Whether a module of tests makes hubs."""
    return bool(HUB_WORLDS & vars(module).keys()) and path.parent.name in _FOLDERS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the modules that make hubs once on each database."""
    if runs_on_every_database(metafunc.module, metafunc.definition.path):
        chosen = os.environ.get("DIGUA_TEST_DATABASE")
        metafunc.parametrize("database", [chosen] if chosen else DATABASES, indirect=True, scope="module")


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest) -> None:
    """What a module makes in a folder for all its tests is made anew for every database, so it has to ask for it."""
    lasting = fixturedef.scope == "module" and "tmp_path_factory" in fixturedef.argnames
    if lasting and "database" not in fixturedef.argnames and runs_on_every_database(request.module, request.path):
        raise pytest.UsageError(f"fixture {fixturedef.argname!r} of {request.path.name} has to ask for `database`")


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
