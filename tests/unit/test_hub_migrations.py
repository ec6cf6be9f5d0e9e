"""Versions of the hub's schema: what was released stays as it is, and every difference is a version of its own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

import hub.migrations.versions
from hub.alembic_versions import Versions
from hub.migrations.runner import VERSIONS as HUB
from hub.platform.migrations.runner import VERSIONS as PLATFORM

RELEASED = {"0001_initial.py": "b33195c11e6c5c9fd1cd014f0d85e906bed114604a9e01cf281e5c330df825ce"}
"""Versions that databases in use were made with, by the SHA-256 of their file."""


def test_released_versions_are_never_edited() -> None:
    folder = Path(hub.migrations.versions.__file__).parent
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in RELEASED}
    assert found == RELEASED, "write what is new into the newest version that is not released, or into one of its own"


@pytest.mark.parametrize("versions", [HUB, PLATFORM], ids=["hub", "platform"])
def test_the_newest_version_by_its_file_is_the_newest_to_alembic(versions: Versions) -> None:
    """Commands that open a database compare with the file's name: Alembic is slow to import."""
    config = Config()
    config.set_main_option("script_location", str(versions.folder))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [versions.newest()]
