"""Everything that is stored at a hub, looked at again, and the files that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hub.examination.consents import examine_consents
from hub.examination.log import examine_log
from hub.examination.machine import examine_rights, examine_room
from hub.examination.models import examine_campaigns, examine_models
from hub.services import Hub
from models.findings import Announce, Finding
from models.said import said


def examine_hub(hub: Hub, *, announce: Announce = lambda _what: None) -> Iterator[Finding]:
    """Look at files, log, consents, campaigns and models; nothing is changed. It may run beside the serving hub.

    Args:
        hub: opened, so its keys, configuration and database belong together.
        announce: told what is looked at, and how far it is.
    """
    yield from examine_rights(hub.config.hub_id, _secret_files(hub), hub.config.database)
    yield from examine_room(hub.config.hub_id, hub.config.keys_dir.parent)
    announce(said("the log"))
    yield from examine_log(hub, progress=lambda number: announce(said("the log: {number} entries", number=number)))
    announce(said("consents"))
    yield from examine_consents(hub, progress=lambda number: announce(said("consents: {number}", number=number)))
    announce(said("campaigns"))
    yield from examine_campaigns(hub)
    announce(said("models"))
    yield from examine_models(hub)


def _secret_files(hub: Hub) -> Iterator[Path]:
    config = hub.config
    yield from (config.keys_dir, *sorted(config.keys_dir.glob("*")))
    yield from (config.admin_token_file, config.internal_token_file)
    if config.tls is not None:
        yield config.tls.key
