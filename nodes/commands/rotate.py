"""`rotate`: new keys in place of old ones."""

from __future__ import annotations

from pathlib import Path

import typer

from nodes.commands.setup import ConfigOption, public_facts
from nodes.config import load_node_config
from nodes.console import JsonOption, print_facts, print_json, reported, say
from nodes.fingerprint import party_fingerprint
from nodes.hub_client import HubClient
from nodes.initialisation import CONFIG_FILE
from nodes.keys import load_keys
from nodes.own_files import hold_alone
from nodes.rotation import rotate as rotate_keys


@reported
def rotate(config: ConfigOption = Path(CONFIG_FILE), as_json: JsonOption = False) -> None:
    """Make new keys and have the hub take them; the node must not be running. 轮换密钥（须先停止节点）。"""
    loaded = load_node_config(config)
    loaded.require_trust()
    identity = load_keys(loaded.keys_dir, kind=loaded.kind, swapping=True).identity
    with hold_alone(loaded), HubClient(loaded.hub, party_id=loaded.party_id, identity=identity) as client:
        keys = rotate_keys(loaded, client)
    own = party_fingerprint(loaded.party_id, loaded.kind, keys.identity.public, keys.box.public)
    facts = {"party_id": loaded.party_id, "fingerprint": own, **public_facts(keys)}
    if as_json:
        print_json(facts)
        return
    print_facts(facts)
    typer.echo(say("The new keys count once the witness's owner has approved this fingerprint."))
    typer.echo(say("Batches of merchants' keys that this party signed are to be signed again."))
