"""A command's node: opened with its services beside a running one, and closed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodes.config import load_node_config
from nodes.runtime import NodeRuntime
from nodes.services import Services, equip


@contextmanager
def open_services(config: Path) -> Iterator[Services]:
    """The services of the node whose configuration this is.

    Raises:
        ConfigError, KeyFormatError, SchemaError: it cannot be opened; see `NodeRuntime.open`.
    """
    runtime = NodeRuntime.open(load_node_config(config))
    try:
        yield equip(runtime)
    finally:
        runtime.close()
