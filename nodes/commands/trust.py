"""`trust-hub`: pins another key of the hub's, where its owner could not sign that with the old one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from crypto.errors import CryptoError
from crypto.key_line import KeyLine
from crypto.keys import IdentityKey, fingerprint
from crypto.succession import line_of
from crypto.wire.service import HubInfo
from nodes.clock import system_clock
from nodes.commands.setup import ConfigOption, hub_key_of
from nodes.config import NodeConfig, key_to_text, load_node_config
from nodes.console import JsonOption, print_facts, print_json, reported, say
from nodes.errors import ConfigError
from nodes.hub_client import HubClient
from nodes.initialisation import CONFIG_FILE
from nodes.own_files import hold_alone, open_store
from nodes.successions import SuccessionBook

_TELEPHONE = "ask the hub's operator by telephone for key and fingerprint; do not go on until both agree"


@reported
def trust_hub(
    hub_key: Annotated[str, typer.Option(help="The hub's new signing key, by telephone. 枢纽新签名公钥（电话核对）。")],
    config: ConfigOption = Path(CONFIG_FILE),
    as_json: JsonOption = False,
) -> None:
    """Pin another key of the hub's: only where its old one is lost or disclosed; the node must not be running.
    固定枢纽的新公钥（仅用于旧密钥丢失或泄露）。"""
    loaded = load_node_config(config)
    trust, new = loaded.require_trust(), hub_key_of(hub_key)
    with hold_alone(loaded):
        with HubClient(loaded.hub, party_id=loaded.party_id, identity=IdentityKey.generate()) as client:
            info = client.info()
        line = _line(info, new, trust.hub_id)
        if trust.hub_sign_key not in line.publics:
            raise ConfigError(
                f"the hub does not say with the new key that {fingerprint(trust.hub_sign_key)} came before it",
                field="hub-key",
                remedy="the hub's operator announces it with digua-hub rotate-key --old-key-lost",
            )
        _write(config, trust.hub_sign_key, new)
        _follow(load_node_config(config), info)
    facts = {"hub_id": trust.hub_id, "hub_sign_key": key_to_text(new), "fingerprint": fingerprint(new)}
    if as_json:
        print_json(facts)
        return
    print_facts(facts)
    typer.echo(say("Start the node. What the former key signed before the new one holds stays good."))


def _line(info: HubInfo, new: bytes, hub_id: str) -> KeyLine:
    try:
        line = line_of(new, info.successions, hub_id)
    except CryptoError as problem:
        raise ConfigError(f"the hub's successions: {problem.message}", field="hub-key", remedy=_TELEPHONE) from problem
    if info.hub_id != hub_id or info.sign_key not in line.publics:
        raise ConfigError("the hub shows another key than this one", field="hub-key", remedy=_TELEPHONE)
    return line


def _write(config: Path, old: bytes, new: bytes) -> None:
    text = config.read_text(encoding="utf-8-sig")
    pinned = re.compile(r"""(hub_sign_key["']?\s*:\s*["']?)""" + re.escape(key_to_text(old)))
    text, changed = pinned.subn(lambda found: found[1] + key_to_text(new), text)
    if changed != 1:
        raise ConfigError(
            f"{config} does not pin the hub's key exactly once",
            field="trust.hub_sign_key",
            remedy="write the new key there by hand",
        )
    prepared = config.with_name(config.name + ".trusting")
    prepared.write_text(text, encoding="utf-8")
    os.replace(prepared, config)


def _follow(config: NodeConfig, info: HubInfo) -> None:
    """Takes in what leads from the new key back to the former one, so that what that signed still verifies."""
    store = open_store(config)
    try:
        trust = config.require_trust()
        SuccessionBook.forget(store, trust.hub_id)
        book = SuccessionBook(store, trust, clock=system_clock)
        line = line_of(trust.hub_sign_key, info.successions, trust.hub_id)
        book.learn([token for token in info.successions if book.concerns(token, line)])
    finally:
        store.close()
