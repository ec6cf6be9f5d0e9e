"""The SuperLink as a service of its own: what its listeners pass, and what a configuration may say of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from hub.config import SuperLinkOptions
from hub.superlink.server import control, inner, outer

TLS = {"certificate": "s.pem", "key": "s.key"}
CONTROL = {"host": "superlink-control", "root_certificates": "ca.pem"}


@pytest.mark.parametrize(
    ("path", "authorization", "passes"),
    [
        ("/v1/control/start-run", b"Bearer secret", (False, True, True)),
        ("/v1/control/start-run", b"Bearer other", (False, False, False)),
        ("/v1/control/start-run", b"", (False, False, False)),
        ("/v1/fleet/pull-messages", b"", (True, True, False)),
        ("/v1/fleet/pull-messages", b"Bearer secret", (True, True, False)),
        ("/v1/runtime/acquire-task", b"Bearer secret", (False, True, False)),
        ("/docs", b"Bearer secret", (False, True, False)),
    ],
)
def test_each_listener_passes_its_own_api_alone(path: str, authorization: bytes, passes: tuple[bool, ...]) -> None:
    gates = (outer, inner(b"secret"), control(b"secret"))
    assert tuple(gate(path, authorization) for gate in gates) == passes


def test_control_is_for_one_of_the_hubs_own() -> None:
    made = SuperLinkOptions.model_validate(
        {"managed": True, "tls": TLS, "control": CONTROL}, context={"base": "/etc/d"}
    )
    assert made.control is not None
    assert (made.control.port, made.control.root_certificates) == (9093, Path("/etc/d/ca.pem"))
    with pytest.raises(ValidationError, match="control is for one that is managed"):
        SuperLinkOptions.model_validate({"address": "s:9092", "root_certificates": "ca.pem", "control": CONTROL})
