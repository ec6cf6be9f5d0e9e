"""Commands are imported when they are called, and all are there."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.main import get_command

import hub.cli
import nodes.cli


@pytest.mark.parametrize("program", [hub.cli, nodes.cli], ids=["digua-hub", "digua-node"])
def test_every_command_is_there_with_its_help(program) -> None:
    group = get_command(program.app)
    context = typer.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.get_short_help_str()
    assert group.get_command(context, "no-such-command") is None


@pytest.mark.parametrize("program", ["hub.cli", "nodes.cli"])
def test_health_checks_load_no_library_of_the_models(program: str) -> None:
    """An engine runs them every few seconds, in every container."""
    script = (
        "import sys, importlib\n"
        f"program = importlib.import_module({program!r})\n"
        "sys.argv[1:] = ['health', '--config', '/no/such/file.yaml']\n"
        "try:\n    program.main()\nexcept SystemExit as ended:\n    assert ended.code == 1, ended.code\n"
        "print([name for name in ('sklearn', 'lightgbm', 'opendp', 'flwr', 'torch') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


_SCIENCE = ("scipy", "sklearn", "polars", "lightgbm", "opendp", "dp_accounting", "torch", "flwr")
_SERVING = ("fastapi", "uvicorn", "alembic")
_STATE = ("numpy", "sqlalchemy")


@pytest.mark.parametrize(
    ("program", "command", "spared"),
    [
        ("hub.cli", "audit reconcile", (*_SCIENCE, *_SERVING, *_STATE)),
        ("hub.cli", "audit verify", (*_SCIENCE, *_SERVING, *_STATE)),
        ("hub.cli", "notice add", (*_SCIENCE, *_SERVING, *_STATE)),
        ("hub.cli", "assessment add", (*_SCIENCE, *_SERVING, *_STATE)),
        ("hub.cli", "campaign start", (*_SCIENCE, *_SERVING)),
        ("hub.cli", "model release", (*_SCIENCE, *_SERVING)),
        ("hub.cli", "enrol-token", (*_SCIENCE, *_SERVING)),
        ("hub.cli", "audit export", (*_SCIENCE, *_SERVING)),
        ("nodes.cli", "enrol", (*_SCIENCE, *_SERVING, "numpy")),
        ("nodes.cli", "witness approve", (*_SCIENCE, *_SERVING, "numpy")),
        ("nodes.cli", "audit journal export", (*_SCIENCE, *_SERVING, "numpy")),
        ("nodes.cli", "run", tuple(name for name in _SCIENCE if name != "polars")),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_commands_load_what_they_use(program: str, command: str, spared: tuple[str, ...]) -> None:
    """People wait for them, and scripts run dozens of them."""
    script = (
        "import sys, importlib\n"
        f"program = importlib.import_module({program!r})\n"
        f"sys.argv[1:] = [*{command.split()!r}, '--help']\n"
        "try:\n    program.main()\nexcept SystemExit as ended:\n    assert not ended.code, ended.code\n"
        f"print([name for name in {spared!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1] == "[]", done.stdout + done.stderr
