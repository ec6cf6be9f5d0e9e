"""What holds for all tests: no property has a time limit of its own, as a busy machine proves nothing.

Tests of the hub's state run on SQLite and on PostgreSQL; DIGUA_TEST_DATABASE names one of them for the others' sake of
speed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.databases import Server, on_postgresql

settings.register_profile("digua", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("digua")

DATABASES = ("sqlite", "postgresql")
ON_EVERY_DATABASE = frozenset(
    {
        "test_campaign_service",
        "test_campaign_worker",
        "test_changed_consents",
        "test_hub_api",
        "test_hub_consents",
        "test_hub_db",
        "test_hub_enrolment",
        "test_hub_links",
        "test_hub_log",
        "test_hub_merchant_keys",
        "test_hub_merchant_records",
        "test_hub_model_rollbacks",
        "test_hub_models",
        "test_hub_queries",
        "test_hub_supervisor",
        "test_hub_voprf",
    }
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the modules of the hub's state once on each database."""
    if metafunc.module.__name__.rpartition(".")[2] in ON_EVERY_DATABASE:
        chosen = os.environ.get("DIGUA_TEST_DATABASE")
        metafunc.parametrize("database", [chosen] if chosen else DATABASES, indirect=True, scope="module")


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded server, one for all test processes of a run."""
    base = tmp_path_factory.getbasetemp()
    folder: Path = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    server = Server(folder / "postgresql")
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
