"""A hub made from a configuration that is written already: all of its state, or none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.admin_client import HubAnswerError
from hub.commands.health import ask
from hub.config import load_config
from hub.errors import StateError
from hub.initialisation import initialise, initialise_from
from hub.keys import SIGN_FILE

CONFIG = """\
hub_id: hub
public_url: https://hub.example.org
database: sqlite:///state/hub.sqlite
keys_dir: state/keys
admin_token_file: state/admin.token
"""


def _written(folder: Path) -> Path:
    path = folder / "hub.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_state_of_a_written_configuration(tmp_path: Path) -> None:
    path = _written(tmp_path)
    hub = initialise_from(path)
    hub.close()
    assert path.read_text(encoding="utf-8") == CONFIG
    assert (tmp_path / "state" / "keys" / SIGN_FILE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state" / "admin.token").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StateError, match="never overwritten"):
        initialise_from(path)


def test_a_database_of_another_hub_leaves_no_keys(tmp_path: Path) -> None:
    initialise(tmp_path / "other", hub_id="other", port=8440).close()
    path = _written(tmp_path)
    path.write_text(CONFIG.replace("state/hub.sqlite", "other/hub.sqlite"), encoding="utf-8")
    with pytest.raises(StateError, match="belongs to a hub already"):
        initialise_from(path)
    assert not (tmp_path / "state" / "keys" / SIGN_FILE).exists()
    assert not (tmp_path / "state" / "admin.token").exists()


def test_health_of_a_hub_that_does_not_run(tmp_path: Path) -> None:
    path = _written(tmp_path)
    path.write_text(CONFIG + "listen: {port: 1}\n", encoding="utf-8")
    with pytest.raises(HubAnswerError, match=r"127\.0\.0\.1:1 does not answer"):
        ask(load_config(path))
