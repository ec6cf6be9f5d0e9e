"""What is submitted to a SuperLink (a FAB): a `ServerApp` that is the installed hub's, and nothing for the nodes.

Flower demands a `ClientApp` in it. This one refuses, for no node of digua ever fetches it: each runs the app that is
installed there (docs/adr/0002-code-at-nodes.md).
"""

from __future__ import annotations

from flwr.cli.build import build_fab_from_files

CAMPAIGN, HUB = "campaign", "hub"
"""Keys of the run's configuration: the campaign's id, and the absolute path of `hub.yaml`."""

_PROJECT = f"""\
[project]
name = "digua-campaign"
version = "1.0.0"
description = "Runs one campaign of the installed digua hub"
license = "Apache-2.0"
dependencies = []

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.flwr.app]
publisher = "digua"

[tool.flwr.app.components]
serverapp = "digua_campaign.server:app"
clientapp = "digua_campaign.client:app"

[tool.flwr.app.config]
{CAMPAIGN} = ""
{HUB} = ""
"""
_SERVER = "from hub.superlink_app import app as app\n"
_CLIENT = """\
from flwr.clientapp import ClientApp

app = ClientApp()  # answers nothing: nodes run the app that is installed there
"""


def build_bundle() -> bytes:
    """Return the FAB; the same bytes each time under one version of Flower."""
    files = {
        "pyproject.toml": _PROJECT.encode(),
        "README.md": b"# digua-campaign\n",
        "LICENSE": b"Apache-2.0\n",
        "digua_campaign/__init__.py": b"",
        "digua_campaign/server.py": _SERVER.encode(),
        "digua_campaign/client.py": _CLIENT.encode(),
    }
    return build_fab_from_files(files)[0]
