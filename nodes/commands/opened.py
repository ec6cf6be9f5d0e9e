"""A command's node: opened with its services beside a running one, and closed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodes.config import load_node_config
from nodes.runtime import NodeRuntime
from nodes.services import Services, equip


@contextmanager
def open_services(config: Path, *, roster: bool = False) -> Iterator[Services]:
    """The services of the node whose configuration this is.

    Args:
        config: the node's configuration.
        roster: fetch the cosigned roster from the hub where the node has none yet, as `run` would.

    Raises:
        ConfigError, KeyFormatError, SchemaError: it cannot be opened; see `NodeRuntime.open`.
        PeerError, SignatureError: there is no roster to be had, or it is not the pinned witness's.
    """
    runtime = NodeRuntime.open(load_node_config(config))
    try:
        if roster and runtime.roster.version == 0:
            runtime.roster.update(runtime.hub.roster())
        yield equip(runtime)
    finally:
        runtime.close()
