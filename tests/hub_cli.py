"""`digua-hub` commands that speak with a hub in this process instead of a served one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from hub import admin_client, cli
from hub.app import create_app
from tests.hub_world import HubWorld

Run = Callable[..., tuple[int, str, str]]
"""Arguments → exit code, standard output, standard error."""


def command_line(
    world: HubWorld,
    group: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Commands of a group, e.g. ``model``, against the world's hub.

    Args:
        world: whose hub answers, and whose folder holds hub.yaml.
        group: a module of `hub.commands`.
    """
    client = TestClient(create_app(world.hub))

    def carry(request: httpx.Request) -> httpx.Response:
        answer = client.request(
            request.method, str(request.url.raw_path.decode()), content=request.content, headers=dict(request.headers)
        )
        return httpx.Response(answer.status_code, content=answer.content, headers={"content-type": "application/json"})

    ordinary = admin_client.AdminClient

    class InProcess(ordinary):
        def __init__(self, config: object, *, ca_file: Path | None = None) -> None:
            super().__init__(config, ca_file=ca_file, transport=httpx.MockTransport(carry))

    monkeypatch.setattr(f"hub.commands.{group}.AdminClient", InProcess)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["digua-hub", group, *arguments, "--config", str(world.base / "hub.yaml")])
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
