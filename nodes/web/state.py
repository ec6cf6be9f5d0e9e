"""What a route of the node's pages works with."""

from __future__ import annotations

from typing import cast

from starlette.requests import HTTPConnection

from nodes.services import Services


def services_of(connection: HTTPConnection) -> Services:
    """The node's services."""
    return cast(Services, connection.app.state.services)


def connected(connection: HTTPConnection) -> bool:
    """Whether the link to the hub is up."""
    return bool(connection.app.state.connected())
