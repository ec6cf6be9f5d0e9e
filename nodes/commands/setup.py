"""`enrol`: a node's public keys go to the hub, and whom it trusts is pinned."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from crypto.jws import sign_model
from crypto.key_line import KeyLine
from crypto.keys import fingerprint
from crypto.pseudonym import PseudonymKey
from crypto.succession import line_of
from crypto.wire.base import SUITE
from crypto.wire.party import EnrolmentRequest, Party
from crypto.wire.service import HubInfo
from nodes.clock import system_clock
from nodes.config import NodeConfig, key_from_text, key_to_text, load_node_config
from nodes.console import JsonOption, print_facts, print_json, reported, say
from nodes.errors import ConfigError, PeerError
from nodes.hub_client import HubClient
from nodes.initialisation import CONFIG_FILE, trust_lines
from nodes.keys import NodeKeys, load_keys

ConfigOption = Annotated[Path, typer.Option("--config", help="The node's configuration. 节点配置文件。")]


@reported
def enrol(
    token: Annotated[str, typer.Option(help="One-time token from the hub. 一次性令牌。", envvar="DIGUA_TOKEN")],
    hub_key: Annotated[str, typer.Option(help="The hub's signing key, from its operator. 枢纽签名公钥。")],
    config: ConfigOption = Path(CONFIG_FILE),
    witness_key: Annotated[
        str | None, typer.Option(help="The witness's signing key, from its owner. 见证方签名公钥。")
    ] = None,
    witness_id: Annotated[str | None, typer.Option(help="The witness's id. 见证方编号。")] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the node's public keys to the hub and pin those of hub and witness. 向枢纽登记并固定信任公钥。"""
    loaded = load_node_config(config)
    if loaded.trust is not None:
        raise ConfigError(
            f"{config} pins keys already",
            field="trust",
            remedy="nothing is to be done; to join another hub, start with a new folder",
        )
    keys = load_keys(loaded.keys_dir, kind=loaded.kind)
    own = loaded.kind == "witness"
    if own == (witness_key is not None):
        raise ConfigError(
            "the witness itself takes no --witness-key" if own else "--witness-key is missing",
            field="witness-key",
            remedy="the witness is its own" if own else "ask the witness's owner for its signing key",
        )
    pinned_hub = _key(hub_key, "hub-key")
    pinned_witness = keys.identity.public if witness_key is None else _key(witness_key, "witness-key")
    with HubClient(loaded.hub, party_id=loaded.party_id, identity=keys.identity) as client:
        info = client.info()
        witness = loaded.party_id if own else _check_witness(info, pinned_witness, witness_id)
        _same("hub", pinned_hub, info.sign_key, "hub-key", line_of(pinned_hub, info.successions, info.hub_id))
        trust = {
            "hub_id": info.hub_id,
            "hub_sign_key": key_to_text(pinned_hub),
            "witness_id": witness,
            "witness_sign_key": key_to_text(pinned_witness),
        }
        prepared = _pin(config, trust)
        try:
            receipt = client.enrol(_request(loaded, keys, token))
        except PeerError:
            prepared.unlink()
            raise
    os.replace(prepared, config)
    _show({"party_id": loaded.party_id, "approved": receipt.approved, **trust}, as_json)


def public_facts(keys: NodeKeys) -> dict[str, str]:
    """A node's public keys and their fingerprints, as they are printed."""
    facts = {
        "sign_key": key_to_text(keys.identity.public),
        "sign_key_fingerprint": fingerprint(keys.identity.public),
        "box_key": key_to_text(keys.box.public),
        "box_key_fingerprint": fingerprint(keys.box.public),
    }
    if keys.voprf_seed is not None:
        facts["voprf_key"] = key_to_text(PseudonymKey.from_seed(keys.voprf_seed).public)
    return facts


def _request(config: NodeConfig, keys: NodeKeys, token: str) -> str:
    request = EnrolmentRequest(
        suite=SUITE,
        token=token,
        party=Party(
            party_id=config.party_id,
            kind=config.kind,
            region=config.region,
            title=config.title,
            sign_key=keys.identity.public,
            box_key=keys.box.public,
            training_key=None if keys.training is None else keys.training.public,
        ),
        voprf_key=None if keys.voprf_seed is None else PseudonymKey.from_seed(keys.voprf_seed).public,
        issued_at=system_clock(),
    )
    return sign_model(request, keys.identity, typ="enrolment", kid=config.party_id)


def _check_witness(info: HubInfo, pinned: bytes, named: str | None) -> str:
    if info.witness is None:
        if named is None:
            raise ConfigError(
                "the hub has no witness yet, so its id is unknown",
                field="witness-id",
                remedy="enrol the witness first, or give --witness-id",
            )
        return named
    line = line_of(pinned, info.successions, info.witness.party_id)
    _same("witness", pinned, info.witness.sign_key, "witness-key", line)
    if named not in (None, info.witness.party_id):
        raise ConfigError(
            f"the hub's witness is {info.witness.party_id}, not {named}",
            field="witness-id",
            remedy="ask the witness's owner for its id",
        )
    return info.witness.party_id


def hub_key_of(text: str) -> bytes:
    """A hub's public key as it was given on the command line; ConfigError where it is none."""
    return _key(text, "hub-key")


def _same(whose: str, pinned: bytes, offered: bytes, field: str, line: KeyLine) -> None:
    if offered not in line.publics:
        raise ConfigError(
            f"the {whose}'s key given here ({fingerprint(pinned)}) is not the one that the hub shows "
            f"({fingerprint(offered)})",
            field=field,
            remedy=f"compare the key with the {whose}'s owner by telephone; do not enrol until both agree",
        )


def _key(text: str, field: str) -> bytes:
    try:
        return key_from_text(text)
    except ValueError as problem:
        raise ConfigError(
            f"--{field} is not a public key",
            field=field,
            remedy="copy the 43 characters that digua-hub init or digua-node init printed",
        ) from problem


def _write_checked(path: Path, text: str) -> None:
    """Write a configuration that loads, or none."""
    path.write_text(text, encoding="utf-8")
    try:
        load_node_config(path)
    except ConfigError:
        path.unlink()
        raise


def _pin(config: Path, trust: dict[str, str]) -> Path:
    """The configuration with the pinned keys at its end, in a file beside it."""
    text = config.read_text(encoding="utf-8-sig").rstrip("\n")
    lines = [text, *trust_lines(trust)]
    prepared = config.with_name(config.name + ".enrolling")
    _write_checked(prepared, "\n".join(lines) + "\n")
    return prepared


def _show(facts: Mapping[str, object], as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        show_facts(facts)


def show_facts(facts: Mapping[str, object]) -> None:
    """Facts for a person."""
    print_facts(
        {name: say("yes") if value is True else say("no") if value is False else value for name, value in facts.items()}
    )
